"""How long a command may run, how much it may write, and how it is ended when that is over."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from worker.checkpoints import bytes_below
from worker.conversation import Conversation
from worker.guarded import GuardedCommand
from worker.objectives_file import CommandObjective

MEASURE_SECONDS = 1.0  # between two looks at the disk,
MEASURE_SHARE = 20  # and so many times as long as the last one took


class Bounds:
    """When a command has to end: it was told so, has no time or space left, or its worker leaves.

    Attributes:
        failure: which bound it broke, if it did.
        has_left: whether it was ended because its worker leaves.
    """

    def __init__(
        self,
        objective: CommandObjective,
        conversation: Conversation,
        folders: tuple[Path, ...],
        should_leave: Callable[[], bool],
        leave_seconds: float,
    ) -> None:
        self.failure: str | None = None
        self.has_left = False
        self._objective = objective
        self._conversation = conversation
        self._folders = folders
        self._should_leave = should_leave
        self._leave_seconds = leave_seconds / 2  # once to hear of it at a report, once after SIGTERM
        self._grace = objective.grace
        now = time.monotonic()
        self._overtime_at = math.inf if objective.timeout is None else now + objective.timeout
        self._measure_at = now
        self._ask_at = self._kill_at = math.inf

    def look(self, command: GuardedCommand) -> None:
        """End the command if it is time: SIGTERM, and SIGKILL after the grace."""
        now = time.monotonic()
        self._measure(now)
        self._watch_time(now)
        if now >= self._kill_at:
            command.kill()
        elif now >= self._ask_at and self._kill_at == math.inf:
            command.terminate()
            self._kill_at = now + self._grace

    def settle(self) -> None:
        """Look at the disk once more, when the command has ended."""
        self._measure_at = 0.0
        self._measure(time.monotonic())

    def _watch_time(self, now: float) -> None:
        if now >= self._overtime_at and self.failure is None:
            self.failure = f"the command ran longer than its timeout of {self._objective.timeout:g} s"
            self._ask_at = now
        if self._conversation.error is not None:
            self._ask_at = min(self._ask_at, now)
        self._ask_at = min(self._ask_at, self._conversation.obey_by)
        if self._should_leave() and not self.has_left:
            self.has_left = True
            self._grace = min(self._grace, self._leave_seconds)
            self._ask_at = min(self._ask_at, now + self._grace)

    def _measure(self, now: float) -> None:
        if now < self._measure_at:
            return
        used = sum(map(bytes_below, self._folders))
        took = time.monotonic() - now
        self._measure_at = now + max(MEASURE_SECONDS, MEASURE_SHARE * took)
        if used > self._objective.max_disk:
            most = self._objective.max_disk.human_readable(decimal=True)
            self.failure = f"the command's files grew beyond its max_disk of {most}"
            self._kill_at = now
