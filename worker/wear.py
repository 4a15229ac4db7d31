"""When a runner should be replaced by a new one: a broken device, many trials, memory that only grows."""

from __future__ import annotations

from collections.abc import Callable

import psutil
from pydantic import ByteSize


def own_memory() -> int:
    """Bytes that this process holds."""
    return int(psutil.Process().memory_info().rss)


class Wear:
    """Attributes: reason: why this runner should be replaced; None while it should not."""

    def __init__(self, most_trials: int, most_growth: int, memory: Callable[[], int] = own_memory) -> None:
        """
        Args:
            most_trials: how many trials a runner runs.
            most_growth: by how many bytes it may grow beyond what it held after its first trial.
        """
        self.reason: str | None = None
        self._most_trials = most_trials
        self._most_growth = most_growth
        self._memory = memory
        self._trials = 0
        self._first = 0

    def trial_ended(self) -> None:
        self._trials += 1
        used = self._memory()
        self._first = self._first or used
        if self._trials >= self._most_trials:
            self.reason = self.reason or f"it has run {self._trials} trials"
        elif used - self._first > self._most_growth:
            grown = ByteSize(used - self._first).human_readable()
            self.reason = self.reason or f"it has grown by {grown} since its first trial"

    def failed(self, error: BaseException) -> None:
        """A trial raised this. After an error of the device nothing in this process can be relied on."""
        seen: BaseException | None = error
        while seen is not None:
            if _is_of_the_device(seen):
                self.reason = f"a device error: {str(seen)[:200]}"
                return
            seen = seen.__cause__ or seen.__context__


def _is_of_the_device(error: BaseException) -> bool:
    """CUDA's own errors, without importing torch; running out of device memory leaves the device whole."""
    names = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("torch")}
    if "OutOfMemoryError" in names:
        return False
    return "AcceleratorError" in names or (isinstance(error, RuntimeError) and "CUDA error" in str(error))
