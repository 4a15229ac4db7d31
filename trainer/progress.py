"""Which epoch was the best so far, and whether waiting for a better one is still worth it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from trainer.config import COST_METRICS, EarlyStopping, Schedule
from trainer.metrics import direction_of


@dataclass(frozen=True)
class Monitor:
    """The objective: the best epoch is the best by this metric; of equal ones, that of the lowest val/loss. What a
    training costs makes no epoch better than another.
    """

    metric: str
    direction: Literal["minimize", "maximize"]

    def prefers(self, metrics: Mapping[str, float], to: Mapping[str, float]) -> bool:
        return self._cost(metrics) < self._cost(to)

    def _cost(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        if self.metric in COST_METRICS:
            return (metrics["val/loss"], metrics["val/loss"])
        value = metrics[self.metric]
        return (value if self.direction == "minimize" else -value, metrics["val/loss"])


class Newest(Monitor):
    """Where no row validates: every epoch is preferred to those before it."""

    def prefers(self, _metrics: Mapping[str, float], to: Mapping[str, float]) -> bool:  # noqa: ARG002 - see above
        return True


@dataclass(frozen=True)
class Best:
    """The best epoch so far, with the weights it had."""

    epoch: int
    metrics: dict[str, float]
    weights: dict[str, Tensor]


class Patience:
    """Counts the epochs since the watched metric last improved by more than `min_delta`."""

    def __init__(self, rule: EarlyStopping) -> None:
        self.best: float | None = None
        self.waited = 0
        self._rule = rule
        self._sign = 1 if direction_of(rule.metric) == "minimize" else -1

    def observe(self, metrics: Mapping[str, float]) -> None:
        value = metrics[self._rule.metric]
        if self.best is None or self._sign * (self.best - value) > self._rule.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1

    def reset(self) -> None:
        """Begin anew, with a model that is another one now."""
        self.best, self.waited = None, 0

    def state(self) -> dict[str, float | None]:
        """What a checkpoint has to keep."""
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]

    @property
    def exhausted(self) -> bool:
        return self.waited >= self._rule.patience


class Plateau:
    """Lowers the learning rate each time val/loss has not been lower than ever for more than `plateau_epochs`."""

    def __init__(self, schedule: Schedule) -> None:
        self.scale = 1.0
        self.best: float | None = None
        self.waited = 0
        self._factor = schedule.factor
        self._patience = schedule.plateau_epochs

    def observe(self, metrics: Mapping[str, float]) -> None:
        loss = metrics["val/loss"]
        if self.best is None or loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1
        if self.waited > self._patience:
            self.scale, self.waited = self.scale * self._factor, 0

    def state(self) -> dict[str, float | None]:
        """What a checkpoint has to keep."""
        return {"best": self.best, "waited": self.waited, "scale": self.scale}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.waited, self.scale = state["best"], state["waited"], state["scale"]
