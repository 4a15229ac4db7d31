"""Fixtures that several folders share: a Redis for the whole run, both databases, and a scheduler turned by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from store.bus import open_redis
from store.migrate import upgrade
from store.session import connect
from tests.postgres import fresh_database, postgres_server
from tests.services import redis_server
from tests.yard import Yard


@pytest.fixture(scope="session")
def redis_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis_url(redis_service: str) -> str:
    """A Redis with nothing in it."""
    with open_redis(redis_service) as client:
        client.flushall()
    return redis_service


@pytest.fixture(scope="session")
def postgres_service() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with the newest schema and nothing in it."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'trialyard.db'}"
        upgrade(url)
        yield url
    else:
        with fresh_database(request.getfixturevalue("postgres_service")) as url:
            upgrade(url)
            yield url


@pytest.fixture
def bare_yard(database_url: str, redis_url: str) -> Iterator[Yard]:
    """The world without an active scheduler."""
    engine = connect(database_url)
    yield Yard(engine, redis_url)
    engine.dispose()


@pytest.fixture
def yard(bare_yard: Yard) -> Yard:
    bare_yard.start()
    bare_yard.turn()
    return bare_yard
