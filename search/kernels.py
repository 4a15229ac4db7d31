"""The density of TPE's worse trials: the same mixture as Optuna's, for thousands of kernels in a few milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.sampler import default_weights
from scipy.special import ndtr

Floats = NDArray[np.float64]

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)
_FAR = 9.0  # standard deviations, beyond which a normal distribution has no mass that a float could hold beside 1

_NOTHING = -700.0  # the log of next to nothing; where its result is still smaller, `exp` is ten times slower


def log_density(
    observations: Mapping[str, Floats], space: Mapping[str, BaseDistribution], points: Mapping[str, Floats]
) -> Floats:
    """Evaluate a multivariate Parzen estimator (Falkner et al. 2018) with Optuna's bandwidths, weights and prior.

    Args:
        observations: by parameter, (kernels - 1,) values in the order of the trials, at least two of them; the last
            kernel is the prior.
        space: the parameters' distributions.
        points: by parameter, (points,) values.

    Returns:
        (points,). It differs from Optuna's by rounding alone.
    """
    count = len(next(iter(observations.values())))
    weights = np.append(default_weights(count), 1.0)
    constant = np.log(weights / weights.sum())  # (kernels,): what does not depend on the point
    floats: dict[str, _Axis] = {}
    tables: list[Floats] = []
    for name, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            tables.append(_of_choices(observations[name], len(distribution.choices), points[name]))
        elif isinstance(distribution, FloatDistribution | IntDistribution):
            axis = _Axis.of(distribution)
            if axis.step is None:
                floats[name] = axis
            else:
                tables.append(_of_steps(axis, axis.step, observations[name], points[name]))
    if floats:
        total = _of_floats(floats, observations, points, constant)
    else:
        total = np.tile(constant, (len(next(iter(points.values()))), 1))
    for table in tables:
        total += table
    return _log_sum_exp(total)


@dataclass(frozen=True)
class _Axis:
    """A numerical parameter as its kernels see it: `low` and `high` include half a step, and are logs if `log`."""

    low: float
    high: float
    log: bool
    step: float | None

    @classmethod
    def of(cls, distribution: FloatDistribution | IntDistribution) -> _Axis:
        margin = 0.0 if distribution.step is None else distribution.step / 2
        low, high = distribution.low - margin, distribution.high + margin
        if distribution.log:
            low, high = math.log(low), math.log(high)
        return cls(low, high, distribution.log, distribution.step)

    def place(self, values: Floats) -> Floats:
        return np.log(values) if self.log else values

    def bandwidths(self, means: Floats) -> Floats:
        """(kernels - 1,) ascending means: a kernel is as wide as the wider of the gaps beside it, within limits."""
        return _bandwidths(means, np.array([self.high - self.low]))

    @property
    def prior(self) -> tuple[float, float]:
        """Its mean and its width."""
        return 0.5 * (self.low + self.high), self.high - self.low


def _bandwidths(means: Floats, reach: Floats) -> Floats:
    """The same for several parameters at once: means (…, kernels - 1), and how far the parameters reach (…, 1)."""
    gaps = np.diff(means)
    widths = np.empty_like(means)
    widths[..., 0], widths[..., -1] = gaps[..., 0], gaps[..., -1]
    np.maximum(gaps[..., :-1], gaps[..., 1:], out=widths[..., 1:-1])
    return np.clip(widths, reach / min(100.0, 2.0 + means.shape[-1]), reach, out=widths)


def _of_floats(
    axes: Mapping[str, _Axis], observed: Mapping[str, Floats], points: Mapping[str, Floats], constant: Floats
) -> Floats:
    """(points, kernels): the logs of truncated normal kernels, all parameters' added up, and the (kernels,) `constant`.

    The arrays of the parameters are (parameters, kernels) or (parameters, points).
    """
    means = np.array([axis.place(observed[name]) for name, axis in axes.items()])
    low, high = np.array([[axis.low] for axis in axes.values()]), np.array([[axis.high] for axis in axes.values()])
    middle, reach = 0.5 * (low + high), high - low
    order = np.argsort(means)
    width = np.empty((len(means), len(constant)))
    np.put_along_axis(width, order, _bandwidths(np.take_along_axis(means, order, axis=1), reach), axis=1)
    width[:, -1:] = reach  # the prior's
    mean = np.concatenate([means, middle], axis=1)
    precision = 1.0 / width
    rest = np.log(precision) - _LOG_ROOT_TWO_PI
    rest -= log_mass_inside((low - mean) * precision, (high - mean) * precision)
    mean -= middle  # measured from the middle of the range less is lost where squares cancel
    scaled = mean * precision * precision
    rest -= 0.5 * mean * scaled
    x = np.array([axis.place(points[name]) for name, axis in axes.items()]) - middle
    # The squares (x - mu)^2 / sigma^2 of all parameters, multiplied out, are one product of matrices.
    of_points = np.concatenate([np.ones((1, x.shape[1])), x * x, x])
    of_kernels = np.concatenate([(constant + rest.sum(axis=0))[None], -0.5 * precision * precision, scaled])
    product: Floats = of_points.T @ of_kernels
    return product


def _of_steps(axis: _Axis, step: float, observed: Floats, points: Floats) -> Floats:
    """(points, kernels): the mass that each kernel has within half a step of each point."""
    means = axis.place(observed)
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
    left, right = axis.place(x - step / 2)[:, None], axis.place(x + step / 2)[:, None]
    mass = _log_mass((left - mean) / width, (right - mean) / width)  # (different points, different kernels)
    mass -= _log_mass((axis.low - mean) / width, (axis.high - mean) / width)
    return mass[place].take(kind, axis=1)


def _of_choices(observed: Floats, choices: int, points: Floats) -> Floats:
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


def _log_sum_exp(terms: Floats) -> Floats:
    """Over the last axis; overwrites its argument."""
    most = terms.max(axis=1)
    terms -= most[:, None]
    np.maximum(terms, _NOTHING, out=terms)
    np.exp(terms, out=terms)
    logarithm: Floats = np.log(terms.sum(axis=1)) + most
    return logarithm
