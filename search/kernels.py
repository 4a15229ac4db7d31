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
_ROOT_TWO = math.sqrt(2.0)

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

    @property
    def prior(self) -> tuple[float, float]:
        """Its mean and its width."""
        return 0.5 * (self.low + self.high), self.high - self.low


def bandwidths(means: Floats, reach: float) -> Floats:
    """(…, kernels - 1) ascending means: a kernel is as wide as the wider of the gaps beside it, within limits.

    `reach`: from the lower end of the range to the upper one.
    """
    gaps = np.diff(means)
    widths = np.empty_like(means)
    widths[..., 0], widths[..., -1] = gaps[..., 0], gaps[..., -1]
    np.maximum(gaps[..., :-1], gaps[..., 1:], out=widths[..., 1:-1])
    return np.clip(widths, reach / min(100.0, 2.0 + means.shape[-1]), reach, out=widths)


def logs_of_kernels(mean: Floats, width: Floats) -> tuple[Floats, Floats, Floats]:
    """Truncated normal kernels' log densities as polynomials of x, where the range is from -0.5 to 0.5.

    All arrays have one shape.

    Returns:
        The coefficients of 1, of x^2 and of x: -(x - mu)^2 / (2 sigma^2), multiplied out, and the logs of what divides.
    """
    precision = 1.0 / width
    at_mean = mean * precision
    inside = ndtr(0.5 * precision - at_mean) - ndtr(-0.5 * precision - at_mean)
    rest = np.log(precision / inside) - _LOG_ROOT_TWO_PI - 0.5 * at_mean * at_mean
    return rest, -0.5 * precision * precision, at_mean * precision


def logs_of_kernel(mean: float, width: float) -> tuple[float, float, float]:
    """The same for one, which takes numpy as long as a hundred."""
    precision = 1.0 / width
    at_mean = mean * precision
    inside = 0.5 * (
        math.erf((0.5 * precision - at_mean) / _ROOT_TWO) + math.erf((0.5 * precision + at_mean) / _ROOT_TWO)
    )
    rest = math.log(precision / inside) - _LOG_ROOT_TWO_PI - 0.5 * at_mean * at_mean
    return rest, -0.5 * precision * precision, at_mean * precision


def of_steps(axis: Axis, observed: Floats, points: Floats) -> Floats:
    """(points, kernels): the log of the mass that each kernel has within half a step of each point, over the mean."""
    half, means = 0.5 * (axis.step or 0.0), axis.place(observed)
    # numpy's default order of equal values is arbitrary and decides which of them gets the wide kernel: take the same.
    order = np.argsort(means)
    mean, width = means[order], bandwidths(means[order], axis.high - axis.low)
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
    return mass.take(kind, axis=1)[place]


def of_choices(observed: Floats, choices: int, points: Floats) -> Floats:
    """(points, kernels): a kernel's own choice weighs more by 1 than the share of the prior that all choices have."""
    share = 1.0 / (len(observed) + 1)
    every = 1.0 + choices * share
    table = np.full((choices, len(observed) + 1), math.log(share / every))  # (choices, kernels)
    table[observed.astype(np.intp), np.arange(len(observed))] = math.log((1.0 + share) / every)
    table[:, -1] = -math.log(choices)
    return table[points.astype(np.intp)]


def _log_mass(low: Floats, high: Floats) -> Floats:
    """The log of the normal mass between any bounds, from the left tail, where it is exact; -inf below 1e-308."""
    right = low > 0
    mass = ndtr(np.where(right, -low, high)) - ndtr(np.where(right, -high, low))
    with np.errstate(divide="ignore"):  # so little counts for nothing beside the prior
        logarithm: Floats = np.log(mass)
    return logarithm


def log_sum_exp(terms: Floats, weights: Floats) -> Floats:
    """(points,): the log of a weighted sum over the last axis of (points, kernels); overwrites its argument."""
    most = terms.max(axis=1)
    terms -= most[:, None]
    logarithm: Floats = log_sum_exp_of_moderate(terms, weights) + most
    return logarithm


def log_sum_exp_of_moderate(terms: Floats, weights: Floats) -> Floats:
    """The same, if of no point all terms are so small, or any so large, that `exp` has no number for it."""
    np.clip(terms, _NOTHING, None, out=terms)
    np.exp(terms, out=terms)
    logarithm: Floats = np.log(terms @ weights)
    return logarithm
