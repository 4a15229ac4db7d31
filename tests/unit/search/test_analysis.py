"""Importances of parameters, of values that a search can come to."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from search.analysis import importances
from search.definition import parse
from tests.yard import METRIC, study

DEFINITION = parse(study(parameters={"x": {"low": 0.0, "high": 1.0}, "k": {"values": ["a", "b"]}}))
# Only x makes a difference: it is below a half, or not
POINTS = [({"x": place / 20, "k": "ab"[place % 2]}, float(place >= 10)) for place in range(20)]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.7e308, 1.7e308), (0.0, 1e200), (0.0, 1e-200), (5.0, 1e30)])
def test_the_variance_is_divided_whatever_the_values_scale(low: float, high: float) -> None:
    trials = [(parameters, high if is_high else low) for parameters, is_high in POINTS]

    shares = importances(DEFINITION, DEFINITION.objective, trials, "fanova")

    assert list(shares) == ["x", "k"]
    assert shares["x"] > 0.9
    assert sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.parametrize("values", [[1.0] * 20, [0.0] * 20])
def test_of_values_that_are_all_the_same_no_parameter_has_more(values: list[float]) -> None:
    trials = [(parameters, value) for (parameters, _), value in zip(POINTS, values, strict=True)]

    for method in ("ped_anova", "fanova"):
        assert importances(DEFINITION, DEFINITION.objective, trials, method) == {"x": 0.5, "k": 0.5}


def test_of_trials_with_the_same_parameters_too() -> None:
    trials = [({"x": 0.5, "k": "a"}, float(number)) for number in range(5)]

    assert importances(DEFINITION, DEFINITION.objective, trials, "fanova") == {"x": 0.5, "k": 0.5}


@pytest.mark.parametrize(("direction", "first"), [("minimize", "x"), ("maximize", "z")])
def test_what_the_best_trials_have_in_common_decides(direction: Literal["minimize", "maximize"], first: str) -> None:
    """The smallest values are those of small x, whatever z is, and the largest those of small z."""
    space = {"x": {"low": 0.0, "high": 1.0}, "z": {"low": 0.0, "high": 1.0}}
    definition = parse(study(parameters=space, objective={"metric": METRIC, "direction": direction}))
    points = [(x / 20, z / 20) for x in range(20) for z in range(20)]
    trials = [({"x": x, "z": z}, -1.0 if x < 0.1 else 1.0 if z < 0.1 else 0.1 * (x - z)) for x, z in points]

    shares = importances(definition, definition.objective, trials)

    assert next(iter(shares)) == first
    assert shares[first] > 0.7


def test_the_same_trials_say_the_same_each_time() -> None:
    draws = np.random.default_rng(1)
    trials = [({"x": draws.random(), "k": "ab"[place % 2]}, draws.random()) for place in range(30)]

    first, second = (importances(DEFINITION, DEFINITION.objective, trials, "fanova") for _ in range(2))

    assert first == second


@pytest.mark.parametrize("points", [POINTS[:0], POINTS[:1], [({"x": 7.0, "k": "a"}, 0.5)] * 3])
def test_fewer_than_two_trials_of_the_space_say_nothing(points: list[tuple[dict[str, Any], float]]) -> None:
    for method in ("ped_anova", "fanova"):
        assert importances(DEFINITION, DEFINITION.objective, points, method) == {}
