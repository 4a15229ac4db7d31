"""Halving by fronts, on points whose fronts can be seen on paper, and on one objective, where it must be Optuna's."""

from __future__ import annotations

import random

import optuna
import pytest

from search.asha import Rungs
from search.definition import parse
from search.halving import FrontHalving
from search.pruners import make_halving
from tests.unit.search.documents import external

TWO = [{"metric": "x", "direction": "minimize"}, {"metric": "y", "direction": "minimize"}]


def halving(bootstrap_count: int = 0) -> FrontHalving:
    """Rungs at 1, 2, 4, …"""
    return FrontHalving(1, 2, bootstrap_count, bracket_of=lambda _number: 0)


def test_a_trial_is_one_of_its_rung_also_where_others_as_late_are_not_known_yet() -> None:
    found = halving()
    found.report(0, 1, (1.0, 1.0))

    assert not found.report(2, 1, (2.0, 2.0), last=0)  # beaten by 0, the best 1 of 2
    assert found.report(3, 1, (0.5, 0.5), last=0)


def test_a_trial_goes_on_if_its_front_is_that_of_the_best_half() -> None:
    found = halving()

    assert found.report(0, 1, (1.0, 4.0))  # the first to come is the best
    assert not found.report(1, 1, (2.0, 4.0))  # beaten by 0; the best 1 of 2 is in the first front
    assert found.report(2, 1, (2.0, 2.0))  # neither 0 nor it beats the other
    assert not found.report(3, 1, (3.0, 3.0))  # beaten by 2; the best 2 of 4 are 0 and 2, in the first front
    assert found.report(4, 1, (4.0, 1.0))  # beaten by none
    assert not found.report(5, 1, (4.0, 4.0))  # the best 3 of 6 are 0, 2 and 4
    assert not found.report(6, 1, (3.5, 3.0))  # as 5
    # Now 0 is beaten by 7: fronts {7, 4, 2}, {0}, {1, 3}, …; the best 4 of 8 end with 0's front, the second
    assert found.report(7, 1, (1.0, 3.0))
    # fronts {7, 4, 2}, {0, 8}: the best 4 of 9 end in the second
    assert found.report(8, 1, (2.5, 2.0))


def test_rungs_follow_each_other_and_each_compares_its_own() -> None:
    found = halving()
    assert found.report(0, 1, (1.0, 1.0))
    assert found.report(0, 3, (9.0, 9.0))  # past the rung at 2, where it is the first

    assert found.report(1, 1, (0.5, 0.5))
    assert found.report(1, 2, (5.0, 5.0))
    assert found.stored(0) == [[1.0, 1.0], [9.0, 9.0]]


def test_a_rung_may_wait_for_so_many_trials() -> None:
    found = halving(bootstrap_count=1)

    assert [found.report(0, 1, (1.0, 1.0)), found.report(1, 1, (0.5, 0.5))] == [False, True]


def test_what_is_stored_makes_the_same_decisions() -> None:
    first, second = halving(), halving()
    for number, losses in enumerate([(1.0, 4.0), (2.0, 2.0)]):
        first.report(number, 1, losses)
        second.load(number, first.stored(number))

    for found in (first, second):
        assert [found.report(2, 1, (3.0, 3.0)), found.report(3, 1, (4.0, 1.0))] == [False, True]


@pytest.mark.parametrize("name", ["successive_halving", "hyperband"])
def test_with_one_objective_the_decisions_are_optunas(name: str) -> None:
    """The second objective is a constant, so that the fronts are those of the first alone."""
    options = {"min_resource": 1, "reduction_factor": 3} | ({"max_resource": 27} if name == "hyperband" else {})
    definition = parse(external({"p": {"low": 0.0, "high": 1.0}}, objective=TWO, pruner={"name": name, **options}))
    ours = make_halving(definition)
    assert ours is not None
    makers = {"successive_halving": optuna.pruners.SuccessiveHalvingPruner, "hyperband": optuna.pruners.HyperbandPruner}
    study = optuna.create_study(study_name=definition.name, pruner=makers[name](**options))
    drawn = random.Random(7)
    decided = set()
    for number in range(60):
        trial = study.ask()
        for step in range(1, 28):
            value = round(drawn.random(), 1)  # with ties
            trial.report(value, step)
            stops = trial.should_prune()
            assert ours.report(number, step, (value, 0.0)) is not stops, (number, step)
            decided.add(stops)
            if stops:
                break
        study.tell(trial, 0.0)
    assert decided == {True, False}


def test_asha_promotes_the_best_by_fronts_and_spread() -> None:
    rungs = Rungs(1, 4, 3, ["minimize", "maximize"])
    # As losses (1, 4), (2, 2), (4, 1) in the first front, and three that are beaten
    for number, values in enumerate([(1.0, -4.0), (2.0, -2.0), (4.0, -1.0), (3.0, -3.0), (4.0, -4.0)]):
        assert rungs.report(number, 1, values) in ("continue", "pause")
        if rungs.is_held(number):
            rungs.wait(number)
    promoted = []
    assert rungs.report(5, 1, (2.0, -4.0)) == "pause"
    rungs.wait(5)
    while (number := rungs.next()) is not None:
        promoted.append(number)
        rungs.promote(number)

    # At the third trial one of three may go on: of the front the best by x, 0; at the sixth two of six: the farthest
    # from 0 in the front is 2
    assert promoted == [0, 2]


def test_of_the_last_trials_so_many_are_let_go_as_are_missing() -> None:
    rungs = Rungs(1, 4, 3, ["minimize"], least_complete=3)
    for number, value in enumerate([0.5, 0.4]):
        assert rungs.report(number, 1, [value]) == "pause"
        rungs.wait(number)

    assert (rungs.next(), rungs.next(is_last=True)) == (None, 1)
    rungs.promote(1)
    rungs.end(1, None)  # it failed, and counts for nothing
    for number in (7, 8):
        rungs.end(number, 0.1)
    assert rungs.next(is_last=True) == 0
    rungs.promote(0)
    assert rungs.report(2, 1, [0.6]) == "pause"
    rungs.wait(2)
    assert rungs.next(is_last=True) is None  # 7 and 8 are complete, and 0 is on its way
    assert rungs.report(0, 3, [0.5]) == "pause"
    rungs.wait(0)
    loaded = Rungs(1, 4, 3, ["minimize"], least_complete=3)
    for number in (0, 2):
        loaded.load(number, rungs.stored(number))
        loaded.wait(number)
    assert rungs.next(is_last=True) == loaded.next(is_last=True) == 0  # the highest rung comes first


def test_nobody_goes_on_from_where_the_end_is_too_far() -> None:
    rungs = Rungs(1, 9, 3, ["minimize"])
    for number, value in enumerate([0.5, 0.4, 0.3]):
        assert rungs.report(number, 1, [value]) == "pause" or number == 2
        if number < 2:
            rungs.wait(number)
    assert rungs.report(2, 3, [0.3]) == "pause"
    rungs.wait(2)
    assert rungs.next(is_last=True) is None  # none need be complete

    rungs.least_level = 2.5
    assert rungs.report(3, 1, [0.1]) == "pause"  # the best of its rung
    rungs.wait(3)
    assert (rungs.next(), rungs.next(is_last=True)) == (None, 2)  # places would stand empty
    rungs.promote(2)
    assert rungs.next(is_last=True) is None
    rungs.least_level = 0
    assert rungs.next() == 3
