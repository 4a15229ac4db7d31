"""Statements that travel to PostgreSQL together and are answered together: one round trip for a whole transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import generators
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGresult


class Pipeline:
    """The last statements of a transaction; their values are texts, and stand as $1, $2, … in them.

    They are a transaction of their own, which is committed at its end, unless another has begun on the connection: what
    is sent without a BEGIN before the next Sync is one (PostgreSQL, "Pipelining" in the description of the message
    flow). They go straight to libpq: with a cursor for each, which none of them needs, they take thrice as long.
    """

    def __init__(self, driver: psycopg.Connection[Any], prepared: set[bytes]) -> None:
        """`driver`: prepares no statements of its own. `prepared`: the names of ours, kept as long as it lives."""
        self._driver = driver
        self._prepared = prepared
        self._statements: list[tuple[str, Sequence[str]]] = []
        self._awaited: list[bytes | None] = []  # answers in order: to a preparation its name, to a statement None
        self._is_under_way = False

    def add(self, statement: str, *values: str) -> int:
        """Put a statement at the end; its place, from 0. Nothing is sent yet."""
        self._statements.append((statement, values))
        return len(self._statements) - 1

    def send(self) -> int:
        """Let PostgreSQL work, and commit, without waiting for it; the socket on which it answers when all is done."""
        connection = self._driver.pgconn
        self._is_under_way = True
        connection.enter_pipeline_mode()
        for statement, values in self._statements:
            name = _name(statement)
            if name not in self._prepared and name not in self._awaited:
                connection.send_prepare(name, statement.encode())
                self._awaited.append(name)
            connection.send_query_prepared(name, [value.encode() for value in values])
            self._awaited.append(None)
        connection.pipeline_sync()
        self._driver.wait(generators.send(connection))
        return connection.socket

    def finish(self) -> list[str | None]:
        """Wait until all is done, having sent it if need be; the first value that each statement found.

        Raises:
            psycopg.Error: a statement failed, and nothing was done.
        """
        if not self._is_under_way:
            self.send()
        found: list[str | None] = []
        cause: psycopg.Error | None = None  # the first error: of a server that ends the next one says only that
        try:
            for name in self._awaited:
                result = self._next()
                if result.status == ExecStatus.FATAL_ERROR:
                    cause = cause or psycopg.errors.error_from_result(result)
                elif name is None:
                    found.append(_first_value(result))
                elif result.status == ExecStatus.COMMAND_OK:
                    self._prepared.add(name)
            self._next()  # of the Sync
            self._driver.pgconn.exit_pipeline_mode()
            self._is_under_way = False
        except psycopg.Error as error:
            raise cause or error from error
        if cause is not None:
            raise cause
        return found

    def abandon(self) -> None:
        """After an error: nobody can use the connection again whose answers have not been read."""
        if self._is_under_way:
            self._driver.close()

    def _next(self) -> PGresult:
        connection = self._driver.pgconn
        is_there = connection.status == ConnStatus.OK
        results: list[PGresult] = self._driver.wait(generators.fetch_many(connection)) if is_there else []
        if not results:
            raise psycopg.OperationalError("the connection was lost")
        return results[0]


@cache
def _name(statement: str) -> bytes:
    return hashlib.sha256(statement.encode()).hexdigest()[:32].encode()


def _first_value(result: PGresult) -> str | None:
    value = result.get_value(0, 0) if result.ntuples and result.nfields else None
    return None if value is None else value.decode()
