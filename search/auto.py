"""The sampler of the service: TPE over where trials stand, whatever resource they have come to.

Optuna's TPE takes a pruned trial by its last step, so that the few trials that came to their end pass for the best,
good or bad. Here every trial with a value has a standing (`search/standing.py`) and the model is made of these: of
running, waiting and stopped trials too, and never of an early value as if it were a final one. A share of the proposals
stays random, as in BOHB (Falkner et al. 2018): no model can lock itself in, and what these trials come to is what a
rung can be judged by (`search/auto_rungs.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from search.auto_rungs import AutoRungs
from search.kernels import Floats
from search.optuna_trials import trials_of
from search.standing import standings
from search.tpe import HistoryTPESampler, _History

AT_RANDOM = "trialyard:at_random"  # a trial's system attribute: no model had a part in its parameters
GOOD_SHARE, MOST_GOOD = 0.15, 25  # of the trials with a standing, the best that a proposal should resemble
# People write ranges around what they believe in. Half of the random draws are normal about the middle, as wide as the
# first generation of CMA-ES; the other half is uniform, for those who believe in the wrong place.
MIDDLE_SHARE, MIDDLE_WIDTH = 0.5, 1 / 6
LEVELS = tuple(3**power for power in range(13))  # where nothing says at which steps trials are compared


class AutoSampler(HistoryTPESampler):
    """Fidelity-aware TPE for one study; a finished trial that changes must be named to `reconsider`.

    Several objectives are left to Optuna's TPE.
    """

    def __init__(self, seed: int, n_startup_trials: int, random_share: float, rungs: AutoRungs | None) -> None:
        """
        Args:
            n_startup_trials: so many trials must have a value before a model is made.
            random_share: of the proposals after that, in [0, 1].
            rungs: where trials are compared, and from which rung on; None if another pruner stops them, or none does.
        """
        super().__init__(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=0)
        self._least, self._random_share = n_startup_trials, random_share
        self._history = _Standings(rungs)
        self._at_random = self._near_middle = False

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._history.follow(study)
        self._at_random = self._history.count < self._least or self._rng.rng.random() < self._random_share
        self._near_middle = self._at_random and self._rng.rng.random() < MIDDLE_SHARE
        if not self._at_random:
            return super().sample_relative(study, trial, search_space)
        study._storage.set_trial_system_attr(trial._trial_id, AT_RANDOM, True)
        return {}

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self._near_middle and not isinstance(param_distribution, CategoricalDistribution):
            return self._draw_near_middle(param_distribution)
        if self._at_random:
            return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _draw_near_middle(self, distribution: BaseDistribution) -> Any:
        place = np.clip(self._rng.rng.normal(0.5, MIDDLE_WIDTH, size=1), 0, 1)
        return _SearchSpaceTransform({"it": distribution}, transform_0_1=True).untransform(place)["it"]


class _Standings(_History):
    """The trials that have a standing, and those that run without one."""

    def __init__(self, rungs: AutoRungs | None) -> None:
        super().__init__(grouped=True)
        self._rungs = rungs
        self._levels = LEVELS if rungs is None else rungs.levels
        self._values: Floats = np.empty((0, len(self._levels) + 1))  # (trials, levels and the end), smaller is better
        self._violations: Floats = np.empty(0)  # (trials,), more than 0 of a trial that breaks a constraint
        self._order: NDArray[np.intp] = np.empty(0, dtype=np.intp)  # numbers, the best first
        self._first: int | None = None  # the level from which on `_order` looks at them

    @override
    def follow(self, study: Study) -> None:
        trials = trials_of(study)
        self._make_room(len(trials))
        candidates = [trials[number] for number in sorted(self._open)] + trials[self._seen :]
        self._seen = len(trials)
        self._open = {trial.number for trial in candidates if not trial.state.is_finished()}
        for trial in candidates:
            self._take_in(trial, study.direction)
        first = 0 if self._rungs is None else self._rungs.first
        if candidates or first != self._first:
            self._first = first
            self._put_in_order()
        self.unfinished = [trials[number] for number in sorted(self._open) if not self._usable[number]]

    @override
    def _better(self) -> Iterable[int]:
        best: list[int] = self._order[: min(math.ceil(GOOD_SHARE * self.count), MOST_GOOD)].tolist()
        return best

    def _make_room(self, trials: int) -> None:
        self._grow(trials)
        if (more := len(self._usable) - len(self._values)) > 0:
            self._values = np.append(self._values, np.full((more, self._values.shape[1]), math.nan), axis=0)
            self._violations = np.append(self._violations, np.zeros(more))

    def _take_in(self, trial: FrozenTrial, direction: StudyDirection) -> None:
        for name, value in trial.params.items():
            self._column(name)[trial.number] = trial.distributions[name].to_internal_repr(value)
        if trial.params:
            self.groups.add_distributions(trial.distributions)
        if trial.state is TrialState.FAIL or not trial.params:
            self._values[trial.number] = math.nan
            return
        self._values[trial.number] = self._at_levels(trial, 1 if direction is StudyDirection.MINIMIZE else -1)
        self._violations[trial.number] = max(_get_infeasible_trial_score(trial), 0.0)

    def _at_levels(self, trial: FrozenTrial, sign: int) -> list[float]:
        """The first value at or after each level; a value that is no number is the worst there is."""
        values = [math.nan] * (len(self._levels) + 1)
        level = 0
        for step, value in sorted(trial.intermediate_values.items()):
            while level < len(self._levels) and step >= self._levels[level]:
                values[level] = math.inf if math.isnan(value) else sign * value
                level += 1
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            values[-1] = sign * trial.value
        return values

    def _put_in_order(self) -> None:
        """The feasible ones by their standing, then the others by how much they break."""
        places = standings(self._values[: self._seen, self._first :])
        known = ~np.isnan(places)
        places += np.where(self._violations[: self._seen] > 0, 1 + self._violations[: self._seen], 0)
        self._usable[: self._seen] = known
        self.count = int(known.sum())
        self._order = np.argsort(places, kind="stable")[: self.count]  # NaN comes last
