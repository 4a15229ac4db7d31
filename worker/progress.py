"""How much a runner gets done, told to its slot from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable

from worker.channel import Went


class Progress:
    """Gathers steps, and tells of them every `seconds`: short trials have thousands a second."""

    def __init__(
        self, tell: Callable[[Went], None], seconds: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._seconds = seconds
        self._monotonic = monotonic
        self._steps = self._rows = 0
        self._tell_at = 0.0

    def step(self, rows: int) -> None:
        self._steps += 1
        self._rows += rows
        if self._monotonic() >= self._tell_at:
            self._tell_at = self._monotonic() + self._seconds
            self._tell(Went(steps=self._steps, rows=self._rows))
            self._steps = self._rows = 0

    def crowded(self) -> None:
        """A trial found no memory beside its neighbours."""
        self._tell(Went(crowded=1))
