"""Fixtures that several folders share: a Redis for the whole run, both databases, and a scheduler turned by hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, make_url

from store.bus import open_redis
from store.migrate import upgrade
from store.session import connect
from tests.services import postgres_server, redis_server
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
        url = _fresh_database(request.getfixturevalue("postgres_service"))
        upgrade(url)
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def bare_yard(engine: Engine, redis_url: str) -> Yard:
    """The world without an active scheduler."""
    return Yard(engine, redis_url)


@pytest.fixture
def yard(bare_yard: Yard) -> Yard:
    bare_yard.start()
    bare_yard.turn()
    return bare_yard


def _fresh_database(server_url: str) -> str:
    """A new database on a PostgreSQL server; it goes with the server."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)
