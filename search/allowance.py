"""What a study's budget still allows, and what says that it is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from search.definition import Definition
from search.optuna_study import OptunaStudy
from search.pace import Pace
from store.models import TrialState

Losses = tuple[float, ...]


class Allowance:
    """The budget of one study, held against its trials.

    `definition` and `started_at` may change; `counts`, the trials by state, and `optuna` are read as they stand.
    """

    def __init__(
        self, definition: Definition, started_at: datetime | None, counts: Counter[TrialState], optuna: OptunaStudy
    ) -> None:
        self.definition = definition
        self.started_at = started_at
        self._counts = counts
        self._optuna = optuna
        self._front: list[Losses] = []  # of the complete trials those that no other beats; of one objective the best
        self._better_at: datetime | None = None  # when the front last changed
        self._since_better = 0
        self._used_seconds = 0.0  # by the attempts that have ended
        self._began: dict[int, datetime] = {}  # the attempts that run, by trial
        self.pace = Pace(definition)
        self.is_late = False  # a trial that begins now cannot end before the study

    def ended(self, state: TrialState, values: Sequence[float] | None, at: datetime) -> None:
        """Take in a trial's end, in any order of those that ended at one moment."""
        if state is TrialState.COMPLETE and values is not None and self._improves(self._losses(values)):
            self._better_at, self._since_better = at, 0
        elif state in (TrialState.COMPLETE, TrialState.PRUNED) and self._better_at is not None and at > self._better_at:
            self._since_better += 1

    def attempt_began(self, number: int, at: datetime) -> None:
        """A trial holds a device from now on."""
        self._began[number] = at

    def attempt_ended(self, number: int, at: datetime) -> float:
        """How many seconds it has held devices, those of each counted."""
        began = self._began.pop(number, at)
        used = max(0.0, (at - began).total_seconds()) * self._devices
        self._used_seconds += used
        return used

    def look_ahead(self, at: datetime) -> None:
        """Let nothing begin or go on from a rung that cannot come to its end before `budget.timeout`.

        Members of a population end wherever they are.
        """
        timeout = self.definition.budget.timeout
        if timeout is None or self.started_at is None or self._optuna.population is not None:
            lacking = 0.0
        else:
            lacking = self.pace.lacking(timeout - (at - self.started_at).total_seconds(), timeout)
        self.is_late = lacking > 0
        self._optuna.hold_below(lacking)

    def recall_used(self, device_seconds: float) -> None:
        """What an attempt used that ended before."""
        self._used_seconds += device_seconds

    def device_hours(self, at: datetime) -> float:
        """The time that attempts have taken, each times its GPUs."""
        return self.slot_seconds(at) * self._devices / 3600

    def slot_seconds(self, at: datetime) -> float:
        """The same in seconds, whatever a slot has."""
        running = sum((at - began).total_seconds() for began in self._began.values())
        return self._used_seconds / self._devices + running

    @property
    def _devices(self) -> int:
        """Of a trial; without a GPU its slot counts as one."""
        return max(1, self.definition.resources.gpus)

    @property
    def busy(self) -> int:
        """How many trials run or are about to."""
        return self._counts[TrialState.QUEUED] + self._counts[TrialState.RUNNING]

    @property
    def left(self) -> int:
        """How many trials may still be made; a grid's FAILED ones come again, so many times the others at most."""
        budget, made = self.definition.budget, sum(self._counts.values())
        again = budget.trials * budget.retries if self.definition.sampler.name == "grid" else 0
        return budget.trials - made + min(self._counts[TrialState.FAILED], again)

    @property
    def startable(self) -> int:
        """How many trials there are to begin: those that wait, those that may be promoted, and new ones."""
        new = 0 if self._optuna.is_waiting or self.is_last else self.left
        return self.startable_at_once + new

    @property
    def is_last(self) -> bool:
        """Whether no new trial will be made."""
        return self.is_late or self.left <= 0 or self._optuna.is_exhausted

    @property
    def startable_at_once(self) -> int:
        """The same without new trials, for which the sampler is asked."""
        return self._counts[TrialState.WAITING] + self._optuna.promotable(self.is_last)

    def room(self, slots: int | None) -> int:
        """How many more trials may run now; `slots` is what bounds them where the budget does not, None for nothing."""
        parallel = self.definition.budget.parallel or slots
        return self.startable if parallel is None else min(parallel - self.busy, self.startable)

    def spent(self, at: datetime) -> str | None:
        """Why the search is over although trials may be left; None while it is not."""
        budget = self.definition.budget
        started = self.started_at
        if budget.timeout is not None and started is not None and at > started + timedelta(seconds=budget.timeout):
            return "budget.timeout was reached"
        if budget.device_hours is not None and self.device_hours(at) >= budget.device_hours:
            return "budget.device_hours was reached"
        if budget.target is not None and self._front and self._front[0] <= self._losses([budget.target]):
            return "budget.target was reached"
        if budget.patience_trials is not None and self._since_better >= budget.patience_trials:
            return f"budget.patience_trials: {self._since_better} trials ended without a better one"
        return None

    def used_up(self, at: datetime) -> str | None:
        """Why nothing can be done any more, and what would change that; to be asked when nothing is open."""
        budget, made = self.definition.budget, sum(self._counts.values())
        if (why := self.over(at, self._counts[TrialState.FAILED])) is not None:
            return why
        if self.left <= 0:
            return f"{made} trials are made, budget.trials is {budget.trials}; raise it"
        return None

    def over(self, at: datetime, failed: int) -> str | None:
        """The same where there is a trial to run; `failed`: how many of the others did."""
        budget = self.definition.budget
        if self._optuna.population is not None:
            return "the members of its population have ended; begin another study"
        if budget.max_failed is not None and failed > budget.max_failed:
            return f"{failed} trials failed, budget.max_failed is {budget.max_failed}; raise it"
        if (spent := self.spent(at)) is not None:
            return f"{spent}; change it, or lift it with null"
        return None

    def _improves(self, losses: Losses) -> bool:
        """Whether no trial is at least as good by every objective; then it takes its place among the best."""
        if any(all(ours <= theirs for ours, theirs in zip(known, losses, strict=True)) for known in self._front):
            return False
        beaten = [all(ours <= theirs for ours, theirs in zip(losses, known, strict=True)) for known in self._front]
        self._front = [known for known, is_beaten in zip(self._front, beaten, strict=True) if not is_beaten]
        self._front.append(losses)
        return True

    def _losses(self, values: Sequence[float]) -> Losses:
        """Values in the direction of minimizing."""
        directions = (objective.direction for objective in self.definition.objectives)
        return tuple(
            value if direction == "minimize" else -value for value, direction in zip(values, directions, strict=True)
        )
