"""The kernels of TPE's densities: the same as Optuna's, thousands of them in a few milliseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from scipy.special import ndtr

Floats = NDArray[np.float64]

MANY = 98  # trials; with fewer, one more makes all kernels narrower, as their number bounds their widths

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
_FAR = 9.0  # standard deviations, beyond which a normal distribution has no mass that a float could hold beside 1

_NOTHING = -700.0  # the log of next to nothing; where its result is still smaller, `exp` is ten times slower


@dataclass(frozen=True)
class Axis:
    """A numerical parameter as its kernels see it: `low` and `high` include half a step, and are logs if `log`."""

    low: float
    high: float
    log: bool
    step: float | None

    @classmethod
    def of(cls, distribution: FloatDistribution | IntDistribution) -> Axis:
        margin = 0.0 if distribution.step is None else distribution.step / 2
        low, high = distribution.low - margin, distribution.high + margin
        if distribution.log:
            low, high = math.log(low), math.log(high)
        return cls(low, high, distribution.log, distribution.step)

    def place(self, values: Floats) -> Floats:
        return np.log(values) if self.log else values

    def bandwidths(self, means: Floats) -> Floats:
        """(kernels - 1,) ascending means: a kernel is as wide as the wider of the gaps beside it, within limits."""
        return bandwidths(means, np.array([self.high - self.low]))

    @property
    def prior(self) -> tuple[float, float]:
        """Its mean and its width."""
        return 0.5 * (self.low + self.high), self.high - self.low


def bandwidths(means: Floats, reach: Floats) -> Floats:
    """The same for several parameters at once: means (…, kernels - 1), and how far the parameters reach (…, 1)."""
    gaps = np.diff(means)
    widths = np.empty_like(means)
    widths[..., 0], widths[..., -1] = gaps[..., 0], gaps[..., -1]
    np.maximum(gaps[..., :-1], gaps[..., 1:], out=widths[..., 1:-1])
    return np.clip(widths, reach / min(100.0, 2.0 + means.shape[-1]), reach, out=widths)


def logs_of_kernels(mean: Floats, width: Floats, low: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    """Truncated normal kernels' log densities as polynomials of the distance x from the middle of their ranges.

    All arrays have one shape.

    Returns:
        The coefficients of 1, of x^2 and of x: -(x - mu)^2 / (2 sigma^2), multiplied out, and the logs of what divides.
    """
    precision = 1.0 / width
    rest = np.log(precision) - _LOG_ROOT_TWO_PI
    rest -= log_mass_inside((low - mean) * precision, (high - mean) * precision)
    from_middle = mean - 0.5 * (low + high)  # less is lost so where squares cancel
    linear = from_middle * precision * precision
    rest -= 0.5 * from_middle * linear
    return rest, -0.5 * precision * precision, linear


def of_steps(axis: Axis, observed: Floats, points: Floats) -> Floats:
    """(points, kernels): the mass that each kernel has within half a step of each point."""
    half, means = 0.5 * (axis.step or 0.0), axis.place(observed)
    # numpy's default order of equal values is arbitrary and decides which of them gets the wide kernel: take the same.
    order = np.argsort(means)
    mean, width = means[order], axis.bandwidths(means[order])
    first = np.empty(len(mean), dtype=bool)  # of its run of equal kernels
    first[0] = True
    first[1:] = (mean[1:] != mean[:-1]) | (width[1:] != width[:-1])
    kind = np.empty(len(mean) + 1, dtype=np.intp)  # (kernels,): which of the different kernels each is
    kind[order] = np.cumsum(first) - 1
    kind[-1] = kind[order[-1]] + 1
    mean, width = np.append(mean[first], axis.prior[0]), np.append(width[first], axis.prior[1])
    x, place = np.unique(points, return_inverse=True)
    left, right = axis.place(x - half)[:, None], axis.place(x + half)[:, None]
    mass = _log_mass((left - mean) / width, (right - mean) / width)  # (different points, different kernels)
    mass -= _log_mass((axis.low - mean) / width, (axis.high - mean) / width)
    return mass[place].take(kind, axis=1)


def of_choices(observed: Floats, choices: int, points: Floats) -> Floats:
    """(points, kernels): a kernel's own choice weighs more by 1 than the share of the prior that all choices have."""
    share = 1.0 / (len(observed) + 1)
    every = 1.0 + choices * share
    table = np.full((choices, len(observed) + 1), math.log(share / every))  # (choices, kernels)
    table[observed.astype(np.intp), np.arange(len(observed))] = math.log((1.0 + share) / every)
    table[:, -1] = -math.log(choices)
    return table[points.astype(np.intp)]


def log_mass_inside(low: Floats, high: Floats) -> Floats:
    """The log of the normal mass between `low` <= 0 and `high` >= 0: only kernels near an edge lose any."""
    shape, lost = low.shape, np.zeros(low.size)
    low, high = low.ravel(), high.ravel()
    near = np.flatnonzero(low > -_FAR)
    lost[near] -= ndtr(low[near])
    near = np.flatnonzero(high < _FAR)
    lost[near] -= ndtr(-high[near])
    logarithm: Floats = np.log1p(lost).reshape(shape)
    return logarithm


def _log_mass(low: Floats, high: Floats) -> Floats:
    """The log of the normal mass between any bounds, from the left tail, where it is exact; -inf below 1e-308."""
    right = low > 0
    mass = ndtr(np.where(right, -low, high)) - ndtr(np.where(right, -high, low))
    with np.errstate(divide="ignore"):  # so little counts for nothing beside the prior
        logarithm: Floats = np.log(mass)
    return logarithm


def log_sum_exp(terms: Floats) -> Floats:
    """Over the last axis; overwrites its argument."""
    most = terms.max(axis=1)
    terms -= most[:, None]
    np.maximum(terms, _NOTHING, out=terms)
    np.exp(terms, out=terms)
    logarithm: Floats = np.log(terms.sum(axis=1)) + most
    return logarithm
