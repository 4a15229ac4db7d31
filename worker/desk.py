"""Where the processes of a group hear what to train, and say how it goes: the runner's side and theirs.

One line of JSON each way on a unix socket. Every word names its attempt: of a trial that has ended nothing is heard.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BufferedRWPair
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from store.messages import Assignment, AttemptKey, DecisionName, Metrics
from worker.ending import Failure, Outcome

Heard = DecisionName | Literal["leave"]


class _Word(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Here(_Word):
    """A rank waits for something to train."""

    kind: Literal["here"] = "here"


class Line(_Word):
    """The first rank has something for the trial's log."""

    kind: Literal["line"] = "line"
    attempt: AttemptKey
    text: str


class EpochDone(_Word):
    """The first rank has trained an epoch; it waits to hear whether to go on."""

    kind: Literal["epoch"] = "epoch"
    attempt: AttemptKey
    epoch: int
    metrics: Metrics


class Ended(_Word):
    """The first rank has come to an end of the training."""

    kind: Literal["ended"] = "ended"
    attempt: AttemptKey
    outcome: Outcome
    metrics: Metrics


class Failed(_Word):
    """A process cannot go on: `lost` where that is not the training's fault. But for `diverged`, which all ranks see
    alike, it is the end of the group. The agent of the processes speaks of no attempt.
    """

    kind: Literal["failed"] = "failed"
    attempt: AttemptKey | None
    outcome: Failure
    reason: str


class Answer(_Word):
    """What is to be done after an epoch."""

    decision: Heard


Word = Here | Line | EpochDone | Ended | Failed
_WORDS: TypeAdapter[Word] = TypeAdapter(Annotated[Word, Field(discriminator="kind")])


class Listener(Protocol):
    """Who hears the epochs and the lines."""

    def report(self, epoch: int, metrics: Metrics) -> DecisionName: ...

    def log(self, line: str) -> None: ...


class Desk:
    """The runner's side. It answers on threads of its own, one word at a time.

    Attributes:
        ended: how the training ended, once the first rank has said so.
        failures: what went wrong with it, in the order in which it was told.
        error: why its epochs cannot be reported any more.
    """

    def __init__(self, path: Path) -> None:
        self.ended: Ended | None = None
        self.failures: list[Failed] = []
        self.error: Exception | None = None
        self._assignment: Assignment | None = None
        self._listener: Listener | None = None
        self._should_leave: Callable[[], bool] = lambda: False
        self._ranks: list[BufferedRWPair] = []
        self._news = threading.Condition()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, name="desk", daemon=True).start()

    def begin(self, assignment: Assignment, listener: Listener, should_leave: Callable[[], bool]) -> None:
        """Have all ranks train this, also those that are still to come."""
        with self._news:
            self.ended, self.failures, self.error = None, [], None
            self._assignment, self._listener, self._should_leave = assignment, listener, should_leave
            for lines in self._ranks:
                _send(lines, assignment)

    def wait(self, seconds: float) -> bool:
        """Whether the training has ended or cannot go on; at most so long, if not."""
        with self._news:
            return self._news.wait_for(lambda: self._is_over, seconds)

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    @property
    def _is_over(self) -> bool:
        return bool(self.ended or self.error or self.failures)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._hear, args=[connection], name="desk", daemon=True).start()

    def _hear(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as lines, suppress(OSError):
            for line in lines:
                with self._news:
                    self._take(_WORDS.validate_json(line), lines)
                    self._news.notify_all()

    def _take(self, word: Word, lines: BufferedRWPair) -> None:
        if isinstance(word, Here):
            self._ranks.append(lines)
            if self._assignment is not None:
                _send(lines, self._assignment)
            return
        if self._listener is None or self._assignment is None or word.attempt not in (None, self._assignment.attempt):
            return
        match word:
            case Line():
                self._listener.log(word.text)
            case EpochDone():
                self._answer(word, lines, self._listener)
            case Ended():
                self.ended = word
            case Failed():
                self.failures.append(word)

    def _answer(self, word: EpochDone, lines: BufferedRWPair, listener: Listener) -> None:
        try:
            decision = listener.report(word.epoch, word.metrics)
        except Exception as error:  # noqa: BLE001 - it is raised where the trial ends; the rank waits to be ended
            self.error = error
            return
        _send(lines, Answer(decision="leave" if decision == "continue" and self._should_leave() else decision))


class Visitor:
    """A process's side. It ends (OSError) with the runner."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rwb")

    def assignments(self) -> Iterator[Assignment]:
        """What is to be trained, one after another, for ever."""
        self.say(Here())
        while line := self._lines.readline():
            yield Assignment.model_validate_json(line)

    def ask(self, word: EpochDone) -> Heard:
        self.say(word)
        return Answer.model_validate_json(self._lines.readline()).decision

    def say(self, word: Word) -> None:
        _send(self._lines, word)

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


def _send(lines: BufferedRWPair, word: BaseModel) -> None:
    lines.write(word.model_dump_json().encode() + b"\n")
    lines.flush()
