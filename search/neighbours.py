"""Points around the best trials, near and far, for a model to choose from."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import RandomState

from search.cube import Cube, Floats

PARENTS, LEAST_PARENTS = 10, 3  # of the best trials, and no more than a fifth of all
STRIDES = (-2.3, -0.5)  # of a change in a range, as powers of ten: uniform between them
CROSSED = 1 / 3  # of the candidates are made of two parents
ELITE, LEAST_ELITE, ELITE_SHARE = 20, 4, 0.15
WIDER = 1.2  # than the best trials lie: their distribution narrows by itself as better ones are found
LEAST_WIDTH = 0.01
MUTATED = 0.1  # of the choices of those drawn like the best are drawn from all
FLIPPED = 0.5  # of the choices that may change are drawn anew


def near_the_best(cube: Cube, best: Floats, trials: int, rng: RandomState, count: int) -> Floats:
    """(count, parameters): each like one of the best trials, with some parameters changed or those of another one.

    `best`: (up to ELITE, parameters), the best first, of so many trials.
    """
    parents = best[: max(LEAST_PARENTS, min(PARENTS, trials // 5))]
    own = _complete(cube, parents[rng.randint(len(parents), size=count)], rng)
    crossed = int(CROSSED * count)
    other = _complete(cube, parents[rng.randint(len(parents), size=crossed)], rng)
    mixed = np.where(rng.random_sample(other.shape) < 0.5, own[:crossed], other)
    return cube.settle(np.concatenate([mixed, _changed(cube, own[crossed:], rng)]))


def like_the_best(cube: Cube, best: Floats, trials: int, rng: RandomState) -> Floats:
    """(parameters,): drawn from the normal distribution of the best trials, the better the more they weigh.

    As in an evolution strategy (Hansen 2016, sections 3.1 and 3.2): directions in which they lie in a line are kept. A
    choice is that of one of them. `best`: as above.
    """
    best = _complete(cube, best[: max(LEAST_ELITE, min(ELITE, math.ceil(ELITE_SHARE * trials)))], rng)
    weights = np.log(len(best) + 0.5) - np.log(np.arange(1, len(best) + 1))
    weights /= weights.sum()
    mean = weights @ best
    off = (best - mean) * np.sqrt(weights)[:, None]
    # A sum of the rows with normal factors has their covariance, however few they are.
    point = mean + WIDER * (rng.standard_normal(len(best)) @ off) + LEAST_WIDTH * rng.standard_normal(len(mean))
    point = 1 - np.abs(1 - np.abs(point))
    chosen = best[rng.choice(len(best), size=len(mean), p=weights), np.arange(len(mean))]
    drawn = np.floor(rng.random_sample(len(mean)) * cube.choices)
    chosen = np.where(rng.random_sample(len(mean)) < MUTATED, drawn, chosen)
    settled: Floats = cube.settle(np.where(cube.choices == 0, point, chosen)[None])[0]
    return settled


def _changed(cube: Cube, points: Floats, rng: RandomState) -> Floats:
    """All parameters, half of them or about two change; a range by a normal step, reflected at its bounds."""
    count, parameters = points.shape
    shares = np.array([1.0, 0.5, 2 / parameters])[rng.randint(3, size=(count, 1))]
    change = rng.random_sample(points.shape) < shares
    change[np.arange(count), rng.randint(parameters, size=count)] = True
    strides = 10 ** rng.uniform(*STRIDES, size=(count, 1))
    moved = np.abs(points + strides * rng.standard_normal(points.shape))
    moved = 1 - np.abs(1 - moved)
    flip = rng.random_sample(points.shape) < FLIPPED
    drawn = np.floor(rng.random_sample(points.shape) * cube.choices)
    changed: Floats = np.where(change, np.where(cube.choices == 0, moved, np.where(flip, drawn, points)), points)
    return changed


def _complete(cube: Cube, points: Floats, rng: RandomState) -> Floats:
    """Any value where a parameter has no part: the change of another one may give it one."""
    drawn = rng.random_sample(points.shape)
    drawn = np.where(cube.choices == 0, drawn, np.floor(drawn * cube.choices))
    complete: Floats = np.where(np.isnan(points), drawn, points)
    return complete
