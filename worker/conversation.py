"""What a command says of its trial, by HTTP or in the lines it prints, and what it is told."""

from __future__ import annotations

import math
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from store.errors import TrialyardError
from store.messages import MAX_STEP, DecisionName, Metrics
from worker.ending import CommandDiverged, CommandFailed
from worker.line_reader import LineReader, UnreadableLines
from worker.printed import Reading
from worker.reporter import NotANumber

CHUNK_BYTES = 2**16
LONGEST_LINE = 2**16
KEPT_BYTES = 2**16  # of the end of what was printed


class Reports(Protocol):
    """Where the reports go."""

    def tell(self, step: int, metrics: Mapping[str, float]) -> DecisionName: ...

    def finite(self, metrics: Mapping[str, float], where: str) -> Metrics: ...


class Log(Protocol):
    """Where what is printed is kept."""

    def write(self, data: bytes) -> None: ...


class ImpossibleStep(TrialyardError):
    """A step is no number that a report can have."""


class Conversation:
    """Settles one word at a time, from any thread. A decision other than "continue" is the last one.

    Attributes:
        decision: what the command was told last.
        obey_by: when it must have ended by itself, on the monotonic clock.
        final: the metrics it gave at its end.
        refused: what was not finite in the last metrics that it gave by HTTP; None if all were.
        error: why its reports cannot be settled any more.
    """

    def __init__(self, reports: Reports, before_report: Callable[[], None], grace_seconds: float) -> None:
        self.decision: DecisionName = "continue"
        self.obey_by = math.inf
        self.final: Metrics = {}
        self.refused: NotANumber | None = None
        self.error: Exception | None = None
        self._reports = reports
        self._before_report = before_report
        self._grace_seconds = grace_seconds
        self._steps = 0
        self._is_over = False
        self._turn = threading.Lock()

    def report(self, step: int, metrics: Mapping[str, float]) -> DecisionName:
        """Report by HTTP. Raises: NotANumber, ImpossibleStep: it cannot be right; nothing was reported."""
        with self._turn, self._remembering():
            self._settle(step, metrics, self._grace_seconds)
            return self.decision

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Raises: NotANumber."""
        with self._turn, self._remembering():
            self.final = self._reports.finite(metrics, "at the end")

    def hear(self, reader: LineReader, lines: Sequence[str]) -> None:
        """Report what printed lines say. Nobody can answer them: what shall end is ended at once."""
        try:
            for reading in reader.read(lines):
                if self.error is not None:
                    return
                self._hear(reading)
        except UnreadableLines as error:
            self.error = self.error or CommandFailed(str(error))

    def _hear(self, reading: Reading) -> None:
        with self._turn:
            self._steps += 1
            try:
                self._settle(self._steps if reading.step is None else reading.step, reading.metrics, 0.0)
            except NotANumber as error:
                self.error = self.error or CommandDiverged(str(error))
            except ImpossibleStep as error:
                self.error = self.error or CommandFailed(str(error))

    def end(self) -> None:
        """Settle nothing any more; returns when what was being settled is."""
        with self._turn:
            self._is_over = True

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        """Keep whether the metrics that are given now are refused: a script may end because of it."""
        self.refused = None
        try:
            yield
        except NotANumber as error:
            self.refused = error
            raise

    def _settle(self, step: int, metrics: Mapping[str, float], grace_seconds: float) -> None:
        if self._is_over or self.error is not None or self.decision != "continue":
            return
        if not 0 <= step <= MAX_STEP:
            raise ImpossibleStep(f"step {step} is none; steps are whole numbers from 0 to {MAX_STEP}")
        try:
            self._before_report()
            self.decision = self._reports.tell(step, metrics)
        except NotANumber:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where the trial ends
            self.error, self.decision = error, "stop"
        if self.decision != "continue":
            self.obey_by = time.monotonic() + grace_seconds


class Output:
    """Carries what a command prints to the trial's log, and its lines to whoever reads them."""

    def __init__(self, source: int, log: Log, hear: Callable[[Sequence[str]], None] | None) -> None:
        """`source`: the file descriptor to read from. It is read to its end, however fast it is written."""
        self._source = source
        self._log = log
        self._hear = hear
        self._tail = bytearray()
        self._line = b""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._carry, name="output", daemon=True)
        self._thread.start()

    @property
    def tail(self) -> str:
        """The end of what was printed."""
        return self._tail[-KEPT_BYTES:].decode(errors="replace")

    def stop(self) -> None:
        """Stop, when everything that is there has been read."""
        self._stopping.set()
        self._thread.join()

    def _carry(self) -> None:
        while True:
            ready, _, _ = select.select([self._source], [], [], _LOOK_SECONDS)
            if ready:
                chunk = os.read(self._source, CHUNK_BYTES)
                if not chunk:
                    break
                with suppress(OSError):  # a full disk loses words; who prints them goes on
                    self._log.write(chunk)
                self._remember(chunk)
                self._read_lines(chunk)
            elif self._stopping.is_set():
                break
        self._read_lines(b"\n")

    def _remember(self, chunk: bytes) -> None:
        self._tail += chunk
        if len(self._tail) > 2 * KEPT_BYTES:
            del self._tail[:-KEPT_BYTES]

    def _read_lines(self, chunk: bytes) -> None:
        if self._hear is None:
            return
        *lines, rest = _LINE_END.split(self._line + chunk)
        self._line = rest[:LONGEST_LINE]
        if any(lines):
            self._hear([line.decode(errors="replace") for line in lines if line])


_LOOK_SECONDS = 0.1
_LINE_END = re.compile(rb"[\r\n]+")  # a progress bar ends its lines with a carriage return
