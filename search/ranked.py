"""The trials of a study in the order in which they stand, kept as arrays between proposals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri

from search.auto_rungs import UNCOMPARED, AutoRungs
from search.cube import Cube, Floats
from search.optuna_trials import WORST, trials_of
from search.repeats import Repeats, rounded
from search.space import Space
from search.standing import shared, standings
from search.surrogate import Observed

LEVELS = tuple(3**power for power in range(13))  # where nothing says at which steps trials are compared


class Ranked:
    """What is known of a study's trials; a finished trial that changes must be named to `reconsider`."""

    def __init__(self, space: Space, cube: Cube, rungs: AutoRungs | None) -> None:
        """`rungs`: where trials are compared, and from which rung on; None if nothing says so."""
        self._space, self._cube, self._rungs = space, cube, rungs
        self._levels: Sequence[int] = LEVELS if rungs is None else rungs.levels
        self._seen = 0
        self._open: set[int] = set()  # numbers of those that may still change
        self._points: Floats = np.empty((0, len(cube.names)))
        self._values: Floats = np.empty((0, len(self._levels) + 1))  # (trials, levels and the end), smaller is better
        self._violations: Floats = np.empty(0)  # (trials,), more than 0 of a trial that breaks a constraint
        self._runs: NDArray[np.bool_] = np.empty(0, dtype=bool)
        self._order: NDArray[np.intp] = np.empty(0, dtype=np.intp)  # numbers of those that have a standing
        self._places: Floats = np.empty(0)  # theirs
        self._first: int | None = None  # the level from which on `_order` looks at them
        self._known: set[bytes] = set()
        self._repeats = Repeats()
        self._uncompared: set[int] = set()

    @property
    def count(self) -> int:
        """Of trials that have a standing."""
        return len(self._order)

    def reconsider(self, number: int) -> None:
        if number < self._seen:
            self._open.add(number)

    def follow(self, study: Study) -> None:
        """Take in what has changed since the last call. The newest trial is the one to propose, and takes no part."""
        trials = trials_of(study)[:-1]
        self._make_room(len(trials))
        changed = [trials[number] for number in sorted(self._open) if number < len(trials)] + trials[self._seen :]
        self._seen = len(trials)
        self._open = {trial.number for trial in changed if not trial.state.is_finished()}
        for trial in changed:
            self._take_in(trial, study.direction)
        first = 0 if self._rungs is None else self._rungs.first
        if changed or first != self._first:
            self._first = first
            self._put_in_order()

    def best(self, count: int, numbers: NDArray[np.intp] | None = None) -> Floats:
        """(count, parameters): the best trials but for repeats, or as many as there are.

        Where all are repeats, of trials that have no standing themselves, the best of these.

        Args:
            numbers: trials in another order, the best first.
        """
        order = (self._order if numbers is None else numbers).tolist()
        firsts = (number for number in order if number not in self._repeats)
        return self._points[list(islice(firsts, count)) or order[:count]]

    def points(self, numbers: NDArray[np.intp]) -> Floats:
        """(trials, parameters)."""
        return self._points[numbers]

    @property
    def repeated(self) -> float:
        """The share of the trials that came to exactly what others had come to."""
        return self._repeats.share

    @property
    def uncompared(self) -> int:
        """How many trials come to the last rung uncompared, or did."""
        return len(self._uncompared)

    def running(self, most: int) -> Floats:
        """(trials, parameters): the newest ones that run without a standing."""
        waiting = np.flatnonzero(self._runs[: self._seen])
        return self._points[waiting[~np.isin(waiting, self._order)][-most:]]

    def is_new(self, points: Floats) -> NDArray[np.bool_]:
        """(points,): whether no trial has been there."""
        return np.array([key not in self._known for key in _keys(points)], dtype=bool)

    def observed(self, most: int) -> Observed:
        """Where so many trials stand, the best first: the best third of them, and others.

        A trial that is picked once stays so while more come, but for those that the count pushes out.
        """
        places = np.arange(self.count)
        if self.count > most:
            places = np.concatenate([places[: most // 3], self._some(places[most // 3 :], most - most // 3)])
        standing = shared(self._places, np.linspace(0.5, self.count - 0.5, self.count))[places] / self.count
        targets = ndtri(standing)
        numbers = self._order[places]
        return Observed(numbers, self._points[numbers], targets - targets.mean(), self._missing(places))

    def curves(self, most: int) -> Observed:
        """What so many trials came to at the levels: the best third, as many that came farthest, and others.

        Of each its first value and its last two: what lies between says little more, and costs as much. Targets are
        the normal scores of the values among all values of the study, whatever the level.
        """
        values = self._values[: self._seen, self._first :].copy()
        values[np.isinf(values[:, -1]), :-1] = math.nan  # who counts as worst does so at the end, once
        numbers = self._order[self._picked(most, (~np.isnan(values[self._order])).sum(axis=1))]
        came = np.cumsum(~np.isnan(values[numbers]), axis=1)
        trials, levels = np.nonzero(~np.isnan(values[numbers]) & ((came == 1) | (came >= came[:, -1:] - 1)))
        scores = self._scores(values)[numbers[trials], levels]
        last = values.shape[1] - 1
        missing = (last - levels) / max(last, 1)
        return Observed(numbers[trials], self._points[numbers[trials]], scores - scores.mean(), missing)

    def _picked(self, most: int, came: NDArray[np.intp]) -> NDArray[np.intp]:
        """Places of the order. `came`: (trials,), to how many levels they came."""
        places = np.arange(self.count)
        if self.count <= most:
            return places
        best, others = places[: most // 3], places[most // 3 :]
        farthest = others[np.argsort(-came[others], kind="stable")[: most // 3]]
        some = self._some(np.setdiff1d(others, farthest), most - 2 * (most // 3))
        return np.concatenate([best, np.sort(np.concatenate([farthest, some]))])

    def _some(self, places: NDArray[np.intp], count: int) -> NDArray[np.intp]:
        """So many of these places of the order, as a hash of the trials' numbers picks them."""
        return np.sort(places[np.argpartition(self._order[places] * 2654435761 % 2**32, count)[:count]])

    def _scores(self, values: Floats) -> Floats:
        """(trials, levels): normal scores among all of them; those of trials that break a constraint come last."""
        at = np.nonzero(~np.isnan(values))
        broken, known = self._violations[at[0]], values[at]
        order = np.lexsort((known, broken))
        rises = (known[order[1:]] != known[order[:-1]]) | (broken[order[1:]] != broken[order[:-1]])
        scores = np.full(values.shape, math.nan)
        places = np.linspace(0.5, len(order) - 0.5, len(order)) / len(order)
        scores[at[0][order], at[1][order]] = ndtri(shared(np.append(0, np.cumsum(rises)), places))
        return scores

    def _missing(self, places: NDArray[np.intp]) -> Floats:
        """Of the trials at these places of the order. Before one has ended nobody knows how many levels there are."""
        values = self._values[self._order[places]]
        ended, came = ~np.isnan(values[:, -1]), (~np.isnan(values)).sum(axis=1)
        missing: Floats = np.where(ended, 0.0, 1 - came / (came.max() + (not ended.any())))
        return missing

    def _make_room(self, trials: int) -> None:
        if (more := trials - len(self._points)) > 0:
            more = max(more, len(self._points), 1024)
            self._points = np.append(self._points, np.full((more, self._points.shape[1]), math.nan), axis=0)
            self._values = np.append(self._values, np.full((more, self._values.shape[1]), math.nan), axis=0)
            self._violations = np.append(self._violations, np.zeros(more))
            self._runs = np.append(self._runs, np.zeros(more, dtype=bool))

    def _take_in(self, trial: FrozenTrial, direction: StudyDirection) -> None:
        self._runs[trial.number] = trial.state is TrialState.RUNNING and bool(trial.params)
        self._values[trial.number] = math.nan
        if UNCOMPARED in trial.system_attrs:
            self._uncompared.add(trial.number)
        if not trial.params or not self._locate(trial.number, trial.params) or trial.state is TrialState.FAIL:
            self._repeats.note(trial.number, {})
            return
        self._repeats.note(trial.number, trial.intermediate_values)
        self._violations[trial.number] = max(_get_infeasible_trial_score(trial), 0.0)
        if WORST in trial.system_attrs:  # whatever its values were on the way there
            self._values[trial.number] = math.inf
        else:
            self._values[trial.number] = self._at_levels(trial, 1 if direction is StudyDirection.MINIMIZE else -1)

    def _locate(self, number: int, params: Mapping[str, Any]) -> bool:
        """Whether all that a trial needs to be a point has been suggested to it."""
        try:
            self._points[number] = self._cube.place(self._space.external(params))
        except KeyError:
            return False
        self._known.update(_keys(self._points[number][None]))
        return True

    def _at_levels(self, trial: FrozenTrial, sign: int) -> list[float]:
        """The first value at or after each level; a value that is no number is the worst there is."""
        values = [math.nan] * (len(self._levels) + 1)
        level = 0
        for step, value in sorted(trial.intermediate_values.items()):
            while level < len(self._levels) and step >= self._levels[level]:
                values[level] = math.inf if math.isnan(value) else sign * rounded(value)
                level += 1
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            values[-1] = sign * rounded(trial.value)
        return values

    def _put_in_order(self) -> None:
        """The feasible ones by their standing, then the others by how much they break."""
        places = standings(self._values[: self._seen, self._first :])
        broken = self._violations[: self._seen]
        places += np.where(broken > 0, 1 + broken, 0)
        known = int((~np.isnan(places)).sum())
        self._order = np.argsort(places, kind="stable")[:known]  # NaN comes last
        self._places = places[self._order]


def _keys(points: Floats) -> list[bytes]:
    """Points that differ by rounding alone have the same."""
    rounded = np.round(np.nan_to_num(points, nan=-1.0), 9) + 0.0  # no -0
    return [row.tobytes() for row in rounded]
