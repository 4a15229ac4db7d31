"""Fixtures that several folders share: a Redis for the whole run, both databases, and a scheduler turned by hand."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Engine, make_url

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
def postgres_template() -> Iterator[URL]:
    """A database with the newest schema and nothing in it, to be copied; on a server for the whole run."""
    with postgres_server() as server_url:
        template = make_url(server_url).set(database="template")
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute('CREATE DATABASE "template"')
        upgrade(template.render_as_string(hide_password=False))
        yield template


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for SQLite."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with the newest schema and nothing in it."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "trialyard.db")
        yield f"sqlite:///{path}"
    else:
        with _copy_of(request.getfixturevalue("postgres_template")) as url:
            yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = connect(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def bare_yard(engine: Engine, redis_url: str) -> Iterator[Yard]:
    """The world without an active scheduler."""
    yard = Yard(engine, redis_url)
    yield yard
    yard.client.close()


@pytest.fixture
def yard(bare_yard: Yard) -> Yard:
    bare_yard.start()
    bare_yard.turn()
    return bare_yard


@contextmanager
def _copy_of(template: URL) -> Iterator[str]:
    """A new database like the template, dropped with whoever is still connected to it."""
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(template.set(database="postgres").render_as_string(False), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "template"')
        yield template.set(database=name).render_as_string(hide_password=False)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
