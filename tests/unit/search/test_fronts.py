"""Fronts and hypervolumes on points whose answers can be seen on paper."""

from __future__ import annotations

import numpy as np
import pytest

from search.fronts import best_first, front, hypervolumes, losses_of, ranks, reference_point
from search.sections import Objective

#   y
#   4  a . . .        a (1, 4), c (2, 2), e (4, 1) are beaten by none;
#   3  . . d .        b (2, 4) is beaten by a and c, d (3, 3) by c; neither beats the other;
#   2  . c . .        f (4, 4) is beaten by all.
#   1  . . . e
#      1 2 3 4  x
A, B, C, D, E, F = (1.0, 4.0), (2.0, 4.0), (2.0, 2.0), (3.0, 3.0), (4.0, 1.0), (4.0, 4.0)
POINTS = np.array([A, B, C, D, E, F])


def test_the_front_is_what_no_point_beats_and_the_next_what_only_that_beats():
    assert front(POINTS).tolist() == [True, False, True, False, True, False]
    assert ranks(POINTS).tolist() == [0, 1, 0, 1, 0, 2]


def test_equal_points_are_both_in_front():
    assert front(np.array([A, A, B])).tolist() == [True, True, False]


def test_maximized_objectives_turn_round():
    objectives = [Objective(metric="x", direction="minimize"), Objective(metric="y", direction="maximize")]

    assert losses_of(objectives, [[1.0, 4.0]]).tolist() == [[1.0, -4.0]]
    assert losses_of(objectives, []).shape == (0, 2)


def test_the_reference_point_lies_a_tenth_of_the_range_behind_the_worst():
    # x goes from 1 to 4, y has one value, and is given a range of 1
    assert reference_point(np.array([[1.0, 5.0], [4.0, 5.0]])).tolist() == pytest.approx([4.3, 5.1])


def test_the_hypervolume_grows_with_each_trial_that_changes_the_front():
    # before (5, 5): b covers 3 x 1; c, which beats b, 3 x 3; a adds the column x 1 to 2 of height 1; d nothing;
    # e adds the row y 1 to 2 of width 1
    volumes = hypervolumes(np.array([B, C, A, D, E]), np.array([5.0, 5.0]))

    assert volumes == [(0, 3.0), (1, 9.0), (2, 10.0), (4, 11.0)]


def test_what_lies_behind_the_reference_point_covers_nothing():
    assert hypervolumes(np.array([F, C]), np.array([3.0, 3.0])) == [(1, 1.0)]


def test_a_long_curve_of_hypervolumes_is_thinned_and_keeps_its_ends():
    steps = np.array([[1000.0 - place, place] for place in range(1000)])  # each is in front when it comes

    places = [place for place, _ in hypervolumes(steps, np.array([1001.0, 1001.0]))]

    assert (len(places), places[0], places[-1]) == (200, 0, 999)


def test_the_best_come_front_by_front_and_spread_over_each():
    # The first front is a, c, e: a is the best by x, e is the farthest from a, then c. The second is b, d, the third f.
    assert best_first(POINTS, 6) == [0, 4, 2, 1, 3, 5]
    assert best_first(POINTS, 2) == [0, 4]
    assert best_first(POINTS, 0) == []


def test_an_objective_of_thousands_does_not_outweigh_another_in_the_spread():
    # The ends of the front, then of two between them the one that lies farther away once each range is 1:
    # 3 is sqrt(0.1² + 0.5²) = 0.51 from 0, and 2 is sqrt(0.5² + 0.05²) = 0.502 from 1.
    losses = np.array([[0.0, 1.0], [1000.0, 0.0], [500.0, 0.05], [100.0, 0.5]])

    assert best_first(losses, 3) == [0, 1, 3]


def test_equal_points_are_each_taken_once():
    assert sorted(best_first(np.array([A, A, A, B]), 3)) == [0, 1, 2]
