"""Brings a database to the newest schema. Safe at every start, also when several processes start at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from store.session import connect

_LOCK = 7_221_903  # any number that nobody else uses for an advisory lock on this database


def upgrade(database_url: str, revision: str = "head") -> None:
    """Upgrade to a revision, holding the database's own lock meanwhile."""
    engine = connect(database_url)
    try:
        with engine.begin() as connection:
            _wait_for_others(connection)
            command.upgrade(config(connection), revision)
    finally:
        engine.dispose()


def is_current(connection: Connection) -> bool:
    """Whether a database has the newest schema."""
    newest = ScriptDirectory.from_config(config(connection)).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == newest


def config(connection: Connection) -> Config:
    """Alembic's configuration for a connection whose transaction the caller commits."""
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    configuration.attributes["connection"] = connection
    return configuration


def _wait_for_others(connection: Connection) -> None:
    # On SQLite the transaction itself is the lock: it begins with BEGIN IMMEDIATE.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
