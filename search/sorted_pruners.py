"""Optuna's pruners with what they compare kept sorted between decisions: the same decisions, without scanning trials.

Each serves one study, whose COMPLETE trials never change.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Container
from typing import Any

from optuna import Study, create_study
from optuna.pruners import HyperbandPruner, MedianPruner
from optuna.pruners._percentile import _get_best_intermediate_result_over_steps, _is_first_in_interval_step
from optuna.pruners._successive_halving import _completed_rung_key, _get_current_rung
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from typing_extensions import override

from search.optuna_trials import trials_of


class SortedMedianPruner(MedianPruner):
    """Optuna's median pruner; percentiles of complete trials are read off one sorted column a step."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seen = 0
        self._unfinished: list[int] = []  # numbers
        self._complete = 0
        self._columns: defaultdict[int, list[float]] = defaultdict(list)  # by step, ascending, without NaN
        self._reported: defaultdict[int, int] = defaultdict(int)  # by step, with NaN

    def reconsider(self, number: int) -> None:
        """A trial that had ended in another state than COMPLETE runs again."""
        if number < self._seen and number not in self._unfinished:
            self._unfinished.append(number)

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        self._follow(study)
        step = trial.last_step
        if step is None or step < self._n_warmup_steps or self._complete < max(1, self._n_startup_trials):
            return False
        steps = trial.intermediate_values.keys()
        if not _is_first_in_interval_step(step, steps, self._n_warmup_steps, self._interval_steps):
            return False
        best = float(_get_best_intermediate_result_over_steps(trial, study.direction))
        if math.isnan(best):
            return True
        if self._reported[step] < self._n_min_trials or not self._columns[step]:
            return False
        if study.direction is StudyDirection.MAXIMIZE:
            return best < _percentile(self._columns[step], 100 - self._percentile)
        return best > _percentile(self._columns[step], self._percentile)

    def _follow(self, study: Study) -> None:
        trials = trials_of(study)
        candidates = [trials[number] for number in self._unfinished] + trials[self._seen :]
        self._seen = len(trials)
        self._unfinished = [trial.number for trial in candidates if not trial.state.is_finished()]
        for trial in candidates:
            if trial.state is not TrialState.COMPLETE:
                continue
            self._complete += 1
            for step, value in trial.intermediate_values.items():
                self._reported[step] += 1
                if not math.isnan(value):
                    insort(self._columns[step], value)


class SortedHyperbandPruner(HyperbandPruner):
    """Optuna's Hyperband; the values that reached a rung are kept sorted for each bracket."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seen = 0
        self._rungs: defaultdict[tuple[int, int], list[float]] = defaultdict(list)  # by bracket and rung, ascending

    @override
    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if not self._pruners:
            self._try_initialization(study)
        if trial.number >= self._seen:
            self._follow(study)
        step = trial.last_step
        if step is None:
            return False
        value = trial.intermediate_values[step]
        bracket, rung = self._get_bracket_id(study, trial), _get_current_rung(trial)
        while step >= self._min_resource * self._reduction_factor ** (bracket + rung):
            if math.isnan(value):
                return True
            study._storage.set_trial_system_attr(trial._trial_id, _completed_rung_key(rung), value)
            insort(self._rungs[bracket, rung], value)
            if not self._goes_on(value, self._rungs[bracket, rung], study.direction):
                return True
            rung += 1
        return False

    def dealing(self, study_name: str) -> Callable[[int], int]:
        """The bracket of each trial, by its number, as Optuna deals them out by the study's name."""
        study = create_study(study_name=study_name)
        self._try_initialization(study)
        blank = create_trial(value=0.0)

        def bracket_of(number: int) -> int:
            blank.number = number
            return self._get_bracket_id(study, blank)

        return bracket_of

    @override
    def _create_bracket_study(self, study: Study, bracket_id: int) -> Study:
        return _Bracket(study, self, bracket_id)

    def _goes_on(self, value: float, rung: list[float], direction: StudyDirection) -> bool:
        """Whether a value is in the best share of its rung, of which it is a part; the first ones need be the best."""
        if len(rung) <= self._bootstrap_count:
            return False
        place = max(len(rung) // self._reduction_factor - 1, 0)
        return value >= rung[-1 - place] if direction is StudyDirection.MAXIMIZE else value <= rung[place]

    def _follow(self, study: Study) -> None:
        """Take in trials that were loaded; those that come by themselves have reached no rung yet."""
        trials = trials_of(study)
        for trial in trials[self._seen :]:
            bracket = self._get_bracket_id(study, trial)
            for rung in range(_get_current_rung(trial)):
                insort(self._rungs[bracket, rung], trial.system_attrs[_completed_rung_key(rung)])
        self._seen = len(trials)


class _Bracket(Study):
    """The trials of one of Hyperband's brackets, for samplers. Optuna makes a class for each such view, and five views
    for each trial: a third of the time of a random one."""

    def __init__(self, study: Study, pruner: HyperbandPruner, bracket_id: int) -> None:
        super().__init__(study.study_name, study._storage, study.sampler, pruner)
        self._hyperband = pruner
        self._bracket_id = bracket_id

    @override
    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        trials = super().get_trials(deepcopy, states)
        return [trial for trial in trials if self._hyperband._get_bracket_id(self, trial) == self._bracket_id]


def _percentile(ascending: list[float], percentile: float) -> float:
    """Between the two nearest values in proportion, in numpy's order of operations."""
    place = (len(ascending) - 1) * (percentile / 100)
    below = math.floor(place)
    low, high = ascending[below], ascending[min(below + 1, len(ascending) - 1)]
    share, gap = place - below, high - low
    return high - gap * (1 - share) if share >= 0.5 else low + gap * share
