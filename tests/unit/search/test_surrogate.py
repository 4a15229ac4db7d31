"""The Gaussian processes of `auto`."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from search.surrogate import Observed, Surrogate, _overlaps

GROUPS = np.array([0, 1, 1, 2])  # a range, a choice of two, a range
NOWHERE = np.empty((0, 4))
CURVES = np.log([1e-4, 1e-4, 1.0, 1.0, 1e-4])


def data(count: int, seed: int = 3, missing: float = 1.0) -> Observed:
    """A value of each trial; only the first parameter matters."""
    draws = np.random.default_rng(seed)
    choice = draws.integers(2, size=count)
    features = np.column_stack([draws.random(count), 0.7 * choice, 0.7 * (1 - choice), draws.random(count)])
    targets = np.sin(6 * features[:, 0])
    return Observed(np.arange(count), features, targets - targets.mean(), missing * draws.random(count))


@pytest.mark.parametrize("log_weights", [[-3.0, -1.5], [-3.0, -1.5, -0.5, -0.2, -2.0]], ids=["standings", "curves"])
def test_the_slope_is_that_of_the_loss(log_weights: list[float]) -> None:
    observed = data(20)._replace(trials=np.arange(20) // 2)
    model = Surrogate(GROUPS, np.zeros(3), np.array(log_weights))
    place = np.array([-0.3, 0.4, 0.1, *log_weights])
    overlaps = _overlaps(observed.trials, observed.missing)

    _, slope = model._loss(observed, *overlaps, place)

    by_differences = approx_fprime(place, lambda each: model._loss(observed, *overlaps, each)[0], 1e-6)
    assert slope == pytest.approx(by_differences, rel=1e-3, abs=1e-3)


def test_it_finds_out_which_parameter_matters_and_predicts() -> None:
    observed, further = data(60, missing=0.0), data(50, seed=4)
    model = Surrogate(GROUPS, np.full(3, -0.4), np.array([-3.0, -3.0]))
    model.fit(observed, steps=40)
    model.condition(observed, NOWHERE)

    mean, deviation = model.predict(further.points)

    off = mean - further.targets
    assert model.log_scales[0] < min(model.log_scales[1:]) - 1
    assert np.abs(off - off.mean()).max() < 0.1
    assert deviation.max() < 0.3


def test_a_running_trial_changes_what_is_known_around_it_and_nothing_that_is_expected() -> None:
    observed = data(15)
    place, far = np.array([[0.5, 0.7, 0.0, 0.5]]), np.array([[0.1, 0.0, 0.7, 0.0]])
    model = Surrogate(GROUPS, np.full(3, -1.5), np.array([-3.0, -2.0]))
    model.condition(observed, NOWHERE)
    before = [model.predict(each) for each in (place, far)]
    model.condition(observed, place)
    after = [model.predict(each) for each in (place, far)]

    for old, new in zip(before, after, strict=True):
        assert new[0] == pytest.approx(old[0])
    assert after[0][1] < 0.5 * before[0][1]
    assert after[1][1] == pytest.approx(before[1][1], rel=0.05)


def test_what_was_trained_less_counts_less() -> None:
    """Two trials at one place: the model believes the one that came to its end."""
    features = np.array([[0.5, 0.7, 0.0, 0.5]] * 2 + [[0.0, 0.0, 0.7, 0.0]])
    model = Surrogate(GROUPS, np.full(3, -1.5), np.log([0.01, 1.0]))
    observed = Observed(np.arange(3), features, np.array([-1.0, 1.0, 0.0]), np.array([0.0, 0.8, 0.0]))
    model.condition(observed, NOWHERE)

    assert model.predict(features[:1])[0] < -0.9


def test_what_became_of_some_is_expected_of_their_neighbours() -> None:
    """Both places begin alike; one of two trials at each went on, and fell at one place and rose at the other."""
    falls, rises = [0.1, 0.7, 0.0, 0.5], [0.9, 0.7, 0.0, 0.5]
    trials = np.array([0, 0, 1, 2, 2, 3])
    targets, missing = np.array([0.0, -1.0, 0.0, 0.0, 1.0, 0.0]), np.array([0.8, 0.0, 0.8, 0.8, 0.0, 0.8])
    observed = Observed(trials, np.array([falls] * 3 + [rises] * 3), targets, missing)
    model = Surrogate(GROUPS, np.full(3, -1.5), CURVES)
    model.condition(observed, NOWHERE)

    expected = model.expected(np.arange(4), np.array([falls, falls, rises, rises]))

    assert expected == pytest.approx([-1, -1, 1, 1], abs=0.1)


def test_what_all_curves_do_is_expected_of_each_wherever_it_is() -> None:
    places = np.array([[x, 0.7, 0.0, 0.5] for x in (0.0, 0.0, 0.4, 0.4, 0.95)])
    targets, missing = np.array([1.0, 0.0, 1.5, 0.5, 1.0]), np.array([0.8, 0.0, 0.8, 0.0, 0.8])
    model = Surrogate(GROUPS, np.full(3, -2.5), np.log([1e-4, 1e-4, 1e-4, 5.0, 1e-4]))
    model.condition(Observed(np.array([0, 0, 1, 1, 2]), places, targets, missing), NOWHERE)

    assert model.predict(places[-1:])[0] == pytest.approx([0.0], abs=0.1)


def test_what_is_a_trials_own_is_expected_of_it_alone() -> None:
    place = np.array([[0.5, 0.7, 0.0, 0.5]])
    observed = Observed(np.arange(2), np.repeat(place, 2, axis=0), np.array([-1.0, 1.0]), np.zeros(2))
    model = Surrogate(GROUPS, np.zeros(3), np.log([1e-4, 1e-4, 1e-4, 1e-4, 5.0]))
    model.condition(observed, NOWHERE)

    assert model.expected(np.arange(2), np.repeat(place, 2, axis=0)) == pytest.approx([-1, 1], abs=0.05)
    assert model.predict(place)[0] == pytest.approx([0.0], abs=0.05)
