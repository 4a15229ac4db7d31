"""Many rows in one statement on SQLite, one execution a row, by the driver alone.

SQLAlchemy took longer for the few statements of a trial that ends than SQLite: it is asked once what a statement's
values look like in the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Column, Dialect, Table

Stored = Callable[[Any], Any]  # a value of a column as the driver takes it


class SqliteBatch:
    """See `search.rows.Batch`: everything is written at once, in the transaction that is open."""

    def __init__(self, cursor: sqlite3.Cursor, dialect: Dialect) -> None:
        self._cursor = cursor
        self._dialect = dialect

    def send(self) -> None:
        """Nothing waits to be sent."""

    def require(self, change: str, number: int, refusal: Exception) -> None:
        self._cursor.execute(change.format(number=number))
        if self._cursor.rowcount != 1:
            raise refusal

    def append(
        self, log: Table, counter: Column[int], owner: int, rows: Sequence[Mapping[str, Any]]
    ) -> Callable[[], int | None]:
        self._cursor.execute(_take(counter), (len(rows), owner))
        taken = self._cursor.fetchone()
        if taken is None:
            return lambda: None
        last: int = taken[0]
        whose, place = (column.name for column in log.primary_key.columns)
        self.insert(log, [{whose: owner, place: n, **row} for n, row in enumerate(rows, last - len(rows) + 1)])
        return lambda: last

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]], unless_there: bool = False) -> None:
        if rows:
            columns = tuple(rows[0])
            self._execute(_insert(table, columns, unless_there), table, columns, rows)

    def update(self, table: Table, rows: Sequence[Mapping[str, Any]], unless_set: str | None = None) -> None:
        if rows:
            keys = tuple(name for name in rows[0] if table.c[name].primary_key)
            others = tuple(name for name in rows[0] if name not in keys)
            self._execute(_update(table, others, keys, unless_set), table, others + keys, rows)

    def _execute(
        self, statement: str, table: Table, columns: tuple[str, ...], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """`columns`: in the order of the statement's question marks."""
        stored = _stored(table, columns, self._dialect)
        values = [tuple([as_stored(row[name]) for name, as_stored in stored]) for row in rows]
        self._cursor.executemany(statement, values)


# The names in the statements are our own.


@cache
def _insert(table: Table, columns: tuple[str, ...], unless_there: bool) -> str:
    names, marks = ", ".join(map(_quoted, columns)), ", ".join("?" * len(columns))
    conflict = " ON CONFLICT DO NOTHING" if unless_there else ""
    return f"INSERT INTO {table.name} ({names}) VALUES ({marks}){conflict}"  # noqa: S608


@cache
def _update(table: Table, columns: tuple[str, ...], keys: tuple[str, ...], unless_set: str | None) -> str:
    changes = ", ".join(f"{_quoted(name)} = ?" for name in columns)
    where = " AND ".join(f"{_quoted(name)} = ?" for name in keys)
    where += f" AND {_quoted(unless_set)} IS NULL" if unless_set else ""
    return f"UPDATE {table.name} SET {changes} WHERE {where}"  # noqa: S608


@cache
def _take(counter: Column[int]) -> str:
    """Numbers for so many rows, taken from the counter of an owner: the last of them."""
    name = _quoted(counter.name)
    return f"UPDATE {counter.table.description} SET {name} = {name} + ? WHERE id = ? RETURNING {name}"  # noqa: S608


@cache
def _stored(table: Table, columns: tuple[str, ...], dialect: Dialect) -> list[tuple[str, Stored]]:
    """How a value of each column is stored."""
    processors = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in columns]
    return [(name, processor or _as_it_is) for name, processor in zip(columns, processors, strict=True)]


def _as_it_is(value: Any) -> Any:
    return value


def _quoted(name: str) -> str:
    return f'"{name}"'
