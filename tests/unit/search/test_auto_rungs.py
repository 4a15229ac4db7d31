"""Under `auto`, asha's rungs are judged by trials that pass them freely, and let no more than their share up."""

from __future__ import annotations

import random

import pytest

from search.auto_rungs import AutoRungs


def rungs() -> AutoRungs:
    return AutoRungs(1, 9, 3, ["minimize"])  # at 1 and 3


def climb(
    ladder: AutoRungs, number: int, values: list[float], at_random: bool = False, uncompared: bool = False
) -> int:
    """Report until the trial pauses; how many epochs it came to."""
    ladder.welcome(number, at_random, uncompared)
    for step, value in enumerate(values, 1):
        ladder.report(number, step, [value])
        if ladder.is_held(number):
            ladder.wait(number)
            return step
    ladder.end(number, values[-1])
    return len(values)


@pytest.mark.parametrize(("tells", "first"), [(True, 0), (False, 1)])
def test_a_rung_that_says_nothing_about_the_next_is_passed_by_all(tells: bool, first: int) -> None:
    ladder, draws = rungs(), random.Random(4)
    for number in range(30):
        end = draws.random()
        assert climb(ladder, number, [end if tells else draws.random(), end, *[end] * 7], at_random=True) >= 3

    assert ladder.first == first
    assert climb(ladder, 30, [0.99] * 9) == (1, 3)[first]


def test_no_rung_tells_anything_where_only_the_end_counts() -> None:
    ladder, draws = rungs(), random.Random(7)
    while ladder.first == 0:
        climb(ladder, len(ladder._climbs), [draws.random() for _ in range(9)], at_random=True)
    assert ladder.first == 1
    for _ in range(40):
        climb(ladder, len(ladder._climbs), [draws.random() for _ in range(9)], at_random=True)

    assert ladder.first == 2
    assert climb(ladder, 1000, [9.0] * 9) == 9


def test_trials_that_get_better_and_better_are_not_all_trained_to_their_end() -> None:
    """By asha's rule each is the best of its rung when it comes, and goes on. A third of 30 are 10, of 10 are 3.

    Each is a leader too; what these cost is bounded.
    """
    ladder = rungs()
    epochs: list[int] = []
    for number in range(30):
        epochs.append(climb(ladder, number, [-float(number)] * 9))
        while (promoted := ladder.next()) is not None:
            ladder.promote(promoted)
            for step in range(epochs[promoted] + 1, 10):
                epochs[promoted] = step
                ladder.report(promoted, step, [-float(promoted)])
                if ladder.is_held(promoted):
                    ladder.wait(promoted)
                    break

    led = sum(ladder.stored(number)["led"] for number in range(30))
    assert 0 < led <= 0.35 * sum(epochs)
    assert sum(epochs) - led <= 30 + 10 * 2 + 3 * 6


def test_the_best_of_a_rung_goes_on_when_leaders_may_cost_its_way_to_the_next() -> None:
    ladder = AutoRungs(1, 9, 1000, ["minimize"])  # one rung, with no place for anybody
    for number in range(22):
        climb(ladder, number, [0.9 - 0.01 * number])
    assert ladder.next() is None  # 8 steps are more than 0.35 of 22

    assert climb(ladder, 22, [0.5] * 9) == 9  # at once
    assert ladder.next() is None  # 21 is the best of those that wait, and not of all that came
    assert climb(ladder, 23, [0.4] * 9) == 1  # 16 are more than 0.35 of 32


@pytest.mark.parametrize(("least_level", "epochs"), [(3.0, 9), (3.5, 3)])
def test_a_trial_that_may_pass_a_rung_freely_waits_there_where_the_end_is_too_far(
    least_level: float, epochs: int
) -> None:
    ladder = AutoRungs(3, 9, 3, ["minimize"])
    ladder.least_level = least_level

    assert climb(ladder, 0, [0.5] * 9, at_random=True) == epochs


def test_a_leader_is_the_best_of_random_and_other_trials_that_can_still_come_to_its_end() -> None:
    ladder = AutoRungs(1, 9, 1000, ["minimize"])
    for number in range(30):  # 30 steps: leaders may cost 10
        ladder.load(number, {"values": [[float(number)]], "promotions": 0, "free": 0, "at_random": number == 0})
    ladder.wait(1)
    assert ladder.next() is None  # 0 is better, and somebody works at it
    ladder.wait(0)
    assert ladder.next() == 0
    ladder.least_level = 2

    assert ladder.next() is None


@pytest.mark.parametrize(("order", "found"), [(1, 17), (-1, None)])
def test_leaders_begin_at_the_first_rung_that_tells(order: int, found: int | None) -> None:
    ladder = rungs()
    for number in range(11):  # at 3 in the same order as at 1, or in the opposite one
        reached = {"values": [[float(number)], [float(order * number)]], "promotions": 1}
        ladder.load(number, reached | {"free": 1, "at_random": False})
    for number in range(11, 17):  # as many as the first rung has places
        ladder.load(number, {"values": [[5.0], [5.0]], "promotions": 1, "free": 0, "at_random": False})
    ladder.load(17, {"values": [[-1.0]], "promotions": 0, "free": 0, "at_random": False})
    ladder.wait(17)

    assert ladder.next() == found


def test_of_the_leaders_of_two_rungs_that_of_the_higher_one_goes_on() -> None:
    ladder = rungs()
    for number in (0, 1):
        ladder.load(number, {"values": [[0.6], [0.6]], "promotions": 2, "free": 0, "at_random": False})
        ladder.end(number, 0.6)
    ladder.load(2, {"values": [[0.5], [0.1]], "promotions": 1, "free": 0, "at_random": False})
    ladder.load(3, {"values": [[0.0]], "promotions": 0, "free": 0, "at_random": False})
    for number in (3, 2):
        ladder.wait(number)

    assert ladder.next() == 2  # leaders may cost 7.7 of 9 + 9 + 3 + 1 steps, and its way to the end has 6


def test_a_trial_that_ends_twice_has_run_once() -> None:
    """A worker may tell its end again."""
    ladder = AutoRungs(1, 9, 1000, ["minimize"])
    climb(ladder, 0, [0.1] * 9, at_random=True)
    ladder.end(0, 0.1)
    for number in range(1, 14):
        climb(ladder, number, [0.01 * number])

    assert ladder.next() is None  # 8 steps are more than 0.35 of 9 + 13


def test_who_goes_on_in_the_share_of_its_rung_is_no_leader() -> None:
    ladder = rungs()
    for number in range(9):  # leaders may cost 3.15 steps, and the way to the next rung has 2
        ladder.load(number, {"values": [[float(number)]], "promotions": 0, "free": 0, "at_random": False})
        ladder.wait(number)
    ladder.promote(0)

    assert ladder.stored(0)["led"] == 0


def test_random_trials_are_compared_among_themselves() -> None:
    ladder = rungs()
    for number in range(8):
        climb(ladder, number, [0.1] * 9)
    first = [climb(ladder, number, [0.5, 0.5, 0.9 - 0.01 * number] + [0.5] * 6, at_random=True) for number in (8, 9)]

    assert (first, climb(ladder, 10, [0.5, 0.5, 0.2] + [0.5] * 6, at_random=True)) == ([3, 3], 9)


@pytest.mark.parametrize(("free", "trials", "first"), [(0, 10, 0), (1, 9, 0), (1, 10, 1)])
def test_a_rung_is_judged_by_ten_that_passed_it_without_being_compared(free: int, trials: int, first: int) -> None:
    ladder = rungs()
    for number in range(trials):  # at 3 in the opposite order
        reached = {"values": [[float(number)], [-float(number)]], "promotions": 1}
        ladder.load(number, reached | {"free": free, "at_random": False})

    assert ladder.first == first


def climbed(seed: int, noise: float) -> tuple[AutoRungs, dict[int, float]]:
    """Nine that wait at 1, and 90 random trials, of which a third go on from 3: so far all values of one are the same.

    With the ends that these came to.
    """
    ladder, draws = rungs(), random.Random(seed)
    values = {number: draws.gauss(0, 1) for number in range(9, 99)}
    ends = {number: value + noise * draws.gauss(0, 1) for number, value in values.items()}
    came = {}
    for number in range(9):
        climb(ladder, number, [5.0])
    for number, value in values.items():
        if climb(ladder, number, [value] * 3 + [ends[number]] * 6, at_random=True) == 9:
            came[number] = ends[number]
        while (promoted := ladder.next()) in values:
            ladder.promote(promoted)
            ladder.end(promoted, ends[promoted])
            came[promoted] = ends[promoted]
    return ladder, came


@pytest.mark.parametrize("seed", range(10))
def test_a_higher_rung_that_says_little_about_the_end_is_passed_by_all(seed: int) -> None:
    ladder, _ = climbed(seed, noise=3.0)

    assert ladder.first == 0
    assert climb(ladder, 99, [9.0] * 9) == 1
    assert climb(ladder, 100, [-9.0] * 2 + [9.0] * 7) == 9


def test_a_higher_rung_is_judged_by_all_though_only_its_best_come_to_the_end() -> None:
    """The correlation is 0.93, and less than 0.8 among those that go on: a third, and who came before it was known."""
    searches = [climbed(seed, noise=0.4) for seed in range(10)]

    assert sum(len(ends) for _, ends in searches) <= 10 * 36
    assert [climb(ladder, 99, [-9.0] * 2 + [9.0] * 7) for ladder, _ in searches] == [3] * 10


def test_what_is_known_of_a_higher_rung_is_known_again_after_a_restart() -> None:
    (ladder, ends), again = climbed(4, noise=3.0), rungs()
    for number in range(99):
        again.load(number, ladder.stored(number))
        if number in ends:
            again.end(number, ends[number])
        else:
            again.wait(number)

    assert climb(again, 99, [-9.0] * 2 + [9.0] * 7) == 9


@pytest.mark.parametrize(("free", "found"), [(0, None), (1, 3)])
def test_who_passed_a_rung_without_being_compared_takes_nobodys_share_of_it(free: int, found: int | None) -> None:
    ladder = rungs()
    for number in range(3):
        ladder.load(number, {"values": [[0.5], [0.5]], "promotions": 1, "free": free, "at_random": False, "led": 2})
    # Of four at 1 one may go on. Three have: for their values, or because they were not compared.
    ladder.load(3, {"values": [[0.1]], "promotions": 0, "free": 0, "at_random": False})
    ladder.wait(3)

    assert ladder.next() == found


@pytest.mark.parametrize(
    ("above", "free", "found"),
    [
        ([2, 1, 0, 4, 3, 6, 5, 7, 8, 9], 1, None),  # 0.927
        ([2, 1, 0, 4, 3, 6, 5, 8, 7, 9], 1, 12),  # 0.915
        ([2, 1, 0, 4, 3, 6, 5, 8, 7, 9], 2, None),  # at the second rung; the first tells nothing
    ],
)
def test_where_the_first_rung_tells_less_than_firmly_more_than_a_share_goes_up(
    above: list[int], free: int, found: int | None
) -> None:
    """Above: the ranks at the next rung; the comments have Spearman's correlation."""
    ladder = AutoRungs(1, 27, 3, ["minimize"])  # at 1, 3 and 9
    for number in range(10):
        last_two = [number, above[number]]
        values = [[float(value)] for value in (last_two if free == 1 else [above[number] % 2, *last_two])]
        ladder.load(number, {"values": values, "promotions": free, "free": free, "at_random": True, "led": 4})
    # Of three at a rung one may go on, and one has. The third is better.
    for number, value, gone in ((10, 0.5, 1), (11, 0.9, 0), (12, 0.1, 0)):
        stored = {"values": [[value]] * free, "promotions": free - 1 + gone, "free": free - 1, "at_random": False}
        ladder.load(number, stored)
    ladder.wait(11)
    ladder.wait(12)

    assert (ladder.first, ladder.next()) == (free - 1, found)


@pytest.mark.parametrize("uncompared", [False, True])
def test_an_uncompared_trial_comes_to_the_last_rung_and_is_compared_there(uncompared: bool) -> None:
    ladder = AutoRungs(1, 27, 3, ["minimize"])  # at 1, 3 and 9
    for number in range(9):
        climb(ladder, number, [0.1] * 27)

    assert climb(ladder, 9, [0.9] * 27, uncompared=uncompared) == (9 if uncompared else 1)
    assert climb(ladder, 10, [0.9] * 8 + [0.1] * 19, uncompared=uncompared) == (9 if uncompared else 1)
    assert climb(ladder, 11, [0.9] * 8 + [0.01] * 19, uncompared=uncompared) == (
        27 if uncompared else 1
    )  # one of three


def test_an_uncompared_trial_passes_the_last_rung_too_if_that_tells_nothing_when_it_begins() -> None:
    ladder = rungs()
    for number in range(20):  # at each rung and at the end in the opposite order
        climb(ladder, number, [float(number), 0.0, -float(number)] + [float(number)] * 6, at_random=True)
        ladder.end(number, float(number))
    assert ladder.first == 2

    assert climb(ladder, 20, [99.0] * 9, uncompared=True) == 9


def test_uncompared_trials_judge_no_rung() -> None:
    ladder, again = rungs(), rungs()
    for number in range(20):
        climb(ladder, number, [float(number), 0.0, -float(number)] * 3, uncompared=True)
        again.load(number, ladder.stored(number))

    assert (ladder.first, again.first) == (0, 0)


def test_uncompared_trials_may_cost_a_fifth_of_all_steps() -> None:
    ladder = rungs()
    for number in range(30):
        ladder.load(number, {"values": [[float(number)]], "promotions": 0, "free": 0, "at_random": False})

    assert (ladder.affords(2), ladder.affords(3)) == (True, False)  # 3 steps each to the last rung, of 30


@pytest.mark.parametrize(("max_resource", "affords"), [(1, False), (3, False), (9, True)])
def test_nothing_is_uncompared_where_all_are_compared_at_the_last_rung_alone(max_resource: int, affords: bool) -> None:
    ladder = AutoRungs(1, max_resource, 3, ["minimize"])

    assert ladder.affords(0) is affords


def test_nothing_is_uncompared_while_the_last_rung_is_the_first_that_tells() -> None:
    ladder = rungs()
    for number in range(10):  # at 3 in the opposite order
        climb(ladder, number, [float(number), 0.0, -float(number)], at_random=True)

    assert not ladder.affords(0)


def test_a_rung_near_the_end_is_left_out() -> None:
    assert AutoRungs(1, 4, 3, ["minimize"]).levels == (1,)  # from 3 to 4 there is next to nothing to save
    assert AutoRungs(1, 51, 3, ["minimize"]).levels == (1, 3, 9, 27)
    assert AutoRungs(2, 3, 3, ["minimize"]).levels == (2,)  # just as much as it must leave
    assert AutoRungs(1, 1, 3, ["minimize"]).levels == ()


def test_rungs_that_were_stored_decide_as_before() -> None:
    before, after, draws = rungs(), rungs(), random.Random(6)
    values = [[draws.random() for _ in range(9)] for _ in range(40)]
    reached = [climb(before, number, values[number], at_random=number % 4 == 0) for number in range(40)]
    for number in range(40):
        after.load(number, before.stored(number))
        if after.is_held(number):
            after.wait(number)
        elif reached[number] == 9:
            after.end(number, values[number][-1])

    assert any(before.stored(number)["led"] for number in range(40))
    assert (after.first, after.next()) == (before.first, before.next())
    further = [[draws.random() for _ in range(9)] for _ in range(20)]
    decisions = [[climb(each, 40 + n, row, n % 3 == 0) for n, row in enumerate(further)] for each in (before, after)]
    assert decisions[0] == decisions[1]
