"""Engines and sessions. `connect` makes an engine for either database; the caller's boundary commits."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from store.errors import SettingsError

# Write-ahead logging keeps its index in shared memory: it needs one host and a local disk.
NETWORK_FILE_SYSTEMS = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ceph",
    "afs",
}


def connect(database_url: str, ping: bool = True) -> Engine:
    """An engine for SQLite (a file) or PostgreSQL.

    Args:
        ping: before each transaction look whether PostgreSQL is still there. A process that begins anew after any error
            of the database does without, and saves a round trip a transaction.

    Raises:
        SettingsError: the URL is of another database, or a SQLite file would lie on a network file system.
    """
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError) as error:
        shape = "postgresql://user:password@host/database or sqlite:////folder/file.db"
        raise SettingsError(f"TRIALYARD_DATABASE_URL is no address of a database; write {shape}") from error
    if url.get_backend_name() == "sqlite":
        return _sqlite(Path(url.database or ""))
    if url.get_backend_name() == "postgresql":
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_pre_ping=ping,
            # The driver drops all prepared statements with each ROLLBACK, by which every read ends: none is worth it
            # but those of a Pipeline, which must stay.
            connect_args={"prepare_threshold": None},
            json_serializer=_dumps,
            json_deserializer=orjson.loads,
        )
    raise SettingsError(
        f"TRIALYARD_DATABASE_URL: {url.drivername!r} is not supported; use sqlite:///… or postgresql://…"
    )


def writes(engine: Engine) -> sessionmaker[Session]:
    """Sessions that may write: `with writes(engine).begin() as session` commits at its end."""
    return sessionmaker(engine, expire_on_commit=False)


def reads(engine: Engine) -> sessionmaker[Session]:
    """Sessions that only read, and never wait for a writer."""
    return sessionmaker(engine.execution_options(read_only=True, postgresql_readonly=True), expire_on_commit=False)


def _sqlite(path: Path) -> Engine:
    if not path.name or str(path) == ":memory:":
        raise SettingsError(
            "TRIALYARD_DATABASE_URL: SQLite needs a file that all processes share, as in sqlite:////srv/t.db"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(f"{path.parent} cannot be made for the database: {error.strerror}") from error
    file_system = _file_system_of(path.parent)
    if file_system in NETWORK_FILE_SYSTEMS:
        raise SettingsError(
            f"TRIALYARD_DATABASE_URL: {path.parent} is on {file_system}, where SQLite loses data; "
            "use a local disk or PostgreSQL"
        )
    engine = create_engine(
        f"sqlite:///{path}",
        json_serializer=_dumps,
        json_deserializer=orjson.loads,
        # The driver must not open transactions by itself: `_begin` decides how they begin.
        connect_args={"timeout": 30, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin)
    return engine


def _configure_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    # synchronous=FULL: what is committed survives a power cut, for one fsync a commit.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    # A transaction that reads first and writes later would fail with SQLITE_BUSY when another has written in between:
    # take the write lock at once, unless the session says that it only reads.
    read_only = connection.get_execution_options().get("read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def takes_writes(connection: Connection) -> bool:
    """Whether a transaction that is not for reading only could write; PostgreSQL may have become a replica."""
    return connection.dialect.name != "postgresql" or bool(connection.scalar(text(_WRITABLE)))


_WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'"


def without_nul(document: str) -> str:
    """JSON with a sign in the place of each NUL, which PostgreSQL does not take: data and scripts may hold some, and
    nothing of what is written together with them would be stored.
    """
    return _NUL.sub(r"\1\\ufffd", document) if r"\u0000" in document else document


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # behind an escaped backslash it is none


def _dumps(value: Any) -> str:
    return without_nul(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode())


def _file_system_of(folder: Path) -> str:
    """The type of the file system that holds a folder, from /proc/mounts; "" where there is none to read."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    target = os.path.realpath(folder)
    holding = [(point, kind) for point, kind in mounts if target == point or target.startswith(point.rstrip("/") + "/")]
    return max(holding, key=lambda mount: len(mount[0]), default=("", ""))[1]
