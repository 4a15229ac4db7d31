"""What a slot and its runner say to each other over a pipe."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from store.messages import AttemptKey
from store.queue import Errand


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Do(_Word):
    """Slot to runner: do what a job asks for."""

    kind: Literal["do"] = "do"
    errand: Errand


class Rest(_Word):
    """Slot to runner: the trial in hand is the last one."""

    kind: Literal["rest"] = "rest"


class Began(_Word):
    """Runner to slot: from now on this attempt is lost if I die."""

    kind: Literal["began"] = "began"
    attempt: AttemptKey


class Went(_Word):
    """Runner to slot: so much has been done since the last such word."""

    kind: Literal["went"] = "went"
    steps: int = 0
    rows: int = 0
    crowded: int = 0  # trials that found no memory beside their neighbours


class Ended(_Word):
    """Runner to slot: the scheduler knows how the attempt ended."""

    kind: Literal["ended"] = "ended"
    attempt: AttemptKey
    refused: int = 0  # how many of its messages came too late


class Done(_Word):
    """Runner to slot: the errand is done. `worn`: why this runner should be replaced, if it should."""

    kind: Literal["done"] = "done"
    worn: str | None = None


Word = Do | Rest | Began | Went | Ended | Done

_WORDS: TypeAdapter[Word] = TypeAdapter(Annotated[Word, Field(discriminator="kind")])


class Channel:
    """One end of the pipe. It ends (EOFError, BrokenPipeError) with the process at the other end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, word: Word) -> None:
        """Raises: OSError: the other process is gone."""
        self._connection.send_bytes(word.model_dump_json().encode())

    def receive(self, timeout: float | None = None) -> Word | None:
        """The next word; None if none came within `timeout` seconds. Raises: EOFError: the other process is gone."""
        if not self._connection.poll(timeout):
            return None
        try:
            return _WORDS.validate_json(self._connection.recv_bytes())
        except ConnectionResetError as error:
            raise EOFError from error

    @property
    def has_word(self) -> bool:
        """Whether the other process has said something that was not received yet, or is gone."""
        return self._connection.poll(0)

    def close(self) -> None:
        self._connection.close()
