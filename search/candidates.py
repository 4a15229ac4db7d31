"""The points that TPE chooses between: Optuna's own, of which only the chosen one is worked out to the last bit.

Optuna inverts the normal distribution for each value of each candidate by Newton's method, in Python. To compare the
candidates a good approximation does; the one that is proposed then goes through Optuna's own arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.probability_distributions import (
    _BatchedCategoricalDistributions,
    _MixtureOfProductDistribution,
)
from scipy.special import log_ndtr

from search.kernels import Floats, log_mass_inside

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
_MOST_STEPS = 20  # of Newton's; it takes four or five
_CONVERGED = 1e-8  # Optuna's bound on the last step, relative to the value
_UNSURE = 1e-5  # so near to the bound, relative to it, rounding may decide whether there is a further step
_ON_THE_EDGE = 1e-6  # of a step
_MOST_VALUES = 1999  # with more, Optuna's error function is another one


class Candidates:
    """So many points, drawn from a mixture with the same random numbers, in the same order, as Optuna draws them."""

    def __init__(self, mixture: _MixtureOfProductDistribution, rng: np.random.RandomState, count: int) -> None:
        self._mixture = mixture
        kernels = rng.choice(len(mixture.weights), p=mixture.weights, size=count)  # (points,)
        self._choices: dict[int, Floats] = {}
        for place, each in enumerate(mixture.distributions):
            if isinstance(each, _BatchedCategoricalDistributions):
                cumulated = np.cumsum(each.weights[kernels, :], axis=-1)  # (points, choices)
                cumulated[:, -1] = 1.0
                self._choices[place] = np.sum(cumulated < rng.rand(count)[:, None], axis=-1).astype(float)
        self._ranges = {
            place: each
            for place, each in enumerate(mixture.distributions)
            if not isinstance(each, _BatchedCategoricalDistributions)
        }
        of_ranges = list(self._ranges.values())
        self._mean = np.array([each.mu[kernels] for each in of_ranges])  # (ranges, points), as all that follows
        self._width = np.array([each.sigma[kernels] for each in of_ranges])
        if of_ranges:
            self._low = (np.array([[each.adapted_low] for each in of_ranges]) - self._mean) / self._width
            self._high = (np.array([[each.adapted_high] for each in of_ranges]) - self._mean) / self._width
            self._quantile = rng.uniform(low=0, high=1, size=self._mean.shape)
        self._slowest: list[tuple[int, int]] = []  # what keeps Newton's method going, as far as that is known

    def roughly(self) -> list[Floats] | None:
        """The points, by place of the parameter, right but for the last digits; None where these may matter."""
        if not self._ranges:
            return self._points(self._mean)
        if self._mean.size > _MOST_VALUES:
            return None
        normal = self._invert()
        if normal is None:
            return None
        values = normal * self._width + self._mean
        return None if self._is_near_an_edge(values) else self._points(values)

    def exactly(self) -> list[Floats]:
        """The points as Optuna has them."""
        if not self._ranges:
            return self._points(self._mean)
        normal = _truncnorm.ppf(self._quantile, self._low, self._high)
        return self._points(normal * self._width + self._mean)

    def exactly_one(self, point: int) -> list[Floats]:
        """One of the points, after `roughly`: by place of the parameter an array of its value alone.

        Optuna's steps go on until the last value has converged, and each moves all of them: so the one that takes
        longest comes along.
        """
        if not self._ranges:
            return self._points(self._mean, [point])
        rows = [*range(len(self._ranges)), *(row for row, _ in self._slowest)]
        at = rows, [point] * len(self._ranges) + [column for _, column in self._slowest]
        normal = _truncnorm.ppf(self._quantile[at], self._low[at], self._high[at])
        values = normal * self._width[at] + self._mean[at]
        return self._points(values[: len(self._ranges), None], [point])

    def _points(self, values: Floats, points: Sequence[int] | None = None) -> list[Floats]:
        """By place of the parameter, from values of the ranges; `points`: which they are, if not all."""
        found = {place: each if points is None else each[points] for place, each in self._choices.items()}
        for (place, each), row in zip(self._ranges.items(), values, strict=True):
            row = np.exp(row) if each.is_log else row
            if each.step != 0.0:
                row = np.clip(each.low + np.round((row - each.low) / each.step) * each.step, each.low, each.high)
            found[place] = row
        return [found[place] for place in range(len(found))]

    def _is_near_an_edge(self, values: Floats) -> bool:
        """Whether rounding may decide between two steps of a range."""
        for each, row in zip(self._ranges.values(), values, strict=True):
            if each.step != 0.0:
                steps = ((np.exp(row) if each.is_log else row) - each.low) / each.step
                if np.any(np.abs(steps % 1.0 - 0.5) < _ON_THE_EDGE):
                    return True
        return False

    def _invert(self) -> Floats | None:
        """Optuna's truncated normal quantiles but for rounding; None if it is not sure when Optuna's steps end."""
        right = self._low >= 0
        edge = np.where(right, -self._high, self._low)
        share = np.where(right, np.log1p(-self._quantile), np.log(self._quantile))
        y = np.logaddexp(log_ndtr(edge), share + log_mass_inside(self._low, self._high))
        found = _inverse_log_ndtr(y)
        if found is None:
            return None
        normal, took = found
        for side in (right, ~right):
            if side.any():
                place = int(np.argmax(np.where(side, took, -1)))
                self._slowest.append((place // side.shape[1], place % side.shape[1]))
        return np.where(right, -normal, normal)


def _inverse_log_ndtr(y: Floats) -> tuple[Floats, NDArray[np.intp]] | None:
    """Newton's method from Optuna's first guesses; and after how many steps each value has converged."""
    flipped = y > -1e-2
    z = np.where(flipped, np.log(-np.expm1(y)), y)
    with np.errstate(invalid="ignore"):  # each guess is taken where it is defined
        far = -np.sqrt(-2.0 * (z + _LOG_ROOT_TWO_PI))
        x = np.where(z < -5, far, -(math.sqrt(3) / math.pi) * np.log(np.expm1(-z)))
    took = np.zeros(y.shape, dtype=np.intp)
    for _ in range(_MOST_STEPS):
        at = log_ndtr(x)
        step = (at - z) * np.exp(at + 0.5 * x * x + _LOG_ROOT_TWO_PI)
        x = x - step
        size, bound = np.abs(step), _CONVERGED * np.abs(x)
        if not np.all(np.abs(size - bound) > _UNSURE * bound):
            return None
        is_open = size >= bound
        if not is_open.any():
            return np.where(flipped, -x, x), took
        took += is_open
    return None
