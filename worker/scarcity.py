"""Sees that the machine's memory does not run out: before the kernel has to choose what to kill, a trial is ended.

What the kernel kills may be anybody's, and in a container it may be all slots at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Self

import structlog

from worker.machine_memory import memory_bytes, memory_left
from worker.memory import human, memory_below

RESERVE_SHARE = 0.1  # of all memory, and no more than
MOST_RESERVE = 2**30  # bytes: so much is to be left, for as long as it takes to look and to end a trial
FASTEST = 8 * 2**30  # bytes a second: nobody fills memory faster
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
SETTLE_SECONDS = 3.0  # for what was ended to give its memory back

GIVE_WAY = signal.SIGUSR2  # to a slot: end what runs, and say why

log = structlog.get_logger(__name__)


class Scarcity:
    """Looks at the machine's memory from a thread of its own; when little is left, has the slot that uses the most end
    what it runs."""

    def __init__(
        self, slots: Callable[[], Sequence[int]], total: int | None = None, left: Callable[[], int] = memory_left
    ) -> None:
        """
        Args:
            slots: the slots' processes.
            total: bytes of memory; those that there are if left out.
        """
        self._slots = slots
        self._left = left
        self._reserve = min(MOST_RESERVE, int(RESERVE_SHARE * (total or memory_bytes())))
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scarcity", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def look(self) -> float:
        """Look once; seconds until the next look."""
        left = self._left()
        if left >= self._reserve:
            pause = (left - self._reserve) / FASTEST
            return min(max(pause, SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        size, process = max(((memory_below(each), each) for each in self._slots()), default=(0, 0))
        if size <= self._reserve:  # it is not to blame, and its end would not help
            return LONGEST_PAUSE_SECONDS
        log.warning("hardly any memory is left; ending what uses the most", left=human(left), used=human(size))
        os.kill(process, GIVE_WAY)
        return SETTLE_SECONDS

    def _run(self) -> None:
        pause = 0.0
        while not self._closing.wait(pause):
            try:
                pause = self.look()
            except OSError:  # a slot that has ended meanwhile
                pause = SHORTEST_PAUSE_SECONDS
