"""The signals that ask a process to end, as something to look at between two steps."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Self

from trialyard.errors import CommandError


class Stopped(CommandError):
    """A person or the system asked this process to end (SIGINT, SIGTERM, SIGHUP)."""

    def __init__(self, number: int) -> None:
        super().__init__("stopped")
        self.exit_code = 128 + number  # as a shell says it: 130 after Ctrl-C


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag, so that nothing is ever torn in the middle.

    The one who works asks `check` between two steps. A second signal calls `on_second`, at once; as long as nobody has
    said what that is, it ends the process.
    """

    def __init__(self) -> None:
        self.on_second: Callable[[], None] = lambda: os._exit(128 + self._received[-1])
        self._received: list[int] = []
        self._previous: dict[
            signal.Signals, signal.Handlers | int | Callable[[int, FrameType | None], object] | None
        ] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raises: Stopped: a signal has come."""
        if self._received:
            raise Stopped(self._received[0])

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received.append(number)
        if len(self._received) > 1:
            self.on_second()
