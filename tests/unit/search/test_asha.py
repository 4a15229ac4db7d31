"""The rungs of asha by themselves, at 1, 3 and 9 steps: of n trials that came to one, the best n // 3 may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from search.asha import Direction, Rungs

Losses = Sequence[float]


def ladder(
    held: Mapping[int, Sequence[float | Losses]],
    directions: Sequence[Direction] = ("minimize",),
    least_complete: int = 0,
) -> Rungs:
    """By trial its values at the rungs that it has reached; at the last of them it waits."""
    rungs = Rungs(1, 27, 3, directions, least_complete)
    for number, reached in held.items():
        values = [list(each) if isinstance(each, Sequence) else [each] for each in reached]
        rungs.load(number, {"values": values, "promotions": len(values) - 1})
        rungs.wait(number)
    return rungs


FOUR_OF_TWELVE: dict[int, Sequence[float]] = {
    **{number: [0.1 * number, 0.1 * number] for number in range(3)},  # at 3: one of them may go on, the first
    **{number: [0.1 * number] for number in range(3, 12)},  # at 1: the best four of twelve may, three have
}


def test_the_highest_rung_that_has_one_to_promote_comes_first() -> None:
    rungs = ladder(FOUR_OF_TWELVE)
    order = []
    while (number := rungs.next()) is not None:
        order.append(number)
        rungs.promote(number)

    assert order == [0, 3]


def test_where_more_is_better_the_greatest_go_on() -> None:
    rungs = ladder(FOUR_OF_TWELVE, ["maximize"])

    # Of the greatest four at 1, which are 8 to 11, none has gone on yet; at 3 the greatest of three is 2.
    assert rungs.next() == 2
    rungs.promote(2)
    assert rungs.next() == 11


def test_a_first_report_beyond_a_rung_counts_at_that_rung_and_at_the_next() -> None:
    rungs = ladder({0: [0.5], 1: [0.6]})

    # It is the best of three at 1, and goes on; at 3 it is the only one.
    assert rungs.report(2, step=4, values=[0.1]) == "pause"
    assert rungs.stored(2) == {"values": [[0.1], [0.1]], "promotions": 1}


def test_a_trial_is_promoted_only_when_its_worker_has_let_go_of_it() -> None:
    rungs = ladder({0: [0.5]})

    assert rungs.report(1, step=1, values=[0.1]) == "pause"  # of two none may go on
    assert rungs.report(2, step=1, values=[0.9]) == "pause"  # of three one may: the one whose worker still has it
    assert rungs.next() is None
    rungs.wait(1)
    assert rungs.next() == 1


def test_where_the_best_of_a_front_has_gone_on_the_next_best_is_promoted() -> None:
    # Of six at 1 two may go on: 0, which beats all, has; 1 beats those after it.
    rungs = ladder({0: [(0, 0), (0, 0)], **{number: [(number, number)] for number in range(1, 6)}}, ["minimize"] * 2)

    assert rungs.next() == 1


def test_who_is_on_the_way_counts_among_those_who_will_be_complete_until_it_has_failed() -> None:
    rungs = ladder({1: [0.2], 2: [0.3]}, least_complete=1)
    rungs.load(0, {"values": [[0.1]], "promotions": 1})  # it runs, on its way to the rung at 3

    assert rungs.next(is_last=True) is None
    rungs.end(0, None)
    assert rungs.next(is_last=True) == 1


def test_who_has_come_to_its_end_counts_and_who_was_let_go_in_the_meantime_too() -> None:
    rungs = ladder({number: [0.1 * number] for number in range(3)}, least_complete=2)
    assert rungs.next(is_last=True) == 0
    rungs.promote(0)
    rungs.end(0, 0.05)
    assert rungs.next(is_last=True) == 1
    rungs.promote(1)

    assert rungs.next(is_last=True) is None


@pytest.mark.parametrize(("least_level", "found"), [(3.0, 0), (3.5, None)])
def test_from_the_lowest_rung_that_leaves_the_time_on_trials_are_promoted(
    least_level: float, found: int | None
) -> None:
    rungs = ladder(FOUR_OF_TWELVE)
    rungs.least_level = least_level

    assert rungs.next() == found
    assert rungs.next(is_last=True) == found


@pytest.mark.parametrize(("least_level", "decision"), [(3.0, "continue"), (3.5, "pause")])
def test_a_trial_leaves_a_rung_at_once_only_where_there_is_the_time(least_level: float, decision: str) -> None:
    rungs = ladder({0: [0.5, 0.5], 1: [0.6, 0.6]})
    rungs.load(2, {"values": [[0.1]], "promotions": 1})
    rungs.least_level = least_level

    assert rungs.report(2, step=3, values=[0.1]) == decision  # the best of three at 3


def test_who_waits_at_a_higher_rung_is_not_on_its_way_after_a_restart_either() -> None:
    ladder = Rungs(1, 9, 3, ["minimize"], least_complete=1)
    ladder.load(0, {"values": [[0.5], [0.5]], "promotions": 1})
    ladder.wait(0)

    assert ladder.next() is None
    assert ladder.next(is_last=True) == 0
