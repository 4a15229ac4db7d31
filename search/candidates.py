"""The points that TPE chooses between: Optuna's own, of which only the chosen one is worked out to the last bit.

Optuna inverts the normal distribution for each value of each candidate by Newton's method, in Python. To compare the
candidates a good approximation does; the one that is proposed then goes through Optuna's own arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.probability_distributions import (
    _BatchedCategoricalDistributions,
    _MixtureOfProductDistribution,
)
from scipy.special import ndtr, ndtri

from search.kernels import Floats

_LOG_ROOT_TWO_PI = math.log(math.sqrt(2 * math.pi))  # in Optuna's order of operations
_HALF_ROOT = 1 / 2**0.5
_ON_THE_EDGE = 1e-6  # of a step
_MOST_VALUES = 1999  # with more, Optuna's error function is another one

# How many of Newton's steps a value takes Optuna, by the share of the normal distribution that is below it: up to each
# of these shares so many. A batch takes as many as its slowest value; so halves, of which 3.5 are 4 or fewer and 4.5
# are 4 or 5, matter only where they are the most. Close to 0, to 0.5 and to 1 it may be any number.
_SHARES = np.array(
    [
        *(1e-30, 0.0288, 0.0583, 0.4621, 0.499999, 0.500001, 0.5352),
        *(0.9543, 0.9636, 0.980943, 0.980946, 0.990048, 0.990052, 1 - 1e-9),
    ]
)
_ANY = 99.5
_STEPS = np.array([_ANY, 4, 3.5, 4, 3.5, _ANY, 3.5, 4, 3.5, 4, 4.5, 5, 4.5, 4, _ANY])


class Source:
    """What candidates are drawn from: a mixture of Optuna's, with what is the same for all that are drawn from it."""

    def __init__(self, mixture: _MixtureOfProductDistribution) -> None:
        self.mixture = mixture
        self.cumulated = mixture.weights.cumsum()  # (kernels,)
        self.cumulated /= self.cumulated[-1]
        self.choices: dict[int, Floats] = {}  # by place of the parameter, (kernels, choices)
        ranges = []
        for place, each in enumerate(mixture.distributions):
            if isinstance(each, _BatchedCategoricalDistributions):
                self.choices[place] = np.cumsum(each.weights, axis=-1)
                self.choices[place][:, -1] = 1.0
            else:
                ranges.append(each)
        self.ranges = ranges
        self.places = [place for place in range(len(mixture.distributions)) if place not in self.choices]
        if not ranges:
            return
        mean, width = np.array([each.mu for each in ranges]), np.array([each.sigma for each in ranges])
        self.low = (np.array([[each.adapted_low] for each in ranges]) - mean) / width  # (ranges, kernels), as all below
        self.high = (np.array([[each.adapted_high] for each in ranges]) - mean) / width
        self.right = self.low >= 0  # where Optuna goes by the right tail: for kernels at the lower end of a range
        self.turns = bool(self.right.any())
        below = ndtr(self.low)
        self.shapes = np.array([mean, width, below, ndtr(self.high) - below])

    def draw(self, rng: np.random.RandomState, count: int) -> Candidates:
        """So many points, with the same random numbers, in the same order, as Optuna draws them."""
        uniform = rng.random_sample((1 + len(self.mixture.distributions), count))
        return Candidates(self, self.cumulated.searchsorted(uniform[0], side="right"), uniform[1:])


class Candidates:
    """Points that were drawn. An array of them is (parameters, points)."""

    def __init__(self, source: Source, kernels: NDArray[np.intp], uniform: Floats) -> None:
        """`kernels`: (points,); `uniform`: (parameters, points), first of those that have choices."""
        self._source = source
        self._kernels = kernels
        self._choices = [
            np.sum(cumulated[kernels] < row[:, None], axis=-1)
            for cumulated, row in zip(source.choices.values(), uniform, strict=False)
        ]
        self._quantile = uniform[len(self._choices) :]  # (ranges, points)
        self._steps: int | None = None  # of Newton's, of the values that go by the left tail

    def roughly(self) -> Floats | None:
        """All points, right but for the last digits; None where these may matter."""
        if not self._source.ranges:
            return self._points(self._quantile)
        if self._quantile.size > _MOST_VALUES:
            return None
        mean, width, below, inside = self._source.shapes.take(self._kernels, axis=2)
        share = below + self._quantile * inside
        # Values that go by the right tail are a batch of their own.
        is_left = ~self._source.right[:, self._kernels] if self._source.turns else ...
        self._steps = steps_of(share[is_left])
        if self._steps is None:
            return None
        values = ndtri(share) * width + mean
        return None if self._is_near_an_edge(values) else self._points(values)

    def exactly(self) -> Floats:
        """All points as Optuna has them."""
        if not self._source.ranges:
            return self._points(self._quantile)
        mean, width = self._source.shapes[:2, :, self._kernels]
        low, high = self._source.low[:, self._kernels], self._source.high[:, self._kernels]
        return self._points(_truncnorm.ppf(self._quantile, low, high) * width + mean)

    def exactly_one(self, point: int) -> Floats:
        """One of the points, after `roughly`: (parameters, 1)."""
        if not self._source.ranges:
            return self._points(self._quantile)[:, [point]]
        kernel, quantile = self._kernels[point], self._quantile[:, point]
        low, high = self._source.low[:, kernel].tolist(), self._source.high[:, kernel].tolist()
        if self._steps is None or not (max(low) < 0 < min(high) and quantile.all()):
            return self.exactly()[:, [point]]
        # `_truncnorm._log_gauss_mass` around the mean, and then `_truncnorm.ppf` by the left tail
        log_mass = np.log1p([-_ndtr(a) - _ndtr(-b) for a, b in zip(low, high, strict=True)])
        y = np.logaddexp([*map(_log_ndtr, low)], np.log(quantile) + log_mass)
        mean, width = self._source.shapes[:2, :, kernel]
        values = _inverse_log_ndtr(y, self._steps) * width + mean
        return self._points(values[:, None], point)

    def _points(self, values: Floats, point: int | None = None) -> Floats:
        """From values of the ranges, which are overwritten; `point`: which it is, if they are of one."""
        for each, row in zip(self._source.ranges, values, strict=True):
            if each.is_log:
                np.exp(row, out=row)
            if each.step != 0.0:
                row[:] = np.clip(each.low + np.round((row - each.low) / each.step) * each.step, each.low, each.high)
        if not self._choices:
            return values
        found = np.empty((len(self._choices) + len(self._source.ranges), values.shape[1]))
        found[list(self._source.choices)] = self._choices if point is None else [[row[point]] for row in self._choices]
        found[self._source.places] = values
        return found

    def _is_near_an_edge(self, values: Floats) -> bool:
        """Whether rounding may decide between two steps of a range."""
        for each, row in zip(self._source.ranges, values, strict=True):
            if each.step != 0.0:
                steps = ((np.exp(row) if each.is_log else row) - each.low) / each.step
                if np.any(np.abs(steps % 1.0 - 0.5) < _ON_THE_EDGE):
                    return True
        return False


def steps_of(shares: Floats) -> int | None:
    """How many of Newton's steps Optuna takes to invert these, all at once; None if that is not sure."""
    most = float(_STEPS[_SHARES.searchsorted(shares)].max(initial=0))
    return int(most) if most.is_integer() else None


def _inverse_log_ndtr(y: Floats, steps: int) -> Floats:
    """`_truncnorm._ndtri_exp`, told after how many steps it ends.

    But for Optuna's `exp` and `log`, which are numpy's, plain numbers are quicker.
    """
    flipped, z = y > -1e-2, y.copy()
    z[flipped] = np.log(-np.expm1(y[flipped]))
    guess, far = -(math.sqrt(3) / math.pi) * np.log(np.expm1(-np.maximum(z, -5))), z < -5
    guess[far] = -np.sqrt(-2.0 * (z[far] + _LOG_ROOT_TWO_PI))
    x, goal = guess.tolist(), z.tolist()
    for _ in range(steps):
        at = [*map(_log_ndtr, x)]
        log_ratios = [one - (-0.5 * (each * each) - _LOG_ROOT_TWO_PI) for one, each in zip(at, x, strict=True)]
        ratios = np.exp(log_ratios).tolist()
        x = [each - (one - to) * ratio for each, one, to, ratio in zip(x, at, goal, ratios, strict=True)]
    found: Floats = np.where(flipped, -1.0, 1.0) * x
    return found


def _ndtr(a: float) -> float:
    """`_truncnorm._ndtr` of one."""
    return 0.5 + 0.5 * math.erf(a / 2**0.5)


def _log_ndtr(a: float) -> float:
    """`_truncnorm._log_ndtr_single`, without its cache: no value comes a second time."""
    if not -20 < a <= 6:
        return _truncnorm._log_ndtr_single(a)
    x = a / 2**0.5
    if x < -_HALF_ROOT:
        return math.log(0.5 * math.erfc(-x))
    return math.log(0.5 + 0.5 * math.erf(x) if x < _HALF_ROOT else 1.0 - 0.5 * math.erfc(x))
