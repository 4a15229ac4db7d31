"""A trial's reports, sent to the scheduler; each comes back with a decision."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import SupportsFloat

from store.bus import Caller
from store.errors import StaleAttempt, TrialyardError
from store.messages import AttemptKey, Decision, DecisionName, Report
from worker.triallog import TrialLog

# A trial outlives a Redis or a scheduler that is away for this long; whether it is wanted then, the lease decides.
PATIENCE_SECONDS = 1800.0


class NotANumber(TrialyardError):
    """A trial measured something that is no finite number."""


class WrongAnswer(TrialyardError):
    """The scheduler answered something that does not fit the question."""


class Reporter:
    """The reports of one attempt. `output` is its log, for who prints in another process."""

    def __init__(self, caller: Caller, attempt: AttemptKey, output: TrialLog) -> None:
        self.output = output
        self._caller = caller
        self._attempt = attempt

    def report(self, epoch: int, metrics: Mapping[str, float]) -> DecisionName:
        """Send all metrics of an epoch and wait for the decision, also while Redis is away.

        Raises:
            StaleAttempt: the attempt has ended without us; what it does is of no use any more.
            NotANumber: a metric is not finite.
            Unavailable: nobody answered for half an hour.
        """
        report = Report(attempt=self._attempt, step=epoch, metrics=finite(metrics, f"at step {epoch}"))
        answer = self._caller.call(report, PATIENCE_SECONDS)
        if not isinstance(answer, Decision):
            raise WrongAnswer(f"a report of {self._attempt.token} was answered with {answer.kind!r}")
        if answer.stale:
            raise StaleAttempt(f"attempt {self._attempt.token} has ended already")
        return answer.decision

    def log(self, line: str) -> None:
        """A line for the trial's log."""
        sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")


def finite(metrics: Mapping[str, SupportsFloat], where: str) -> dict[str, float]:
    """Metrics, also NumPy's and torch's scalars, as plain floats. Raises: NotANumber: one of them is not finite."""
    plain = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise NotANumber(f"{name} is {value!r:.80} {where}; a metric must be a number") from None
        if not math.isfinite(number):
            raise NotANumber(f"{name} is {number} {where}; a metric must be finite")
        plain[str(name)] = number
    return plain
