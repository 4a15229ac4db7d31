"""The trainer's own errors. Whoever runs a training maps them to theirs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what a training was told: where in the study, what, and what would be right."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f"; {self.hint}" if self.hint else "")


class TrainerError(Exception):
    """Anything that a training gives up on in a way we foresaw."""


class Refused(TrainerError):
    """What a training was told cannot be done; it says where, and what would be right."""

    def __init__(self, path: str, message: str, hint: str = "") -> None:
        self.problem = Problem(path, message, hint)
        super().__init__(str(self.problem))

    @property
    def path(self) -> str:
        return self.problem.path

    @property
    def message(self) -> str:
        return self.problem.message

    @property
    def hint(self) -> str:
        return self.problem.hint


class DataError(Refused):
    """The data cannot be read, or cannot be trained on as told."""


class ModelError(Refused):
    """The model cannot be built for these data."""


class Diverged(TrainerError):
    """A loss or a metric is no finite number any more."""

    def __init__(self, epoch: int, seen: str) -> None:
        self.epoch = epoch
        super().__init__(f"diverged at epoch {epoch}: {seen}; a lower optimizer.lr or a max_grad_norm may help")


class NothingToCopy(TrainerError):
    """A training should take over another's, which left no whole checkpoint of a training like it."""


class Damaged(TrainerError):
    """A checkpoint or a model file is cut short, or its checksum does not match."""
