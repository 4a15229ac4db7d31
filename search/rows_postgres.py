"""Many rows in one statement on PostgreSQL: as one JSON document.

All statements of a batch travel together and are answered together, with the transaction's beginning and its end: one
round trip for everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Column, Dialect, Table
from sqlalchemy.dialects import postgresql

from store.pipeline import Pipeline
from store.session import without_nul

Row = dict[str, Any]

# The planner takes a document for a hundred rows, and would join them to a hash of the whole table: every batch would
# read all of it. A plan made while the table was small stays in use when it has grown.
_BY_INDEX = (
    "SELECT set_config(name, 'off', true) "
    "FROM unnest('{enable_seqscan, enable_hashjoin, enable_mergejoin}'::text[]) AS u(name)"
)


class PostgresBatch:
    """See `search.rows.Batch`.

    Attributes:
        refusal: what a required UPDATE that finds no row is to raise; it fails by a division by zero.
        found: what each statement of the pipeline has found, by its place, when the batch has ended.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.refusal: Exception | None = None
        self.found: Sequence[str | None] = ()
        self._pipeline = pipeline
        pipeline.add(_BY_INDEX)

    def send(self) -> int:
        return self._pipeline.send()

    def require(self, change: str, number: int, refusal: Exception) -> None:
        self.refusal = refusal
        changed = change.format(number=number)
        # An error is what keeps the COMMIT from happening that has been sent already.
        self._pipeline.add(f"WITH u AS ({changed} RETURNING 1) SELECT 1 / count(*) FROM u")  # noqa: S608 - our own text

    def append(self, log: Table, counter: Column[int], owner: int, rows: Sequence[Row]) -> Callable[[], int | None]:
        document = _document([{**row, "place": place} for place, row in enumerate(rows, 1)])
        statement = _append(log, counter, tuple(rows[0]))
        there = self._pipeline.add(statement, document, str(owner), str(len(rows)))
        return lambda: None if (last := self.found[there]) is None else int(last)

    def insert(self, table: Table, rows: Sequence[Row], unless_there: bool = False) -> None:
        if rows:
            self._pipeline.add(_insert(table, tuple(rows[0]), unless_there), _document(rows))

    def update(self, table: Table, rows: Sequence[Row], unless_set: str | None = None) -> None:
        if rows:
            self._pipeline.add(_update(table, tuple(rows[0]), unless_set), _document(rows))


def _document(rows: Sequence[Row]) -> str:
    """As a document the rows are one text to the driver; as arrays each of their values would have to be escaped."""
    return without_nul(orjson.dumps(rows, option=orjson.OPT_NON_STR_KEYS).decode())


# The statements, over rows of these columns. The names in them are our own.


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


def _quoted(name: str) -> str:
    return f'"{name}"'
