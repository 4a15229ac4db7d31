"""The Gaussian process of `auto`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from search.surrogate import Surrogate

GROUPS = np.array([0, 1, 1, 2])  # a range, a choice of two, a range


def data(count: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Only the first parameter matters."""
    draws = np.random.default_rng(seed)
    choice = draws.integers(2, size=count)
    features = np.column_stack([draws.random(count), 0.7 * choice, 0.7 * (1 - choice), draws.random(count)])
    targets = np.sin(6 * features[:, 0])
    return features, targets - targets.mean(), draws.random(count)


def test_the_slope_is_that_of_the_loss() -> None:
    features, targets, missing = data(20)
    model = Surrogate(GROUPS, np.zeros(3), np.zeros(2))
    place = np.array([-0.3, 0.4, 0.1, -3.0, -1.5])

    _, slope = model._loss(features, targets, missing, place)

    by_differences = approx_fprime(place, lambda each: model._loss(features, targets, missing, each)[0], 1e-6)
    assert slope == pytest.approx(by_differences, rel=1e-3, abs=1e-3)


def test_it_finds_out_which_parameter_matters_and_predicts() -> None:
    features, targets, _ = data(60)
    model = Surrogate(GROUPS, np.full(3, -0.4), np.array([-3.0, -3.0]))
    model.fit(features, targets, np.zeros(60), steps=40)
    model.condition(features, targets, np.zeros(60), features[:0])
    further, expected, _ = data(50, seed=4)

    mean, deviation = model.predict(further)

    assert model.log_scales[0] < min(model.log_scales[1:]) - 1
    assert np.abs(mean - expected - (mean - expected).mean()).max() < 0.1
    assert deviation.max() < 0.3


def test_a_running_trial_changes_what_is_known_around_it_and_nothing_that_is_expected() -> None:
    features, targets, missing = data(15)
    place, far = np.array([[0.5, 0.7, 0.0, 0.5]]), np.array([[0.1, 0.0, 0.7, 0.0]])
    model = Surrogate(GROUPS, np.full(3, -1.5), np.array([-3.0, -2.0]))
    model.condition(features, targets, missing, features[:0])
    before = [model.predict(each) for each in (place, far)]
    model.condition(features, targets, missing, place)
    after = [model.predict(each) for each in (place, far)]

    for old, new in zip(before, after, strict=True):
        assert new[0] == pytest.approx(old[0])
    assert after[0][1] < 0.5 * before[0][1]
    assert after[1][1] == pytest.approx(before[1][1], rel=0.05)


def test_what_was_trained_less_counts_less() -> None:
    """Two trials at one place: the model believes the one that came to its end."""
    features = np.array([[0.5, 0.7, 0.0, 0.5]] * 2 + [[0.0, 0.0, 0.7, 0.0]])
    model = Surrogate(GROUPS, np.full(3, -1.5), np.log([0.01, 1.0]))
    model.condition(features, np.array([-1.0, 1.0, 0.0]), np.array([0.0, 0.8, 0.0]), features[:0])

    assert model.predict(features[:1])[0] < -0.9
