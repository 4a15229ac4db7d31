"""Brings a database to the newest schema. Safe at every start, also when several processes start at once."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from store.errors import SettingsError
from store.session import connect

_LOCK = 7_221_903  # any number that nobody else uses for an advisory lock on this database


def upgrade(database_url: str, revision: str = "head") -> None:
    """Upgrade to a revision, holding the database's own lock meanwhile.

    Raises:
        SettingsError: the database cannot be opened, or a newer Trialyard has changed it.
    """
    engine = connect(database_url)
    try:
        with engine.begin() as connection:
            _wait_for_others(connection)
            command.upgrade(config(connection), revision)
    except OperationalError as error:
        reason = str(error.orig).splitlines()[0]
        where = engine.url.render_as_string(hide_password=True)
        raise SettingsError(f"TRIALYARD_DATABASE_URL: {where} cannot be used: {reason}") from error
    except CommandError as error:
        message = f"the database was changed by a newer Trialyard than this one ({error}); start that one"
        raise SettingsError(message) from error
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
