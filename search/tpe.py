"""Optuna's TPE with the history kept as arrays between proposals: the same proposals, at a tenth of the cost.

Optuna gathers, converts, sorts and splits all trials anew for each proposal, and evaluates the density of the worse
ones kernel by kernel and parameter by parameter. Here a trial enters once, when it has finished.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score, _get_pruned_trial_score, default_gamma
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from search.candidates import Candidates
from search.kernels import Floats
from search.mixture import Mixture
from search.optuna_trials import trials_of

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
        self._history = _History(self._group)

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
            spaces: Sequence[dict[str, BaseDistribution]] = self._history.groups.search_spaces
        else:
            spaces = [self._history.intersection]
        return {name: each for space in spaces for name, each in sorted(space.items()) if not each.single()}

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
        running = self._running(study, trial, search_space) if self._constant_liar else {}
        chosen = self._choose(*self._history.split(search_space, running))
        return {name: each.to_external_repr(chosen[name]) for name, each in search_space.items()}

    def _running(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[int, list[float]]:
        """By number, the values of the other trials that run and have all the parameters: they count as bad ones."""
        values = {}
        for other in self._history.unfinished:
            if other.state is not TrialState.RUNNING or other.number == trial.number:
                continue
            # A trial whose parameters are all drawn needs no look at what was drawn for it beforehand.
            params = other.params
            if not search_space.keys() <= params.keys():
                params = self._get_params(other, study)
            if search_space.keys() <= params.keys():
                values[other.number] = [each.to_internal_repr(params[name]) for name, each in search_space.items()]
        return values

    def _choose(self, better: Mixture, worse: Mixture) -> dict[str, int | float]:
        """The candidate, drawn from the better trials' density, for which the ratio of the densities is greatest."""
        optunas, names = better.optunas(self._parzen_estimator_parameters), better.space
        candidates = Candidates(optunas._mixture_distribution, self._rng.rng, self._n_ei_candidates)
        rough = candidates.roughly() if min(len(better), len(worse)) >= FEWEST_KERNELS else None
        if rough is not None:
            points = dict(zip(names, rough, strict=True))
            ratio = better.log_density(points) - worse.log_density(points)
            if not _is_close_call(points, ratio):
                one = candidates.exactly_one(int(np.argmax(ratio)))
                return {name: value[0].item() for name, value in zip(names, one, strict=True)}
        points = dict(zip(names, candidates.exactly(), strict=True))
        of_worse = worse.optunas(self._parzen_estimator_parameters)
        return TPESampler._compare(points, optunas.log_pdf(points) - of_worse.log_pdf(points))


def _is_close_call(points: dict[str, Floats], ratio: Floats) -> bool:
    """Whether a candidate that differs from the best one is as good but for rounding."""
    best = int(np.argmax(ratio))
    near = ~(ratio < ratio[best] - TOO_CLOSE)
    return any(bool(np.any(values[near] != values[best])) for values in points.values())


class _History:
    """The finished trials of a study: a row of arrays by number, and the best of them in order."""

    def __init__(self, grouped: bool) -> None:
        self.count = 0  # of trials that a model can be made of: COMPLETE or PRUNED
        self.unfinished: list[FrozenTrial] = []
        self.groups = _SearchSpaceGroup()
        self._grouped = grouped
        self._intersection: dict[str, BaseDistribution] | None = None
        self._seen = 0
        self._open: set[int] = set()  # the unfinished trials' numbers
        self._usable: NDArray[np.bool_] = np.zeros(0, dtype=bool)  # (trials,)
        self._mixtures: dict[tuple[str, ...], tuple[Mixture, Mixture]] = {}  # by the parameters that they are of
        self._columns: dict[str, Floats] = {}  # by parameter, (trials,), NaN where a trial has no value
        # All by their scores, best first, ties by number; COMPLETE before PRUNED before infeasible trials.
        self._best: tuple[list[Any], list[Any], list[Any]] = ([], [], [])

    @property
    def intersection(self) -> dict[str, BaseDistribution]:
        """The parameters that all trials have, with one and the same distribution."""
        return self._intersection or {}

    def follow(self, study: Study) -> None:
        """Take in the trials that have finished since the last call."""
        trials = trials_of(study)
        self._grow(len(trials))
        candidates = [trials[number] for number in sorted(self._open)] + trials[self._seen :]
        self._seen = len(trials)
        self.unfinished = [trial for trial in candidates if not trial.state.is_finished()]
        self._open = {trial.number for trial in self.unfinished}
        for trial in candidates:
            if trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                self._add(trial, study)

    def forget(self, number: int) -> None:
        """Take a trial out again, and look at it the next time as if it had never finished."""
        if number >= self._seen or number in self._open:
            return
        self._open.add(number)
        if self._usable[number]:
            self.count -= 1
            self._usable[number] = False
            for column in self._columns.values():
                column[number] = math.nan
            for best in self._best:
                best[:] = [entry for entry in best if entry[-1] != number]

    def split(self, space: dict[str, BaseDistribution], running: dict[int, list[float]]) -> tuple[Mixture, Mixture]:
        """The better trials and the others, without those that lack a parameter; with the others, those that run."""
        better, worse = self._mixtures.get(tuple(space), (None, None))
        if better is None or worse is None or better.space != space:
            better, worse = self._mixtures[tuple(space)] = Mixture(space), Mixture(space)
        columns = {name: self._column(name)[: self._seen] for name in space}
        complete = ~np.isnan(list(columns.values())).any(axis=0)
        best = np.zeros(self._seen, dtype=bool)
        best[list(self._better())] = True
        others = self._usable[: self._seen] & ~best & complete
        others[list(running)] = True
        better.follow(best & complete, columns, {})
        worse.follow(others, columns, running)
        return better, worse

    def _better(self) -> Iterable[int]:
        left = default_gamma(self.count)
        for best in self._best:
            chosen = [number for *_, number in best[:left]]
            left -= len(chosen)
            yield from chosen

    def _add(self, trial: FrozenTrial, study: Study) -> None:
        self.count += 1
        self._usable[trial.number] = True
        for name, value in trial.params.items():
            self._column(name)[trial.number] = trial.distributions[name].to_internal_repr(value)
        if self._grouped:
            self.groups.add_distributions(trial.distributions)
        known = trial.distributions if self._intersection is None else self._intersection
        self._intersection = {name: each for name, each in known.items() if trial.distributions.get(name) == each}
        self._rank(trial, study)

    def _rank(self, trial: FrozenTrial, study: Study) -> None:
        complete, pruned, infeasible = self._best
        if (violation := _get_infeasible_trial_score(trial)) > 0:
            insort(infeasible, (violation, trial.number))
        elif trial.state is TrialState.PRUNED:
            insort(pruned, (*_get_pruned_trial_score(trial, study), trial.number))
        elif trial.value is not None:
            sign = -1 if study.direction == study.direction.MAXIMIZE else 1
            insort(complete, (sign * trial.value, trial.number))

    def _column(self, name: str) -> Floats:
        if name not in self._columns:
            self._columns[name] = np.full(len(self._usable), math.nan)
        return self._columns[name]

    def _grow(self, trials: int) -> None:
        if (more := trials - len(self._usable)) > 0:
            more = max(more, len(self._usable), 1024)
            self._usable = np.append(self._usable, np.zeros(more, dtype=bool))
            blank = np.full(more, math.nan)
            self._columns = {name: np.append(column, blank) for name, column in self._columns.items()}
