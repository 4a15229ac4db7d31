"""The scheduler's writes: many rows in one statement, of any table, on either database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol

import psycopg
from psycopg.errors import DivisionByZero
from sqlalchemy import Column, Connection, Table
from sqlalchemy.exc import DBAPIError

from search.rows_postgres import PostgresBatch
from search.rows_sqlite import SqliteBatch
from store.pipeline import Pipeline

Row = dict[str, Any]

_PREPARED = "trialyard:prepared"  # what a connection is known to have prepared, as long as it lives


class Batch(Protocol):
    """Writes rows, given as values by column.

    On PostgreSQL nothing is written, and nothing known of it, before the batch has ended.
    """

    def send(self) -> int | None:
        """Let PostgreSQL commit what was written, if the batch is its own transaction, without waiting for it.

        Returns:
            The socket on which it answers when all is done; None where nothing happens before the batch ends.
        """

    def require(self, change: str, number: int, refusal: Exception) -> None:
        """Run an UPDATE that must find its row; `{number}` stands for the number.

        Raises:
            refusal: it found none; on PostgreSQL the batch raises it at its end.
        """

    def append(self, log: Table, counter: Column[int], owner: int, rows: Sequence[Row]) -> Callable[[], int | None]:
        """Add rows to an owner's log, numbered on from its counter.

        Args:
            log: its primary key is the owner's and the place in the log, of which the rows have neither.
            counter: a column of the owner, the number of the log's last row.

        Returns:
            To be called when the batch has ended: the last row's number; None if there is no such owner any more, and
            nothing was added.
        """

    def insert(self, table: Table, rows: Sequence[Row], unless_there: bool = False) -> None:
        """Add rows, all of the same columns; `unless_there`: one whose key is there already is left as it stands."""

    def update(self, table: Table, rows: Sequence[Row], unless_set: str | None = None) -> None:
        """Change the rows with the same primary keys, but for those where the column `unless_set` has a value."""


@contextmanager
def batch(connection: Connection) -> Iterator[Batch]:
    """The last writes of a connection's transaction; a transaction of their own, if none has begun on it.

    On PostgreSQL they may be committed before the batch has ended.

    Raises:
        DBAPIError: a statement failed; on PostgreSQL possibly only at the end.
    """
    driver = connection.connection.driver_connection
    try:
        if isinstance(driver, psycopg.Connection):
            with _pipelined(driver, connection.info.setdefault(_PREPARED, set())) as rows:
                yield rows
        elif isinstance(driver, sqlite3.Connection):
            with _transaction(driver), closing(driver.cursor()) as cursor:
                yield SqliteBatch(cursor, connection.dialect)
    except (psycopg.Error, sqlite3.Error) as error:
        raise DBAPIError("a batch of statements", None, error) from error


@contextmanager
def _pipelined(driver: psycopg.Connection[Any], prepared: set[bytes]) -> Iterator[PostgresBatch]:
    pipeline = Pipeline(driver, prepared)
    rows = PostgresBatch(pipeline)
    try:
        yield rows
        rows.found = pipeline.finish()
    except DivisionByZero as error:
        if rows.refusal is None:
            raise
        raise rows.refusal from error
    finally:
        pipeline.abandon()


@contextmanager
def _transaction(driver: sqlite3.Connection) -> Iterator[None]:
    """One that ends here, unless somebody else's is open."""
    if driver.in_transaction:
        yield
        return
    driver.execute("BEGIN IMMEDIATE")
    try:
        yield
        driver.commit()
    except BaseException:
        driver.rollback()
        raise
