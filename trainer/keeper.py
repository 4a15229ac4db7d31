"""When a training's checkpoints are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from trainer import checkpoint
from trainer.config.steps import Checkpoint as Rule
from trainer.folder import Folder


class Kept(Protocol):
    """What has a state to keep."""

    @property
    def epoch(self) -> int: ...

    def checkpoint(self) -> checkpoint.Checkpoint: ...


class Keeper:
    """Writes the checkpoints of one attempt into its folder, of an epoch at most once. One that does not write, because
    another rank does, does nothing.
    """

    def __init__(self, folder: Folder, rule: Rule, clock: Callable[[], float], *, writes: bool) -> None:
        self._folder, self._rule, self._clock, self._writes = folder, rule, clock, writes
        self._written_at = clock()
        self._epoch = 0  # of the newest

    def write_if_due(self, training: Kept) -> None:
        """After an epoch: write if enough epochs, and enough seconds, have passed."""
        waited = self._clock() - self._written_at >= self._rule.every_seconds
        if waited and training.epoch % self._rule.every_epochs == 0:
            self.write(training)

    def write(self, training: Kept) -> None:
        if self._writes and training.epoch != self._epoch:
            checkpoint.write(self._folder, training.checkpoint())
            self._epoch, self._written_at = training.epoch, self._clock()

    def clear(self) -> None:
        if self._writes:
            checkpoint.clear(self._folder)
