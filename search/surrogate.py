"""A Gaussian process over where trials stand: what a point may come to, and how little is known about it.

The kernel is Matérn's of smoothness 5/2, with a length scale for each parameter (Rasmussen and Williams 2006, equation
4.17, section 5.1). An observation is noisier the more of its training is missing. Scales and noises maximise the
marginal likelihood (equation 5.8) under wide log-normal priors; the variance of the signal follows from them.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtrtri

Floats = NDArray[np.float64]

SCALE, SCALE_WIDTH, SCALE_BOUNDS = math.log(0.7), 1.0, (math.log(0.05), math.log(20.0))  # logs, of the unit cube
NOISE, NOISE_WIDTH, NOISE_BOUNDS = np.log([0.01, 0.1]), 1.5, (math.log(1e-4), math.log(5.0))  # relative to the signal
JITTER = 1e-6
ROOT_FIVE = math.sqrt(5.0)


class Surrogate:
    """`log_scales`: (parameters,). `log_noises`: (2,), that of a whole training and what an untrained one adds."""

    def __init__(self, groups: NDArray[np.intp], log_scales: Floats, log_noises: Floats) -> None:
        """
        Args:
            groups: (features,), the parameter that each feature belongs to.
        """
        self._groups = groups
        self.log_scales, self.log_noises = log_scales, log_noises

    def fit(self, features: Floats, targets: Floats, missing: Floats, steps: int) -> None:
        """Improve scales and noises by so many steps of iRprop- (Igel and Hüsken 2000), from where they are.

        Args:
            features: (trials, features).
            targets: (trials,), smaller is better, of mean 0.
            missing: (trials,), in [0, 1]: the share of the training that is missing.
        """
        parameters = len(self.log_scales)
        low = np.r_[np.full(parameters, SCALE_BOUNDS[0]), [NOISE_BOUNDS[0]] * 2]
        high = np.r_[np.full(parameters, SCALE_BOUNDS[1]), [NOISE_BOUNDS[1]] * 2]
        place = np.r_[self.log_scales, self.log_noises]
        stride, before = np.full(len(place), 0.15), np.zeros(len(place))
        best = math.inf
        for _ in range(steps):
            loss, slope = self._loss(features, targets, missing, place)
            if loss < best:
                best, self.log_scales, self.log_noises = loss, place[:parameters], place[parameters:]
            turned = slope * before
            stride = np.where(turned > 0, np.minimum(1.3 * stride, 0.6), np.where(turned < 0, 0.5 * stride, stride))
            before = np.where(turned < 0, 0.0, slope)
            place = np.clip(place - np.sign(before) * stride, low, high)

    def condition(self, features: Floats, targets: Floats, missing: Floats, running: Floats) -> None:
        """Learn the observations. Of `running`, (points, features), only the places are known.

        They are taken for what is expected there: so no mean changes, and what is known about their surroundings does.
        """
        self._features = np.concatenate([features, running])
        noise = np.r_[_noise(self.log_noises, missing), np.full(len(running), math.exp(self.log_noises[0]))]
        covariance = _matern(self._squares(self._features, self._features))
        covariance[np.diag_indices(len(noise))] += noise + JITTER
        self._inverse = dtrtri(np.linalg.cholesky(covariance), lower=1)[0]
        white = np.zeros(len(noise))
        white[: len(targets)] = self._inverse[: len(targets), : len(targets)] @ targets
        self._weights = self._inverse.T @ white
        self._variance = max(float(white @ white) / max(len(targets), 1), JITTER)

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """(points,): the mean and the standard deviation of a whole training's target, without its noise."""
        kernel = _matern(self._squares(features, self._features))
        spread = kernel @ self._inverse.T
        left = np.maximum(1 - np.einsum("ij,ij->i", spread, spread), 1e-9)
        deviation: Floats = np.sqrt(self._variance * left)
        return kernel @ self._weights, deviation

    def _squares(self, a: Floats, b: Floats) -> Floats:
        """(len(a), len(b)): squared distances in length scales."""
        scale = np.exp(-self.log_scales)[self._groups]
        return _squares(a * scale, b * scale)

    def _loss(self, features: Floats, targets: Floats, missing: Floats, place: Floats) -> tuple[float, Floats]:
        """Minus the log of the posterior density of scales and noises, but for a constant, and its gradient."""
        parameters = len(place) - 2
        scales, noises = place[:parameters], place[parameters:]
        inverse_scale = np.exp(-scales)[self._groups]
        scaled = features * inverse_scale
        root = ROOT_FIVE * np.sqrt(_squares(scaled, scaled))
        decay = np.exp(-root)
        covariance = (1 + root + root * root / 3) * decay
        covariance[np.diag_indices(len(targets))] += _noise(noises, missing) + JITTER
        inverse = np.linalg.inv(covariance)
        weights = inverse @ targets
        variance = max(float(targets @ weights) / len(targets), JITTER)
        half_log_determinant = float(np.log(np.diag(np.linalg.cholesky(covariance))).sum())
        off = np.r_[(scales - SCALE) / SCALE_WIDTH, (noises - NOISE) / NOISE_WIDTH]
        loss = 0.5 * len(targets) * math.log(variance) + half_log_determinant + 0.5 * float(off @ off)
        pull = np.outer(weights, weights) / variance - inverse
        by_squares = pull * (5 / 3) * (1 + root) * decay  # times a parameter's squared distance: by its log scale
        total = (scaled * scaled * by_squares.sum(axis=1)[:, None] - scaled * (by_squares @ scaled)).sum(axis=0)
        slope = off / np.r_[np.full(parameters, SCALE_WIDTH), [NOISE_WIDTH] * 2]
        slope[:parameters] -= np.bincount(self._groups, total, minlength=parameters)
        slope[parameters:] -= 0.5 * np.exp(noises) * [np.trace(pull), float(np.diag(pull) @ missing)]
        return loss, slope


def _noise(log_noises: Floats, missing: Floats) -> Floats:
    whole, untrained = np.exp(log_noises)
    noise: Floats = whole + untrained * missing
    return noise


def _squares(a: Floats, b: Floats) -> Floats:
    squares: Floats = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    return np.maximum(squares, 0, out=squares)


def _matern(squares: Floats) -> Floats:
    root = ROOT_FIVE * np.sqrt(squares)
    kernel: Floats = (1 + root + root * root / 3) * np.exp(-root)
    return kernel
