"""A server over each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.settings import Settings
from tests.api_server import ApiServer, serving


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(home_dir=tmp_path, database_url=database_url, redis_url=redis_url, idle_seconds=0.05)


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings) as server:
        yield server
