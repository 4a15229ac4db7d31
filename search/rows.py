"""Many rows in one statement: on PostgreSQL as one JSON document, on SQLite as one execution a row.

On PostgreSQL all statements of a `Batch` travel together and are answered together, with the transaction's beginning
and its end: one round trip for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import orjson
import psycopg
from psycopg.errors import DivisionByZero
from sqlalchemy import Column, Connection, Dialect, Table, bindparam, text, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError

from store.pipeline import Pipeline

Row = dict[str, Any]

_PREPARED = "trialyard:prepared"  # what a connection is known to have prepared, as long as it lives

# The planner takes a document for a hundred rows, and would join them to a hash of the whole table: every batch would
# read all of it. A plan made while the table was small stays in use when it has grown.
_BY_INDEX = (
    "SELECT set_config(name, 'off', true) "
    "FROM unnest('{enable_seqscan, enable_hashjoin, enable_mergejoin}'::text[]) AS u(name)"
)


class Batch:
    """Writes rows, given as values by column, within a transaction of somebody else's.

    On PostgreSQL nothing is written, and nothing known of it, before the batch has ended.
    """

    def __init__(self, connection: Connection, pipeline: Pipeline | None) -> None:
        """`pipeline`: None on SQLite."""
        self._connection = connection
        self._pipeline = pipeline
        self.refusal: Exception | None = None
        self.found: Sequence[str | None] = ()  # by place in the pipeline, when the batch has ended
        if pipeline is not None:
            pipeline.add(_BY_INDEX)

    def send(self) -> None:
        """Let PostgreSQL commit what was written, if the batch is its own transaction, without waiting for it."""
        if self._pipeline is not None:
            self._pipeline.send()

    def require(self, change: str, number: int, refusal: Exception) -> None:
        """Run an UPDATE that must find its row; `{number}` stands for the number.

        Raises:
            refusal: it found none; on PostgreSQL the batch raises it at its end.
        """
        changed = change.format(number=number)
        if self._pipeline is not None:
            self.refusal = refusal
            # An error is what keeps the COMMIT from happening that has been sent already.
            self._pipeline.add(f"WITH u AS ({changed} RETURNING 1) SELECT 1 / count(*) FROM u")  # noqa: S608 - our own text
        elif self._connection.execute(text(changed)).rowcount != 1:
            raise refusal

    def append(self, log: Table, counter: Column[int], owner: int, rows: Sequence[Row]) -> Callable[[], int | None]:
        """Add rows to an owner's log, numbered on from its counter.

        Args:
            log: its primary key is the owner's and the place in the log, of which the rows have neither.
            counter: a column of the owner, the number of the log's last row.

        Returns:
            To be called when the batch has ended: the last row's number; None if there is no such owner any more, and
            nothing was added.
        """
        if self._pipeline is not None:
            document = _document([{**row, "place": place} for place, row in enumerate(rows, 1)])
            statement = _append(log, counter, tuple(rows[0]))
            there = self._pipeline.add(statement, document, str(owner), str(len(rows)))
            return lambda: None if (last := self.found[there]) is None else int(last)
        last = self._connection.scalar(_taking(counter), {"k_owner": owner, "count": len(rows)})
        if last is not None:
            whose, place = (column.name for column in log.primary_key.columns)
            numbered = [{**row, whose: owner, place: n} for n, row in enumerate(rows, last - len(rows) + 1)]
            self._connection.execute(sqlite_insert(log), numbered)
        return lambda: last

    def insert(self, table: Table, rows: Sequence[Row], unless_there: bool = False) -> None:
        """Add rows, all of the same columns; `unless_there`: one whose key is there already is left as it stands."""
        if not rows:
            return
        if self._pipeline is not None:
            self._pipeline.add(_insert(table, tuple(rows[0]), unless_there), _document(rows))
        else:
            plain = sqlite_insert(table)
            self._connection.execute(plain.on_conflict_do_nothing() if unless_there else plain, rows)

    def update(self, table: Table, rows: Sequence[Row], unless_set: str | None = None) -> None:
        """Change the rows with the same primary keys, but for those where the column `unless_set` has a value."""
        if not rows:
            return
        if self._pipeline is not None:
            self._pipeline.add(_update(table, tuple(rows[0]), unless_set), _document(rows))
            return
        keys = [column for column in table.primary_key.columns if column.name in rows[0]]
        others = [table.c[name] for name in rows[0] if not table.c[name].primary_key]
        change = update(table).where(*(column == bindparam(f"k_{column.name}") for column in keys))
        if unless_set:
            change = change.where(table.c[unless_set].is_(None))
        change = change.values({column.name: bindparam(f"n_{column.name}") for column in others})
        named = {**{c.name: f"k_{c.name}" for c in keys}, **{c.name: f"n_{c.name}" for c in others}}
        self._connection.execute(change, [{named[name]: value for name, value in row.items()} for row in rows])


@contextmanager
def batch(connection: Connection) -> Iterator[Batch]:
    """The last writes of a connection's transaction, which may be committed with them already.

    Raises:
        DBAPIError: a statement failed; on PostgreSQL possibly only at the end.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        yield Batch(connection, None)
        return
    pipeline = Pipeline(driver, connection.info.setdefault(_PREPARED, set()))
    rows = Batch(connection, pipeline)
    try:
        yield rows
        rows.found = pipeline.finish()
    except psycopg.Error as error:
        if rows.refusal is not None and isinstance(error, DivisionByZero):
            raise rows.refusal from error
        raise DBAPIError("a batch of statements", None, error) from error
    finally:
        pipeline.abandon()


def _document(rows: Sequence[Row]) -> str:
    """As a document the rows are one text to the driver; as arrays each of their values would have to be escaped."""
    return orjson.dumps(rows, option=orjson.OPT_NON_STR_KEYS).decode()


# The statements on PostgreSQL, over rows of these columns. The names in them are our own.


@cache
def _insert(table: Table, columns: tuple[str, ...], unless_there: bool) -> str:
    names = ", ".join(map(_quoted, columns))
    conflict = " ON CONFLICT DO NOTHING" if unless_there else ""
    return f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {_recordset(table, columns)}{conflict}"  # noqa: S608


@cache
def _update(table: Table, columns: tuple[str, ...], unless_set: str | None) -> str:
    keys = [name for name in columns if table.c[name].primary_key]
    changes = ", ".join(f"{_quoted(name)} = u.{_quoted(name)}" for name in columns if name not in keys)
    where = " AND ".join(f"t.{_quoted(name)} = u.{_quoted(name)}" for name in keys)
    where += f" AND t.{unless_set} IS NULL" if unless_set else ""
    return f"UPDATE {table.name} AS t SET {changes} FROM {_recordset(table, columns)} WHERE {where}"  # noqa: S608


@cache
def _append(log: Table, counter: Column[int], columns: tuple[str, ...]) -> str:
    whose, place = (_quoted(column.name) for column in log.primary_key.columns)
    names = ", ".join(map(_quoted, columns))
    rows = _recordset(log, columns, ", place INTEGER")
    return (
        f"WITH taken AS (UPDATE {counter.table.description} SET {counter.name} = {counter.name} + $3::int "  # noqa: S608
        f"WHERE id = $2::int RETURNING id, {counter.name} AS last), "
        f"written AS (INSERT INTO {log.name} ({whose}, {place}, {names}) "
        f"SELECT taken.id, taken.last - $3::int + u.place, {names} FROM taken, {rows}) "
        "SELECT last FROM taken"
    )


def _recordset(table: Table, columns: tuple[str, ...], more: str = "") -> str:
    """The rows of a document, the statement's first value, as the table u."""
    dialect: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    types = ", ".join(f"{_quoted(name)} {table.c[name].type.compile(dialect)}" for name in columns)
    return f"json_to_recordset($1::json) AS u({types}{more})"


@cache
def _taking(counter: Column[int]) -> Any:
    """The numbers for so many rows, taken from the counter on SQLite: the last of them."""
    owners = counter.table
    taken = update(owners).where(owners.c.id == bindparam("k_owner")).values({counter: counter + bindparam("count")})
    return taken.returning(counter)


def _quoted(name: str) -> str:
    return f'"{name}"'
