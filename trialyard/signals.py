"""The signals that ask a process to end, as something to look at between two steps."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Self

from trialyard.errors import CommandError


class Stopped(CommandError):
    """A person or the system asked this process to end (SIGINT, SIGTERM, SIGHUP)."""

    exit_code = 130


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag, so that nothing is ever torn in the middle.

    The one who works asks `check` between two steps. A second signal calls `on_second`, at once.
    """

    def __init__(self) -> None:
        self.on_second: Callable[[], None] = lambda: None
        self._received = 0
        self._previous: dict[
            signal.Signals, signal.Handlers | int | Callable[[int, FrameType | None], object] | None
        ] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises: Stopped: a signal has come."""
        if self._received:
            raise Stopped("stopped")

    def _receive(self, _number: int, _frame: FrameType | None) -> None:
        self._received += 1
        if self._received > 1:
            self.on_second()
