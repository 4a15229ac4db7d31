"""Holds a trial to its slot's share of the host's memory, and ends one for the sake of all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple, Self

import psutil
from pydantic import ByteSize

LOOK_SECONDS = 0.5  # between two looks,
LOOK_SHARE = 20  # and so many times as long as the last one took


def memory_below(process: int) -> int:
    """Bytes that a process and all below it hold. What several of them share is counted for each."""
    return sum(_each_below(process, lambda each: int(each.memory_info().rss)))


def human(size: int) -> str:
    """A number of bytes, for people."""
    return ByteSize(size).human_readable()


class Excess(NamedTuple):
    """Why something was ended, and whether it would use as much the next time and be ended again."""

    reason: str
    is_lasting: bool


class MemoryBound:
    """Looks at a process and all that it has started, from a thread of its own, and ends what uses too much.

    Attributes:
        excess: what is to be said of what was ended, until it is taken.
    """

    def __init__(
        self, share: int, process: Callable[[], int], kill: Callable[[], None], *, is_limit: bool = False
    ) -> None:
        """
        Args:
            share: bytes of the host's memory.
            process: the process to watch; 0 if there is none now.
            is_limit: nothing may use more than the share; else it may, as long as the machine has memory left.
        """
        self.excess: Excess | None = None
        self._share = share
        self._is_limit = is_limit
        self._process = process
        self._kill = kill
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory bound", daemon=True)

    def __enter__(self) -> Self:
        if self._is_limit:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def take_excess(self) -> Excess | None:
        excess, self.excess = self.excess, None
        return excess

    def give_way(self) -> None:
        """End what runs, since the machine's memory runs out. May be called from a signal handler."""
        if self.excess is not None or not (process := self._process()):
            return
        used = sum(_each_below(process, _own_memory))
        reason = (
            f"the machine had hardly any memory left, and this slot used the most, {human(used)}; "
            f"its share is {human(self._share)}"
        )
        self.excess = Excess(reason, is_lasting=used > self._share)
        self._kill()

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._closing.wait(pause):
            started = time.monotonic()
            if self.excess is None and (process := self._process()):
                self._look(process)
            pause = max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - started))

    def _look(self, process: int) -> None:
        # Processes forked from one another share most of their pages; only the exact figure may end a trial.
        limit = self._share
        if memory_below(process) <= limit or (used := sum(_each_below(process, _own_memory))) <= limit:
            return
        reason = f"it used {human(used)} of memory, and its slot has {human(limit)} (--memory-per-slot)"
        self.excess = Excess(reason, is_lasting=True)
        self._kill()


def _each_below(process: int, measure: Callable[[psutil.Process], int]) -> list[int]:
    try:
        first = psutil.Process(process)
        family = [first, *first.children(recursive=True)]
    except psutil.Error:
        return []
    found = []
    for each in family:
        try:
            found.append(measure(each))
        except psutil.Error:  # it has ended meanwhile
            continue
    return found


def _own_memory(process: psutil.Process) -> int:
    """Its proportional share where the kernel tells it, else all that it holds."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)
