"""Optuna's TPE with the history kept as arrays between proposals: the same proposals, at a tenth of the cost.

Optuna gathers, converts, sorts and splits all trials anew for each proposal, and evaluates the density of the worse
ones kernel by kernel and parameter by parameter. Here a trial enters once, when it has finished.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from search.densities import Densities
from search.history import History
from search.kernels import Floats

FEWEST_KERNELS = 2  # beside the prior's; with fewer Optuna's own arithmetic is as fast
TOO_CLOSE = 1e-6  # a difference in log density that rounding cannot make; closer calls are left to Optuna's arithmetic


class HistoryTPESampler(TPESampler):
    """TPE for one study; a finished trial that changes must be named to `reconsider`.

    Every proposal is the one that `TPESampler` makes: candidates are drawn with the same random numbers from the same
    density, the choice between them is Optuna's wherever rounding could change it, and what is chosen goes through
    Optuna's arithmetic. Several objectives are left to Optuna.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._history = History(self._group)
        self._densities: dict[tuple[str, ...], Densities] = {}  # by the parameters that they are of

    def reconsider(self, number: int) -> None:
        """A trial may have been taken up again after it had finished: look at it anew."""
        self._history.forget(number)

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if study._is_multi_objective() or not self._is_multivariate(study):
            return super().infer_relative_search_space(study, trial)
        self._history.follow(study)
        if self._group:
            self._search_space_group = self._history.groups
        return self._history.search_space

    @override
    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if study._is_multi_objective():
            return super()._sample_relative(study, trial, search_space)
        if not search_space or self._history.count < self._n_startup_trials:
            return {}
        return self._sample(study, trial, search_space)

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if study._is_multi_objective():
            return super().sample_independent(study, trial, param_name, param_distribution)
        self._history.follow(study)
        if self._history.count < self._n_startup_trials:
            return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._sample(study, trial, {param_name: param_distribution})[param_name]

    @override
    def _sample(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        if study._is_multi_objective():
            return super()._sample(study, trial, search_space)
        densities = self._densities.get(tuple(search_space))
        if densities is None or densities.space != search_space:
            densities = self._densities[tuple(search_space)] = Densities(search_space, self._history)
        densities.follow(self._others_running(trial), partial(self._get_params, study=study))
        chosen = self._choose(densities).tolist()
        return {
            name: each.to_external_repr(value) for (name, each), value in zip(search_space.items(), chosen, strict=True)
        }

    def _others_running(self, trial: FrozenTrial) -> list[FrozenTrial]:
        """The trials that run beside this one and count as bad ones."""
        if not self._constant_liar:
            return []
        is_running = TrialState.RUNNING
        return [each for each in self._history.unfinished if each.state is is_running and each.number != trial.number]

    def _choose(self, densities: Densities) -> Floats:
        """The candidate, drawn from the better trials' density, for which the ratio of the densities is greatest.

        Returns:
            (parameters,)
        """
        better, worse, parameters = densities.better, densities.worse, self._parzen_estimator_parameters
        candidates = better.source(parameters).draw(self._rng.rng, self._n_ei_candidates)
        rough = candidates.roughly() if min(len(better), len(worse)) >= FEWEST_KERNELS else None
        rivals: slice | NDArray[np.bool_] = slice(None)
        if rough is not None:
            ratio = better.log_density(rough) - worse.log_density(rough)
            best = int(ratio.argmax())
            rivals = ~(ratio < ratio[best] - TOO_CLOSE)
            if not np.any(rough[:, rivals] != rough[:, best, None]):
                return candidates.exactly_one(best)[:, 0]
        exact = candidates.exactly()[:, rivals]
        points = dict(zip(densities.space, exact, strict=True))
        ratio = better.optunas(parameters).log_pdf(points) - worse.optunas(parameters).log_pdf(points)
        return exact[:, np.argmax(ratio)]
