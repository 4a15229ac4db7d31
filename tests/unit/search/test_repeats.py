"""Trials that came to exactly what others had come to."""

from __future__ import annotations

import math
from itertools import permutations

import pytest

from search.repeats import Repeats, rounded

SAME = {1: 0.9, 2: 0.7, 3: 0.6}


def test_who_was_proposed_first_is_no_repeat_whatever_the_order_of_the_reports() -> None:
    shown = {3: SAME, 5: {**SAME, 4: 0.5}, 8: SAME, 9: {1: 0.9, 2: 0.7, 3: 0.61}}
    for order in permutations(shown):
        repeats = Repeats()
        for number in order:
            repeats.note(number, shown[number])

        assert [number in repeats for number in shown] == [False, True, True, False]
        assert repeats.share == 2 / 4


def test_what_differs_by_rounding_alone_is_the_same() -> None:
    repeats = Repeats()
    repeats.note(0, SAME)
    repeats.note(1, {step: math.exp(2 * math.log(value) / 2) * (1 + 1e-12) for step, value in SAME.items()})
    repeats.note(2, {step: value * (1 + 1e-5) for step, value in SAME.items()})

    assert [number in repeats for number in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    "reports",
    [{1: 0.9, 2: 0.7}, {1: 2.3, 2: 2.3, 3: 2.3}, {1: math.inf, 2: math.inf, 3: math.inf}],
    ids=["too few reports", "it does not move", "it has diverged"],
)
def test_some_trials_show_too_little_to_be_repeats(reports: dict[int, float]) -> None:
    repeats = Repeats()
    for number in range(3):
        repeats.note(number, reports)

    assert not any(number in repeats for number in range(3))
    assert repeats.share == 0


def test_a_trial_that_is_taken_up_again_shows_something_else() -> None:
    repeats = Repeats()
    for number in range(3):
        repeats.note(number, SAME)
    repeats.note(0, {})

    assert [number in repeats for number in range(3)] == [False, False, True]

    repeats.note(1, {1: 0.8, 2: 0.5, 3: 0.4})

    assert [number in repeats for number in range(3)] == [False, False, False]
    assert repeats.share == 0


@pytest.mark.parametrize("value", [0.0, -1.5, 1e300, math.inf, 123456.7])
def test_a_value_of_seven_digits_is_kept(value: float) -> None:
    assert rounded(value) == value


def test_the_first_reports_are_those_of_the_first_steps_in_whatever_order_they_came() -> None:
    repeats = Repeats()
    repeats.note(0, {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.6})
    repeats.note(1, {4: 0.5, 3: 0.7, 1: 0.9, 2: 0.8})

    assert 1 in repeats
