"""Commands to Redis that travel together: one round trip, and none of the layers of a client that can do everything."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import redis
from hiredis import pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.exceptions import RedisError, ResponseError

Command = tuple[str | bytes | int | float, ...]

_NO_ANSWER: Command = ("CLIENT", "REPLY", "SKIP")  # to the next command


class Wire:
    """A connection from a client's pool, held from the first use on. Not for two threads at once.

    Answers come as Redis gives them. Nothing is sent twice: who sent it knows whether it may be.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None

    def send(
        self, *commands: Command, unheard: Sequence[Command] = (), meanwhile: Callable[[], None] = lambda: None
    ) -> list[Any]:
        """Send commands and return their answers, in order.

        Args:
            unheard: commands that go before the others, and are not answered: for who waits for another answer, each
                would be one more time to wake up. If Redis refuses one of them, nobody hears of it.
            meanwhile: called while Redis works on them; also if they could not be sent.

        Raises:
            ResponseError: Redis refused one of them; the others were done.
            redis.exceptions.ConnectionError, TimeoutError: nobody knows what was done. The next call connects anew.
        """
        first = [each for command in unheard for each in (_NO_ANSWER, command)]
        packed = b"".join(map(pack_command, (*first, *commands)))  # type: ignore[arg-type]  # its stub knows tuples of one
        try:
            self._held().send_packed_command([packed], check_health=False)
        finally:
            meanwhile()
        answers = _answers(self._connection, len(commands))
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers

    def _held(self) -> Any:
        if self._connection is None:
            self._connection = self._pool.get_connection()
            weakref.finalize(self, self._pool.release, self._connection)
        return self._connection


def _answers(connection: Any, count: int) -> list[Any]:
    """So many answers; those that arrive with the one before them are taken from the parser itself."""
    arrived = connection._parser._reader.gets
    answers: list[Any] = []
    while len(answers) < count:
        answer = arrived()
        answers.append(_next(connection) if answer is NOT_ENOUGH_DATA else answer)
    return answers


def _next(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as refusal:  # the answers behind it are still to be read
        return refusal
