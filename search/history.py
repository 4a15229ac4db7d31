"""What TPE knows of the trials of a study, kept between proposals: a trial enters once, when it has finished."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score, _get_pruned_trial_score, default_gamma
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.kernels import Floats
from search.optuna_trials import trials_of


class History:
    """The finished trials of a study: an entry of arrays by number, and the best of them in order."""

    def __init__(self, grouped: bool) -> None:
        self.count = 0  # of trials that a model can be made of: COMPLETE or PRUNED
        self.seen = 0  # trials of any state
        self.unfinished: list[FrozenTrial] = []
        self.search_space: dict[str, BaseDistribution] = {}  # what the next trial's parameters are drawn from together
        self.groups = _SearchSpaceGroup()
        self.changes: list[int] = []  # numbers of trials that have finished, or run again, in this order
        self.usable: NDArray[np.bool_] = np.zeros(0, dtype=bool)  # (trials,)
        self._grouped = grouped
        # The parameters that all trials have, with one and the same distribution
        self._intersection: dict[str, BaseDistribution] | None = None
        self._last_distributions: dict[str, BaseDistribution] | None = None
        self._open: set[int] = set()  # the unfinished trials' numbers
        self._columns: dict[str, Floats] = {}  # by parameter, (trials,), NaN where a trial has no value
        # All by their scores, best first, ties by number; COMPLETE before PRUNED before infeasible trials.
        self._best: tuple[list[Any], list[Any], list[Any]] = ([], [], [])

    def follow(self, study: Study) -> None:
        """Take in the trials that have finished since the last call."""
        trials = trials_of(study)
        self._grow(len(trials))
        candidates = [trials[number] for number in sorted(self._open)] + trials[self.seen :]
        self.seen = len(trials)
        self.unfinished = [trial for trial in candidates if not trial.state.is_finished()]
        self._open = {trial.number for trial in self.unfinished}
        for trial in candidates:
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                self._add(trial, study)

    def forget(self, number: int) -> None:
        """Take a trial out again, and look at it the next time as if it had never finished."""
        if number >= self.seen or number in self._open:
            return
        self._open.add(number)
        self._blank(number)
        if self.usable[number]:
            self.count -= 1
            self.usable[number] = False
            for best in self._best:
                best[:] = [entry for entry in best if entry[-1] != number]

    def best(self) -> set[int]:
        """The numbers of the trials that count as good ones."""
        left = default_gamma(self.count)
        found: set[int] = set()
        for best in self._best:
            found.update(number for *_, number in best[: left - len(found)])
        return found

    def columns(self, space: Mapping[str, BaseDistribution]) -> list[Floats]:
        """By parameter, the values of all trials, in Optuna's internal representation, NaN where there is none."""
        return [self._column(name)[: self.seen] for name in space]

    def note(self, number: int, space: Mapping[str, BaseDistribution], params: Mapping[str, Any]) -> None:
        """Keep the values of a trial that has not finished."""
        for name, distribution in space.items():
            self._column(name)[number] = distribution.to_internal_repr(params[name])

    def _add(self, trial: FrozenTrial, study: Study) -> None:
        self.count += 1
        self.usable[trial.number] = True
        self._blank(trial.number)
        self.note(trial.number, trial.distributions, trial.params)
        self._rank(trial, study)
        if trial.distributions is self._last_distributions:  # as those of most trials are
            return
        self._last_distributions = trial.distributions
        known = trial.distributions if self._intersection is None else self._intersection
        self._intersection = {name: each for name, each in known.items() if trial.distributions.get(name) == each}
        if self._grouped:
            self.groups.add_distributions(trial.distributions)
        spaces = self.groups.search_spaces if self._grouped else [self._intersection]
        self.search_space = {
            name: each for space in spaces for name, each in sorted(space.items()) if not each.single()
        }

    def _rank(self, trial: FrozenTrial, study: Study) -> None:
        complete, pruned, infeasible = self._best
        if (violation := _get_infeasible_trial_score(trial)) > 0:
            insort(infeasible, (violation, trial.number))
        elif trial.state is TrialState.PRUNED:
            insort(pruned, (*_get_pruned_trial_score(trial, study), trial.number))
        elif trial.value is not None:
            sign = -1 if study.direction is StudyDirection.MAXIMIZE else 1
            insort(complete, (sign * trial.value, trial.number))

    def _blank(self, number: int) -> None:
        self.changes.append(number)
        for column in self._columns.values():
            column[number] = math.nan

    def _column(self, name: str) -> Floats:
        if name not in self._columns:
            self._columns[name] = np.full(len(self.usable), math.nan)
        return self._columns[name]

    def _grow(self, trials: int) -> None:
        if (more := trials - len(self.usable)) > 0:
            more = max(more, len(self.usable), 1024)
            self.usable = np.append(self.usable, np.zeros(more, dtype=bool))
            blank = np.full(more, math.nan)
            self._columns = {name: np.append(column, blank) for name, column in self._columns.items()}
