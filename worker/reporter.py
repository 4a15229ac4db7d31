"""A trial's reports, sent to the scheduler; each comes back with a decision."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import SupportsFloat

from store.errors import TrialyardError
from store.messages import LONGEST_METRIC, AttemptKey, DecisionName, Report
from worker.outgoing import Outgoing
from worker.triallog import TrialLog

PATIENCE_SECONDS = 1800.0  # for the scheduler to say what a job is about, and to take what came of it


class NotANumber(TrialyardError):
    """A trial measured something that is no finite number."""


class UnfitName(TrialyardError):
    """A trial gave a metric a name that cannot be stored."""


class Reporter:
    """The reports of one attempt. `output` is its log, for who prints in another process.

    Attributes:
        rows_a_step: how many rows are trained on between two reports; 1 where nobody knows.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        attempt: AttemptKey,
        output: TrialLog,
        went: Callable[[int], None] = lambda _rows: None,
    ) -> None:
        """`went` hears of each step, with its rows."""
        self.output = output
        self.rows_a_step = 1
        self._went = went
        self._outgoing = outgoing
        self._attempt = attempt

    def report(self, epoch: int, metrics: Mapping[str, float]) -> DecisionName:
        """Send all metrics of an epoch and return the decision; "continue" while nobody can be reached.

        Raises:
            StaleAttempt: the attempt has ended without us; what it does is of no use any more.
            NotANumber: a metric is not finite.
            UnfitName: a metric can have no such name.
        """
        metrics = finite(metrics, f"at step {epoch}")
        self._went(self.rows_a_step)
        return self._outgoing.report(Report(attempt=self._attempt, step=epoch, metrics=metrics))

    def log(self, line: str) -> None:
        """A line for the trial's log. A full disk loses words, and no trial."""
        with suppress(OSError):
            sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


class Watch:
    """Lets what a trial gives of its own accord be not finite, where the search does not look at it."""

    def __init__(self, watched: Collection[str], log: Callable[[str], None]) -> None:
        """
        Args:
            watched: the metrics that the search looks at.
            log: is told of each other metric that is left out, once.
        """
        self._watched = watched
        self._log = log
        self._told: set[str] = set()

    def finite(self, metrics: Mapping[str, SupportsFloat], where: str) -> dict[str, float]:
        """As `finite`, without what is left out. Raises: NotANumber: one that is watched is not finite."""
        numbers = plain(metrics, where)
        for name, number in list(numbers.items()):
            if name not in self._watched and not math.isfinite(number):
                del numbers[name]
                self._tell(name, f"{name} is {number} {where}")
        return finite(numbers, where)

    def _tell(self, name: str, seen: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._log(f"{seen}: it is left out wherever it is not finite, as the search does not look at it")


def finite(metrics: Mapping[str, SupportsFloat], where: str) -> dict[str, float]:
    """Metrics, also NumPy's and torch's scalars, as plain floats. Raises: NotANumber: one of them is not finite."""
    numbers = plain(metrics, where)
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise NotANumber(f"{name} is {number} {where}; a metric must be finite")
    return numbers


def plain(metrics: Mapping[str, SupportsFloat], where: str) -> dict[str, float]:
    """The same, finite or not. Raises: NotANumber: one of them is no number at all. UnfitName: one can have no such
    name.
    """
    numbers = {}
    for name, value in metrics.items():
        try:
            numbers[_checked(str(name))] = float(value)
        except (TypeError, ValueError):
            raise NotANumber(f"{name} is {value!r:.80} {where}; a metric must be a number") from None
    return numbers


def _checked(name: str) -> str:
    if not 1 <= len(name) <= LONGEST_METRIC or any("\ud800" <= each <= "\udfff" for each in name):
        shape = f"it must be 1 to {LONGEST_METRIC} characters, and no half of a surrogate pair"
        raise UnfitName(f"a metric cannot be called {name[:60]!r}: {shape}")
    return name
