"""The two densities that TPE compares, of one set of parameters: that of the better trials, and that of the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from search.history import History
from search.mixture import Mixture

MOST_MOVES = 16  # of trials at once; with more it is as quick to begin anew

Params = Mapping[str, Any]


class Densities:
    """They follow the history of a study. Trials that lack a parameter, or never had a value, are in neither."""

    def __init__(self, space: Mapping[str, BaseDistribution], history: History) -> None:
        self.space = dict(space)
        self.better, self.worse = Mixture(space), Mixture(space)
        self._history = history
        self._seen = 0  # of the history's changes
        self._best: set[int] = set()
        self._running: set[int] = set()

    def follow(self, running: Iterable[FrozenTrial], params_of: Callable[[FrozenTrial], Params]) -> None:
        """Let the trials that have finished by now have kernels, and those that run, which count as bad ones.

        Args:
            params_of: the parameters of a trial that runs, for one that does not have all of them yet.
        """
        changed = set(self._history.changes[self._seen :])
        self._seen = len(self._history.changes)
        runs = {
            trial.number
            for trial in running
            if (trial.number in self._running and trial.number not in changed) or self._note(trial, params_of)
        }
        best = self._history.best()
        touched = changed | (best ^ self._best) | (runs ^ self._running)
        self._best, self._running = best, runs
        if touched & (best | set(self.better.numbers)):
            self._begin_better()
        if len(touched) > MOST_MOVES or not all(map(self._move, sorted(touched))):
            self._begin_worse()

    def _note(self, trial: FrozenTrial, params_of: Callable[[FrozenTrial], Params]) -> bool:
        """Whether a trial that runs has all of the parameters."""
        params: Params = trial.params
        if not self.space.keys() <= params.keys():
            params = params_of(trial)
            if not self.space.keys() <= params.keys():
                return False
        self._history.note(trial.number, self.space, params)
        return True

    def _begin_better(self) -> None:
        numbers = sorted(self._best)
        values = np.array([column[numbers] for column in self._history.columns(self.space)])
        complete = ~np.isnan(values).any(axis=0)
        self.better.begin(np.array(numbers, dtype=int)[complete].tolist(), values[:, complete])

    def _begin_worse(self) -> None:
        members = self._history.usable[: self._history.seen].copy()
        members[list(self._running)] = True
        members[list(self._best)] = False
        columns = self._history.columns(self.space)
        members &= ~np.isnan(columns).any(axis=0)
        self.worse.begin(np.flatnonzero(members).tolist(), np.array([column[members] for column in columns]))

    def _move(self, number: int) -> bool:
        """Put a trial where it belongs. False if the worse ones have to begin anew."""
        point = [column.item(number) for column in self._history.columns(self.space)]
        counts = number in self._running or (bool(self._history.usable[number]) and number not in self._best)
        belongs = counts and not any(map(math.isnan, point))
        if belongs == (number in self.worse):
            return True
        return self.worse.enter(number, point) if belongs else self.worse.leave(number)
