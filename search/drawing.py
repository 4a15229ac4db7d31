"""A trial's parameters, drawn from the sampler until they may stand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna

from search.optuna_trials import Storage
from search.repair import drawn, nearest, wandered
from search.space import Space
from store.errors import TrialyardError

MOST_DRAWS = 20  # for one trial, before a duplicate is accepted
# … and of these so many outside of the inequalities, before a point is moved inside: a model's draw takes milliseconds.
MOST_OUTSIDE, MOST_OUTSIDE_OF_LEARNERS = 20, 4
MOST_STARTS = 100  # random points from which a way into the inequalities is looked for

Point = dict[str, Any]


class NothingFeasible(TrialyardError):
    """No point was found that keeps all inequalities between the parameters."""


class Drawing:
    """Draws for the trials of one study.

    A proposal that breaks an inequality is drawn again, a few times. Then the last one of a sampler that learns is
    moved to the nearest point that keeps them all; of any other it gives way to a random one. Without inequalities the
    first draw stands, as Optuna makes it.
    """

    def __init__(self, study: optuna.Study, storage: Storage, space: Space, learns: bool) -> None:
        """`learns`: the sampler proposes by what trials came to."""
        self._study, self._storage, self._space, self._learns = study, storage, space, learns

    def draw(self, trial: optuna.Trial, seed: tuple[int, int], is_known: Callable[[Point], bool]) -> Point:
        """Parameters for a trial that was just asked for; `is_known`: they are not wanted a second time.

        Raises:
            NothingFeasible
        """
        region, outside = self._space.region, 0
        most = MOST_OUTSIDE_OF_LEARNERS if self._learns else MOST_OUTSIDE
        parameters = self._space.suggest(trial)
        for _ in range(MOST_DRAWS):
            is_outside = region.broken(parameters) is not None
            outside += is_outside
            if outside > most or not (is_outside or is_known(parameters)):
                break
            parameters = self._again(trial)
        if region.broken(parameters) is None:
            return parameters
        found = self._inside(parameters, is_known, np.random.default_rng(seed))
        self._put(trial, found)
        return found

    def _again(self, trial: optuna.Trial) -> Point:
        """Draw anew, from the generator as it stands."""
        # Optuna has no way to take a suggestion back: put the trial into the state in which `ask` made it.
        blank = copy.copy(self._storage.get_trial(trial._trial_id))
        blank.params, blank.distributions, blank.system_attrs = {}, {}, {}
        self._storage._set_trial(trial._trial_id, blank)
        return self._space.suggest(optuna.Trial(self._study, trial._trial_id))

    def _inside(self, parameters: Point, is_known: Callable[[Point], bool], rng: np.random.Generator) -> Point:
        """A point that keeps the inequalities, for one that does not."""
        region, conditions = self._space.region, self._space.conditions
        for _ in range(MOST_STARTS):
            moved = nearest(region, parameters)
            if moved is not None:
                return moved if self._learns and not is_known(moved) else wandered(region, moved, rng)
            # With these values of what conditions look at there is no way in.
            parameters = conditions.fill(lambda name: drawn(self._space.parameters[name], rng))
        broken = region.broken(parameters)
        raise NothingFeasible(f"no point was found that keeps {broken.text if broken else 'the constraints'}")

    def _put(self, trial: optuna.Trial, parameters: Point) -> None:
        """Let Optuna take a trial for one with other parameters."""
        moved = copy.copy(self._storage.get_trial(trial._trial_id))
        moved.params, moved.distributions = self._space.internal(parameters)
        self._storage._set_trial(trial._trial_id, moved)
