"""A trial's parameters, drawn from the sampler until they may stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from search.draft import Draft
from search.optuna_trials import Storage
from search.repair import MOST_STARTS, completion, drawn, nearest, wandered
from search.space import Space
from store.errors import TrialyardError

MOST_DRAWS = 20  # for one trial, before a duplicate is accepted
# … and of these so many outside of the inequalities, before a point is moved inside: a model's draw takes milliseconds.
MOST_OUTSIDE, MOST_OUTSIDE_OF_LEARNERS = 20, 4
BLIND = ("grid", "random", "qmc")  # samplers to which it is nothing what trials came to

Point = dict[str, Any]


class NothingFeasible(TrialyardError):
    """No point was found that keeps all inequalities between the parameters."""


class Drawing:
    """Draws for the trials of one study.

    A proposal that breaks an inequality is drawn again, a few times. Then the last one of a sampler that learns is
    moved to the nearest point that keeps them all; of any other it gives way to a random one. Without inequalities the
    first draw stands, as Optuna makes it.
    """

    def __init__(self, study: optuna.Study, storage: Storage, space: Space, sampler: str) -> None:
        self._study, self._storage, self._space = study, storage, space
        self._learns = sampler not in BLIND
        # A Gaussian process makes one proposal for one history; other draws would be random.
        self._most_outside = 0 if sampler == "gp" else MOST_OUTSIDE_OF_LEARNERS if self._learns else MOST_OUTSIDE

    def draw(
        self, trial: FrozenTrial, seed: tuple[int, int], is_known: Callable[[Point], bool], given: Mapping[str, Any]
    ) -> Point:
        """Parameters for a trial that has none yet; the storage gets them, too.

        Args:
            is_known: they are not wanted a second time, unless a person has given all of them.
            given: what a person has; the trial has the same among its `fixed_params`.

        Raises:
            NothingFeasible: not where `check_completion` found nothing wrong with what is given.
        """
        draft = Draft(self._study, trial._trial_id)
        parameters = self._space.suggest(draft)
        if given and draft.drawn[0].keys() <= given.keys():
            self._storage.set_params(trial._trial_id, *draft.drawn)
            return parameters
        region, outside = self._space.region, 0
        for _ in range(MOST_DRAWS):
            is_outside = region.broken(parameters) is not None
            outside += is_outside
            if outside > self._most_outside or not (is_outside or is_known(parameters)):
                break
            # Draw anew, from the generator as it stands, for the trial as it was.
            self._storage._set_trial(trial._trial_id, trial)
            draft = Draft(self._study, trial._trial_id)
            parameters = self._space.suggest(draft)
        if region.broken(parameters) is None:
            self._storage.set_params(trial._trial_id, *draft.drawn)
            return parameters
        found = self._inside(parameters, given, is_known, np.random.default_rng(seed))
        self._storage.set_params(trial._trial_id, *self._space.internal(found))
        return found

    def _inside(
        self, parameters: Point, given: Mapping[str, Any], is_known: Callable[[Point], bool], rng: np.random.Generator
    ) -> Point:
        """A point that keeps the inequalities, for one that does not."""
        region, conditions = self._space.region, self._space.conditions
        for _ in range(MOST_STARTS):
            moved = nearest(region, parameters, given)
            if moved is not None:
                return moved if self._learns and not is_known(moved) else wandered(region, moved, rng, given)
            # With these values of what conditions look at there is no way in.
            parameters = conditions.fill(
                lambda name: given[name] if name in given else drawn(self._space.parameters[name], rng)
            )
        if given and (found := completion(region, conditions, given)) is not None:
            return found
        broken = region.broken(parameters)
        raise NothingFeasible(f"no point was found that keeps {broken.text if broken else 'the constraints'}")
