"""Holds a trial to its slot's share of the host's memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self

import psutil
from pydantic import ByteSize

LOOK_SECONDS = 0.5  # between two looks,
LOOK_SHARE = 20  # and so many times as long as the last one took


def memory_below(process: int) -> int:
    """Bytes that a process and all below it hold. What several of them share is counted for each."""
    return sum(_each_below(process, lambda each: int(each.memory_info().rss)))


class MemoryBound:
    """Looks at a process and all that it has started, from a thread of its own, and ends what uses too much.

    Attributes:
        excess: the sentence on what was ended, until it is taken.
    """

    def __init__(self, limit: int | None, process: Callable[[], int], kill: Callable[[], None]) -> None:
        """
        Args:
            limit: bytes; None watches nothing.
            process: the process to watch; 0 if there is none now.
        """
        self.excess: str | None = None
        self._limit = limit
        self._process = process
        self._kill = kill
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory bound", daemon=True)

    def __enter__(self) -> Self:
        if self._limit is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def take_excess(self) -> str | None:
        excess, self.excess = self.excess, None
        return excess

    def _run(self) -> None:
        pause = LOOK_SECONDS
        while not self._closing.wait(pause):
            started = time.monotonic()
            if self.excess is None and (process := self._process()):
                self._look(process, self._limit or 0)
            pause = max(LOOK_SECONDS, LOOK_SHARE * (time.monotonic() - started))

    def _look(self, process: int, limit: int) -> None:
        # Processes forked from one another share most of their pages; only the exact figure may end a trial.
        if memory_below(process) <= limit or (used := sum(_each_below(process, _own_memory))) <= limit:
            return
        self.excess = f"it used {_human(used)} of memory, and its slot has {_human(limit)} (--memory-per-slot)"
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


def _human(size: int) -> str:
    return ByteSize(size).human_readable()
