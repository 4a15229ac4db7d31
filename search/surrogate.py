"""A Gaussian process over where trials stand, or what they came to: what a point may come to, and how sure that is.

The kernel is Matérn's of smoothness 5/2, k, with a length scale for each parameter (Rasmussen and Williams 2006,
equation 4.17, section 5.1). Of observations i and j of which the shares m of a training are missing the covariance is

    k (1 + drift m) + common m + [same trial] (own + untrained m) + [i = j] noise,    m = min(m_i, m_j)

So a curve is a Brownian motion from its end backwards: what is added by `drift` depends on the point, `common` is the
same for all trials, `own` and `untrained` are a trial's alone. Scales and weights maximise the marginal likelihood
(equation 5.8) under wide log-normal priors; the variance of the signal follows from them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

Floats = NDArray[np.float64]

SCALE, SCALE_WIDTH, SCALE_BOUNDS = math.log(0.7), 1.0, (math.log(0.05), math.log(20.0))  # logs, of the unit cube
# Logs, relative to the signal: noise, untrained; drift, common, own.
WEIGHTS, WEIGHT_WIDTH, WEIGHT_BOUNDS = np.log([0.01, 0.1, 0.3, 1.0, 0.03]), 1.5, (math.log(1e-4), math.log(5.0))
FIRST_STRIDE, LONGEST_STRIDE = 0.15, 0.6  # of the fit
JITTER = 1e-6
ROOT_FIVE = math.sqrt(5.0)


class Observed(NamedTuple):
    """What a model learns from: one value of each trial, or several."""

    trials: NDArray[np.intp]  # (observations,), their numbers
    points: Floats  # (observations, parameters), or features in the place of parameters
    targets: Floats  # (observations,), normal scores: about 0, smaller is better
    missing: Floats  # (observations,), in [0, 1]: the share of a training that is still to be done

    def of(self, trials: NDArray[np.intp]) -> Observed:
        """Those of some trials alone."""
        some = np.isin(self.trials, trials)
        return Observed(self.trials[some], self.points[some], self.targets[some], self.missing[some])


class Surrogate:
    """`log_scales`: (parameters,). `log_weights`: of noise and what is untrained, and for whole curves all five."""

    def __init__(self, groups: NDArray[np.intp], log_scales: Floats, log_weights: Floats) -> None:
        """
        Args:
            groups: (features,), the parameter that each feature belongs to.
        """
        self._groups = groups
        self.log_scales, self.log_weights = log_scales, log_weights

    def fit(self, observed: Observed, steps: int) -> None:
        """Improve scales and weights by so many steps of iRprop- (Igel and Hüsken 2000), from where they are."""
        parameters, weights = len(self.log_scales), len(self.log_weights)
        low = np.repeat([SCALE_BOUNDS[0], WEIGHT_BOUNDS[0]], [parameters, weights])
        high = np.repeat([SCALE_BOUNDS[1], WEIGHT_BOUNDS[1]], [parameters, weights])
        place = np.r_[self.log_scales, self.log_weights]
        stride, before = np.full(len(place), FIRST_STRIDE), np.zeros(len(place))
        shared, same = _overlaps(observed.trials, observed.missing)
        best = math.inf
        for _ in range(steps):
            loss, slope = self._loss(observed, shared, same, place)
            if loss < best:
                best, self.log_scales, self.log_weights = loss, place[:parameters], place[parameters:]
            turned = slope * before
            longer = np.minimum(1.3 * stride, LONGEST_STRIDE)
            stride = np.where(turned > 0, longer, np.where(turned < 0, 0.5 * stride, stride))
            before = np.where(turned < 0, 0.0, slope)
            place = np.clip(place - np.sign(before) * stride, low, high)

    def condition(self, observed: Observed, running: Floats) -> None:
        """Learn the observations. Of `running`, (points, features), only the places are known.

        They are taken for what is expected there: so no mean changes, and what is known about their surroundings does.
        """
        count = len(observed.targets)
        self._trials = np.r_[observed.trials, -1 - np.arange(len(running))]
        self._scaled = self._scale(np.concatenate([observed.points, running]))
        missing = np.r_[observed.missing, np.zeros(len(running))]
        kernel = _matern(_squares(self._scaled, self._scaled))
        self._inverse = dtrtri(
            np.linalg.cholesky(self._covariance(kernel, *_overlaps(self._trials, missing))), lower=1
        )[0]
        white = np.zeros(len(missing))
        white[:count] = self._inverse[:count, :count] @ observed.targets
        self._solved = self._inverse.T @ white
        self._variance = max(float(white @ white) / max(count, 1), JITTER)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """(points,): the mean and the standard deviation of a whole training's target, without its noise."""
        kernel = self._kernel(features)
        spread = kernel @ self._inverse.T
        left = np.maximum(1 - np.einsum("ij,ij->i", spread, spread), 1e-9)
        deviation: Floats = np.sqrt(self._variance * left)
        return kernel @ self._solved, deviation

    def expected(self, trials: NDArray[np.intp], features: Floats) -> Floats:
        """(trials,): what trials that it has learnt are expected to come to: their points, and what is their own."""
        own = _padded(self.log_weights)[-1] * (trials[:, None] == self._trials)
        mean: Floats = (self._kernel(features) + own) @ self._solved
        return mean

    def _kernel(self, features: Floats) -> Floats:
        """(points, observations)."""
        return _matern(_squares(self._scale(features), self._scaled))

    def _scale(self, features: Floats) -> Floats:
        """In length scales."""
        scaled: Floats = features * np.exp(-self.log_scales)[self._groups]
        return scaled

    def _covariance(self, kernel: Floats, shared: Floats, same: Floats, log_weights: Floats | None = None) -> Floats:
        noise, untrained, drift, common, own = _padded(self.log_weights if log_weights is None else log_weights)
        covariance: Floats = kernel * (1 + drift * shared) + common * shared + same * (own + untrained * shared)
        covariance[np.diag_indices(len(covariance))] += noise + JITTER
        return covariance

    def _loss(self, observed: Observed, shared: Floats, same: Floats, place: Floats) -> tuple[float, Floats]:
        """Minus the log of the posterior density of scales and weights, but for a constant, and its gradient."""
        parameters, targets = len(self.log_scales), observed.targets
        scales, log_weights = place[:parameters], place[parameters:]
        scaled = observed.points * np.exp(-scales)[self._groups]
        root = ROOT_FIVE * np.sqrt(_squares(scaled, scaled))
        decay = np.exp(-root)
        kernel = (1 + root + root * root / 3) * decay
        covariance = self._covariance(kernel, shared, same, log_weights)
        inverse = np.linalg.inv(covariance)
        solved = inverse @ targets
        variance = max(float(targets @ solved) / len(targets), JITTER)
        half_log_determinant = float(np.log(np.diag(np.linalg.cholesky(covariance))).sum())
        off = np.r_[(scales - SCALE) / SCALE_WIDTH, (log_weights - WEIGHTS[: len(log_weights)]) / WEIGHT_WIDTH]
        loss = 0.5 * len(targets) * math.log(variance) + half_log_determinant + 0.5 * float(off @ off)
        pull = np.outer(solved, solved) / variance - inverse
        weights = _padded(log_weights)
        # Times a parameter's squared distance: by its log scale.
        by_squares = pull * (5 / 3) * (1 + root) * decay * (1 + weights[2] * shared)
        total = (scaled * scaled * by_squares.sum(axis=1)[:, None] - scaled * (by_squares @ scaled)).sum(axis=0)
        slope = off / np.r_[np.full(parameters, SCALE_WIDTH), np.full(len(log_weights), WEIGHT_WIDTH)]
        slope[:parameters] -= np.bincount(self._groups, total, minlength=parameters)
        pulls = pull * shared
        by_weight = [np.trace(pull), (pulls * same).sum(), (pulls * kernel).sum(), pulls.sum(), (pull * same).sum()]
        slope[parameters:] -= 0.5 * (weights * by_weight)[: len(log_weights)]
        return loss, slope


def _padded(log_weights: Floats) -> Floats:
    """(5,): the weights; those that are not given are 0."""
    weights = np.zeros(len(WEIGHTS))
    weights[: len(log_weights)] = np.exp(log_weights)
    return weights


def _overlaps(trials: NDArray[np.intp], missing: Floats) -> tuple[Floats, Floats]:
    """(observations, observations): the share that is missing of both; 1 where both are of one trial, else 0."""
    return np.minimum(missing[:, None], missing), (trials[:, None] == trials).astype(float)


def _squares(a: Floats, b: Floats) -> Floats:
    squares: Floats = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(squares, 0, out=squares)


def _matern(squares: Floats) -> Floats:
    root = ROOT_FIVE * np.sqrt(squares)
    kernel: Floats = (1 + root + root * root / 3) * np.exp(-root)
    return kernel
