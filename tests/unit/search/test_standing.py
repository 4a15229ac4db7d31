"""Trials in one order, whatever the resource that they have come to."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search.standing import standings

_ = math.nan


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # One level: three trials in the middles of three thirds.
        ([[3.0], [1.0], [2.0]], [5 / 6, 1 / 6, 3 / 6]),
        # 1 and 0 go on and change places; 2 keeps the place between that it has from the first level.
        ([[3.0, 5.0], [1.0, 9.0], [2.0, _]], [1 / 6, 5 / 6, 3 / 6]),
        # A value at a later level is never compared with one at an earlier: 0.1 beside 7 says nothing.
        ([[1.0, 7.0], [2.0, 8.0], [0.1, _]], [3 / 6, 5 / 6, 1 / 6]),
        # Equal values share the mean of 1/6 and 3/6.
        ([[1.0], [1.0], [2.0]], [2 / 6, 2 / 6, 5 / 6]),
        # 2 has no value but its end: among the two that came there it is the better one, at 1/4.
        ([[1.0, 4.0], [2.0, _], [_, 3.0]], [1 / 4, 3 / 4, 1 / 4]),
        # Nothing is known of 1.
        ([[5.0], [_]], [1 / 2, _]),
    ],
)
def test_each_level_puts_those_that_came_into_a_new_order_over_their_places(
    values: list[list[float]], expected: list[float]
) -> None:
    assert standings(np.array(values)) == pytest.approx(expected, nan_ok=True)


def test_a_monotone_change_of_the_metric_changes_no_standing() -> None:
    values = np.random.default_rng(1).normal(size=(40, 3))
    values[20:, 1:], values[30:, 2:] = math.nan, math.nan

    assert np.array_equal(standings(values), standings(np.exp(5 * values)))
