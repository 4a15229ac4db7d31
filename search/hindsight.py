"""What a deterministic study knows when it proposes a trial: the results of those far enough before it, in their order.

With `parallel: K`, trial n is proposed from the results of the trials up to n - K, and a report of trial n is judged by
theirs. Which of the later ones have ended by then depends on the workers' speed, and so they count as running.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from typing_extensions import override

from search.optuna_trials import PastTrial
from store.models import TrialState


@dataclass
class Withheld:
    """What a trial has come to that nobody may know yet."""

    intermediate: dict[int, float] = field(default_factory=dict)
    end: tuple[TrialState, Sequence[float] | None] | None = None


class Window:
    """The results that are withheld, and when they may be known."""

    def __init__(self, parallel: int) -> None:
        self._parallel = parallel
        self._withheld: dict[int, Withheld] = {}
        self._known = 0  # the results of trials before this one are known

    def of(self, number: int) -> Withheld:
        return self._withheld.setdefault(number, Withheld())

    def knows(self, number: int) -> bool:
        """Whether a trial's result is known."""
        return number < self._known

    def withhold(self, trial: PastTrial) -> PastTrial:
        """A stored trial as the sampler may know it now."""
        if self.knows(trial.number):
            return trial
        withheld = self.of(trial.number)
        withheld.intermediate.update(trial.intermediate)
        if trial.state.ended:
            withheld.end = (trial.state, trial.values)
        return replace(trial, state=TrialState.RUNNING, values=None, intermediate={})

    def last_known(self, number: int) -> int:
        """The last trial whose result a trial may be proposed from, and judged by; negative if there is none."""
        return number - self._parallel

    def skip(self, ended: Sequence[bool]) -> None:
        """These trials were made: what the last of them was proposed from is known.

        What has not ended is not: nobody waited for it before a trial that a person enqueued.
        """
        upto = max(0, self.last_known(len(ended) - 1) + 1)
        self._known = next((number for number in range(upto) if not ended[number]), upto)

    def is_open(self, number: int) -> bool:
        """Whether all has ended that must be known before a trial is proposed."""
        return all(self.of(each).end is not None for each in range(self._known, self.last_known(number) + 1))

    def reveal(self, number: int) -> list[tuple[int, Withheld]]:
        """What is to be told before a trial is proposed, in the order of the trials.

        That is all up to the first one that has not ended, which may come before a trial that a person enqueued.
        """
        upto = max(self._known, self.last_known(number) + 1)
        upto = next((each for each in range(self._known, upto) if self.of(each).end is None), upto)
        told = [(each, self._withheld.pop(each, Withheld())) for each in range(self._known, upto)]
        self._known = upto
        return told


class StudySoFar(optuna.Study):
    """A study as it was when only the trials up to one of them had ended."""

    def __init__(self, study: optuna.Study, last: int) -> None:
        self.__dict__ = dict(study.__dict__)  # the same study; only what it tells of its trials differs
        self._last = last

    @override
    def _get_trials(
        self, deepcopy: bool = True, states: Container[OptunaState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        trials: list[Any] = super()._get_trials(deepcopy, states, use_cache)
        return [trial for trial in trials if trial.number <= self._last]
