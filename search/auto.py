"""The sampler of the service: models of where trials stand and will come to, whatever resource they have come to.

Optuna's TPE takes a pruned trial by its last step, so that the few trials that came to their end pass for the best,
good or bad. Here every trial with a value has a standing (`search/standing.py`): running, waiting and stopped ones too,
and never an early value as if it were a final one. A Gaussian process of the standings says where a better trial may
lie. What a standing cannot tell is that all trials of a region begin well and end badly: those that wait there keep the
places of their first values. So a second process learns what the trials came to, whole curves, and what becomes of
those that go on is expected of their neighbours too; the two take turns by chance. Beside the process whose turn it is
an evolution strategy draws points like its best: where the one is wrong about the whole, the other still improves what
has been found. A share of the proposals stays random, as in BOHB (Falkner et al. 2018): no model can lock itself in,
and what these trials come to is what a rung can be judged by (`search/auto_rungs.py`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from scipy.special import ndtr
from typing_extensions import override

from search.auto_rungs import UNCOMPARED, AutoRungs
from search.cube import Coding, Cube, Floats
from search.neighbours import ELITE, like_the_best, near_the_best
from search.ranked import Ranked
from search.space import Space
from search.surrogate import SCALE, WEIGHTS, Observed, Surrogate

AT_RANDOM = "trialyard:at_random"  # a trial's system attribute: no model had a part in its parameters
# People write ranges around what they believe in. Half of the random draws are normal about the middle; the other half
# is uniform, for those who believe in the wrong place.
MIDDLE_SHARE = 0.5
EVOLVED_SHARE = 0.5  # of the other proposals; the model learns from what they come to
CURVES_SHARE = 0.5  # of these, evolved or not, for the model of whole curves; the others are by where trials stand
TRIES = 20  # of drawing a point like the best that nobody has tried
DRAWS, NEIGHBOURS = 200, 300  # candidates for a proposal: at random, and around the best trials
MOST_LEARNT, MOST_FITTED, MOST_RUNNING = 200, 150, 50  # trials; the cost of a proposal grows with their square or cube
FIRST_STEPS, FURTHER_STEPS = 30, 15  # of fitting the model
GROWTH = 1.15  # with so many times the trials it is fitted anew
REFERENCE = 5  # of the best trials the model expects this much, and a candidate should be better


class Kind(NamedTuple):
    """A model of the sampler's."""

    attr: str  # the study's system attribute: its scales and weights, and how many trials they were fitted to
    weights: int  # how many of a surrogate's it has


class Learnt(NamedTuple):
    """A model that has learnt the trials, to be asked about points."""

    model: Surrogate
    coding: Coding

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """(points,): the mean and the standard deviation."""
        return self.model.predict(self.coding.features(points))

    def expected(self, trials: NDArray[np.intp], points: Floats) -> Floats:
        """(trials,): what trials that it has learnt, at their points, are expected to come to."""
        return self.model.expected(trials, self.coding.features(points))


STANDINGS, CURVES = Kind("trialyard:model", 2), Kind("trialyard:curves", len(WEIGHTS))


class AutoSampler(BaseSampler):
    """For one study of one objective; a finished trial that changes must be named to `reconsider`.

    A proposal depends on what `reseed` was told, on the trials, and on the scales that are kept with the study.
    """

    def __init__(self, space: Space, n_startup_trials: int, random_share: float, rungs: AutoRungs | None) -> None:
        """
        Args:
            n_startup_trials: so many trials must have a value before a model is made.
            random_share: of the proposals after that, in [0, 1].
            rungs: where trials are compared, and from which rung on; None if another pruner stops them, or none does.
        """
        self._space, self._cube = space, Cube(space)
        self._least, self._random_share = n_startup_trials, random_share
        self._ranked = Ranked(space, self._cube, rungs)
        self._rungs = rungs
        self._rng = np.random.RandomState()

    def reseed(self, seed: int) -> None:
        """Set the generator for the next proposal."""
        self._rng.seed(seed)

    def reconsider(self, number: int) -> None:
        """A trial may have been taken up again after it had finished: look at it anew."""
        self._ranked.reconsider(number)

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space.distributions()

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        cube = self._cube.holding(self._space.given(trial.system_attrs.get("fixed_params", {})))
        self._ranked.follow(study)
        at_random = self._ranked.count < self._least or self._rng.random_sample() < self._random_share
        point = None if at_random else self._searched(study, trial, cube)
        if point is None:
            study._storage.set_trial_system_attr(trial._trial_id, AT_RANDOM, True)
            point = self._at_random(cube)
        return self._cube.values(point)

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise NotImplementedError(f"{param_name} is no parameter of the study")

    def _at_random(self, cube: Cube) -> Floats:
        point: Floats = cube.draw(self._rng, 1, MIDDLE_SHARE)[0]
        return point

    def _searched(self, study: Study, trial: FrozenTrial, cube: Cube) -> Floats | None:
        """A new point, of which much is to be expected; None if all that are thought of have been tried.

        `cube`: it holds what a person has given of the point, so that the rest is what goes well with that.

        As often as trials repeat others, a search near the best finds nothing new: then it is a random one.
        """
        repeated = self._ranked.repeated
        if repeated and self._rng.random_sample() < repeated:
            return self._at_random(cube)
        model, best = None, self._ranked.best(ELITE)
        if self._rungs is not None and self._rng.random_sample() < CURVES_SHARE:
            model, best = self._of_curves(study)
            if self._rungs.affords(self._ranked.uncompared + 1):
                point = self._by_model(cube, model, best)
                if point is not None:
                    study._storage.set_trial_system_attr(trial._trial_id, UNCOMPARED, True)
                return point
        if self._rng.random_sample() < EVOLVED_SHARE:
            for _ in range(TRIES):
                point = like_the_best(cube, best, self._ranked.count, self._rng)
                if self._ranked.is_new(point[None])[0]:
                    return point
        return self._by_model(cube, model or self._of_standings(study), best)

    def _by_model(self, cube: Cube, model: Learnt, best: Floats) -> Floats | None:
        """The candidate of which most is expected."""
        near = near_the_best(cube, best, self._ranked.count, self._rng, NEIGHBOURS)
        points = np.concatenate([cube.draw(self._rng, DRAWS, MIDDLE_SHARE), near])
        points = points[self._ranked.is_new(points)]
        if not len(points):
            return None
        reference = float(model.predict(best[:REFERENCE])[0].min())
        chosen: Floats = points[np.argmax(_expected_gain(*model.predict(points), reference))]
        return chosen

    def _of_standings(self, study: Study) -> Learnt:
        return self._learnt(study, STANDINGS, self._ranked.observed(MOST_LEARNT))

    def _of_curves(self, study: Study) -> tuple[Learnt, Floats]:
        """The model, and the best trials by what it expects of them."""
        observed = self._ranked.curves(MOST_LEARNT)
        model = self._learnt(study, CURVES, observed)
        trials = np.unique(observed.trials)
        expected = model.expected(trials, self._ranked.points(trials))
        return model, self._ranked.best(ELITE, trials[np.argsort(expected, kind="stable")])

    def _learnt(self, study: Study, kind: Kind, observed: Observed) -> Learnt:
        """A model with the scales that are kept with the study, fitted anew when there are many more trials."""
        names, running = self._cube.names, self._ranked.running(MOST_RUNNING)
        coding = self._cube.coding(np.concatenate([observed.points, running]))
        observed = observed._replace(points=coding.features(observed.points))
        kept = study._storage.get_study_system_attrs(study._study_id).get(kind.attr, {"trials": 0, "scales": {}})
        scales = np.array([kept["scales"].get(name, SCALE) for name in names])
        model = Surrogate(coding.groups, scales, np.array(kept.get("noises", WEIGHTS[: kind.weights])))
        if self._ranked.count >= GROWTH * kept["trials"] + 2 or kept["scales"].keys() != set(names):
            some = self._rng.permutation(np.unique(observed.trials))[:MOST_FITTED]
            model.fit(observed.of(some), FURTHER_STEPS if kept["trials"] else FIRST_STEPS)
            fitted = {"trials": self._ranked.count, "noises": model.log_weights.tolist()}
            fitted["scales"] = dict(zip(names, model.log_scales.tolist(), strict=True))
            study._storage.set_study_system_attr(study._study_id, kind.attr, fitted)
        model.condition(observed, coding.features(running))
        return Learnt(model, coding)


def _expected_gain(mean: Floats, deviation: Floats, reference: float) -> Floats:
    """Expected improvement (Jones et al. 1998, equation 15)."""
    z = (reference - mean) / deviation
    gain: Floats = deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
    return gain
