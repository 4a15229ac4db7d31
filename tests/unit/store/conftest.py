"""What the store's tests ask Redis with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from store.bus import open_redis


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with open_redis(redis_url) as client:
        yield client
