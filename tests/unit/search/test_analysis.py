"""Importances of parameters, of values that a search can come to."""

from __future__ import annotations

import pytest

from search.analysis import importances
from search.definition import parse
from tests.yard import study

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
