"""Many rows in one statement: on PostgreSQL as one JSON document, on SQLite as one execution a row.

On PostgreSQL all statements of a `Batch` travel together and are answered together: a round trip for everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
from sqlalchemy import Column, Connection, Table, bindparam, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError

Row = dict[str, Any]


class Batch:
    """Writes rows, given as values by column, within a transaction of somebody else's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._documents = connection.dialect.name == "postgresql"

    def insert(self, table: Table, rows: Sequence[Row], unless_there: bool = False) -> None:
        """Add rows, all of the same columns; `unless_there`: one whose key is there already is left as it stands."""
        if not rows:
            return
        columns = [table.c[name] for name in rows[0]]
        if self._documents:
            names = ", ".join(_quoted(column) for column in columns)
            conflict = " ON CONFLICT DO NOTHING" if unless_there else ""
            statement = f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {{}}{conflict}"  # noqa: S608 - our own names
            self._send(statement, columns, rows)
        else:
            plain = sqlite_insert(table)
            self._connection.execute(plain.on_conflict_do_nothing() if unless_there else plain, rows)

    def update(self, table: Table, rows: Sequence[Row], unless_set: str | None = None) -> None:
        """Change the rows with the same primary keys, but for those where the column `unless_set` has a value."""
        if not rows:
            return
        keys = [column for column in table.primary_key.columns if column.name in rows[0]]
        others = [table.c[name] for name in rows[0] if not table.c[name].primary_key]
        if self._documents:
            changes = ", ".join(f"{_quoted(column)} = u.{_quoted(column)}" for column in others)
            same = [f"t.{_quoted(column)} = u.{_quoted(column)}" for column in keys]
            where = " AND ".join([*same, *([f"t.{unless_set} IS NULL"] if unless_set else [])])
            statement = f"UPDATE {table.name} AS t SET {changes} FROM {{}} WHERE {where}"  # noqa: S608 - our own names
            self._send(statement, [table.c[name] for name in rows[0]], rows)
        else:
            change = update(table).where(*(column == bindparam(f"k_{column.name}") for column in keys))
            if unless_set:
                change = change.where(table.c[unless_set].is_(None))
            change = change.values({column.name: bindparam(f"n_{column.name}") for column in others})
            named = {**{c.name: f"k_{c.name}" for c in keys}, **{c.name: f"n_{c.name}" for c in others}}
            self._connection.execute(change, [{named[name]: value for name, value in row.items()} for row in rows])

    def _send(self, statement: str, columns: Sequence[Column[Any]], rows: Sequence[Row]) -> None:
        """Run a statement over `{}`, the rows as the table u.

        As a document the rows are one text to the driver; as arrays each of their values would have to be escaped.
        """
        types = ", ".join(f"{_quoted(column)} {column.type.compile(self._connection.dialect)}" for column in columns)
        document = orjson.dumps(rows, option=orjson.OPT_NON_STR_KEYS).decode()
        self._connection.exec_driver_sql(statement.format(f"json_to_recordset(%s::json) AS u({types})"), (document,))


@contextmanager
def batch(connection: Connection) -> Iterator[Batch]:
    """Raises: DBAPIError: a statement failed; on PostgreSQL possibly only at the end."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        yield Batch(connection)
        return
    try:
        with driver.pipeline():
            yield Batch(connection)
    except psycopg.Error as error:
        raise DBAPIError("a batch of statements", None, error) from error


def _quoted(column: Column[Any]) -> str:
    return f'"{column.name}"'
