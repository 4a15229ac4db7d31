"""Databases of a test's own on the PostgreSQL server that the whole run shares."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.services import postgres_server

__all__ = ["fresh_database", "postgres_server"]


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database, which is dropped at the end with whoever is still connected to it."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server_url.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
