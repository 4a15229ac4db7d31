"""The trials of a study in the order in which they stand, kept as arrays between proposals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri

from search.auto_rungs import AutoRungs
from search.cube import Cube, Floats
from search.optuna_trials import WORST, trials_of
from search.repeats import Repeats, rounded
from search.space import Space
from search.standing import shared, standings

LEVELS = tuple(3**power for power in range(13))  # where nothing says at which steps trials are compared


class Observed(NamedTuple):
    """Trials that a model learns from, the best first."""

    points: Floats  # (trials, parameters)
    targets: Floats  # (trials,), normal scores: about 0, smaller is better
    missing: Floats  # (trials,), the share of the levels that a trial has not come to


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

    def best(self, count: int) -> Floats:
        """(count, parameters): the best trials but for repeats, or as many as there are."""
        firsts = (number for number in self._order.tolist() if number not in self._repeats)
        return self._points[list(islice(firsts, count))]

    @property
    def repeated(self) -> float:
        """The share of the trials that came to exactly what others had come to."""
        return self._repeats.share

    def running(self, most: int) -> Floats:
        """(trials, parameters): the newest ones that run without a standing."""
        waiting = np.flatnonzero(self._runs[: self._seen])
        return self._points[waiting[~np.isin(waiting, self._order)][-most:]]

    def is_new(self, points: Floats) -> NDArray[np.bool_]:
        """(points,): whether no trial has been there."""
        return np.array([key not in self._known for key in _keys(points)], dtype=bool)

    def observed(self, most: int) -> Observed:
        """The best third of so many trials, and of the others such as a hash of their numbers picks.

        A trial that is picked once stays so while more come, but for those that the count pushes out.
        """
        places = np.arange(self.count)
        if self.count > most:
            others = places[most // 3 :]
            kept = most - most // 3
            picked = np.argpartition(self._order[others] * 2654435761 % 2**32, kept)[:kept]
            places = np.concatenate([places[: most // 3], np.sort(others[picked])])
        standing = shared(self._places, np.linspace(0.5, self.count - 0.5, self.count))[places] / self.count
        targets = ndtri(standing)
        return Observed(self._points[self._order[places]], targets - targets.mean(), self._missing(places))

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
