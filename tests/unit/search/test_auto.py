"""The sampler `auto`: a model of where trials stand, and a share of draws at random."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest

from search.auto import AT_RANDOM
from search.auto_rungs import UNCOMPARED
from search.definition import parse
from search.optuna_study import RUNGS, OptunaStudy
from search.optuna_trials import PastTrial
from search.repeats import Repeats
from store.errors import DefinitionError
from store.models import TrialState
from tests.unit.search.documents import external

LINE = {"x": {"low": 0.0, "high": 1.0}}
ASHA = {"name": "asha", "max_resource": 9}
MIXED = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "optimizer": {"values": ["adam", "sgd"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "layers": {"low": 1, "high": 7, "step": 2},
}


def begun(parameters: dict[str, Any], pruner: dict[str, Any] | None = None, **options: Any) -> OptunaStudy:
    sampler = {"name": "auto", "seed": 7, **options}
    return OptunaStudy(parse(external(parameters, sampler=sampler, pruner=pruner or {"name": "none"})))


def run(study: OptunaStudy, number: int, values: list[float]) -> int:
    """Report until the trial's end, or to where it is told to wait; how many values."""
    for step, value in enumerate(values, 1):
        study.report(number, step, [value])
        if study.standing(number) == "pause":
            study.park(number)
            return step
    study.finish(number, TrialState.COMPLETE, values[-1:])
    return len(values)


def spread(study: OptunaStudy, trials: int) -> list[float]:
    """Where the proposals for x lie on average, by thirds."""
    found = [study.propose().parameters["x"] for _ in range(trials)]
    return [sum(low <= x < low + 1 / 3 for x in found) / trials for low in (0, 1 / 3, 2 / 3)]


def test_a_good_beginning_does_not_pass_for_a_good_end() -> None:
    """On the left trials begin well and end badly; by their first values they are all among the best."""
    study = begun(LINE, random_share=0.0)
    for place in range(40):
        proposal = study.enqueue({"x": place / 40})
        left = place < 20
        study.report(proposal.number, 1, [(0.1 if left else 0.5) + place / 1000])
        if left:
            study.report(proposal.number, 9, [2.0 - place / 1000])
        else:
            study.report(proposal.number, 9, [1.0 + place / 1000])
        study.finish(proposal.number, TrialState.PRUNED if place % 2 else TrialState.COMPLETE, [2.0 if left else 1.0])

    assert spread(study, 20)[0] < 0.2


def test_what_went_on_and_disappointed_speaks_for_those_that_were_left_beside_it() -> None:
    """On the left all begin best, and ten of forty went on and ended badly; on the right it is the other way round.

    By their first values those that wait on the left stand best, and so did most that was proposed: 27 to 32 of 40.
    """
    study = begun(LINE, ASHA, random_share=0.0)
    for place in range(50):
        left = place < 40
        x, first, end = (place / 120, 0.2, 0.5) if left else (0.7 + (place - 40) / 40, 0.4, 0.3)
        number = study.enqueue({"x": x}).number
        for step in range(1, 10 if place % 4 == 0 else 2):
            study.report(number, step, [first + (end - first) * (step - 1) / 8 + place % 40 / 400])
            if study.is_held(number):
                study.park(number)
                if place % 4 == 0:
                    study.promote(number)
        if place % 4 == 0:
            study.finish(number, TrialState.COMPLETE, [end + place % 40 / 400])

    assert spread(study, 40)[2] > 0.35


def test_some_of_what_the_model_of_curves_proposes_is_trained_whatever_it_comes_to() -> None:
    """Rungs are at 1, 2 and 4: they may cost a fifth of the steps, with 4 for each."""
    study, steps, uncompared = begun(LINE, ASHA, random_share=0.0), 0, 0
    for number in range(80):
        epochs = run(study, number, [study.propose().parameters["x"]] * 9)
        is_one = UNCOMPARED in study.system_attrs(number)
        assert epochs >= 4 or not is_one
        steps, uncompared = steps + epochs, uncompared + is_one

    assert 0.15 * steps < 4 * uncompared <= 0.2 * steps


def test_a_draw_at_random_for_want_of_a_new_point_is_compared() -> None:
    study = begun({"x": {"values": [1, 2, 3]}}, ASHA, random_share=0.0, n_startup_trials=1)
    for number in range(40):
        run(study, number, [study.propose().parameters["x"] + number / 100] * 9)

    attrs = [study.system_attrs(number) for number in range(40)]
    assert any(AT_RANDOM in each for each in attrs)
    assert not any(AT_RANDOM in each and UNCOMPARED in each for each in attrs)


def test_trials_that_run_or_wait_teach_by_the_values_that_they_have() -> None:
    study = begun(LINE, ASHA, random_share=0.0)
    for place in range(30):
        number = study.enqueue({"x": place / 30}).number
        study.report(number, 1, [abs(place / 30 - 0.9)])
        if study.standing(number) == "pause" and place % 2:
            study.park(number)

    assert spread(study, 20)[2] > 0.7


def test_half_of_the_random_draws_lie_about_the_middle_of_the_ranges() -> None:
    """Of a normal of width 1/6 about 0.5, 68 per cent lie within 1/6 of it; of uniform draws 33: of both 51."""
    study = begun({"x": {"low": 1.0, "high": 1e4, "log": True}}, random_share=1.0)
    places = [math.log10(study.propose().parameters["x"]) / 4 for _ in range(300)]

    assert 0.44 < sum(abs(place - 0.5) < 1 / 6 for place in places) / 300 < 0.58
    assert min(places) < 0.1
    assert max(places) > 0.9


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 30)])
def test_a_share_of_the_proposals_is_drawn_at_random_and_marked(share: float, expected: int) -> None:
    study = begun(LINE, n_startup_trials=4, random_share=share)
    for _ in range(34):
        proposal = study.propose()
        run(study, proposal.number, [proposal.parameters["x"]])

    assert all(AT_RANDOM in study.system_attrs(number) for number in range(4))
    assert sum(AT_RANDOM in study.system_attrs(number) for number in range(4, 34)) == expected


def test_without_a_pruner_it_finds_what_a_model_can_find() -> None:
    study = begun(MIXED)
    for _ in range(60):
        proposal = study.propose()
        p = proposal.parameters
        loss = abs(math.log10(p["lr"]) + 2) + (p["optimizer"] == "sgd") + p.get("momentum", 0) + 0.1 * p["layers"]
        run(study, proposal.number, [loss])

    # Of 60 random draws the best three have a mean of 0.37 on average, and below 0.15 once in a hundred (of 4,000).
    values = sorted(value[0] for number in range(60) if (value := study.final_values(number)) is not None)
    assert sum(values[:3]) / 3 < 0.15


def test_a_trial_that_diverged_was_bad_whatever_it_had_reported() -> None:
    study = begun(LINE, ASHA, random_share=0.0)
    for place in range(30):
        number = study.enqueue({"x": place / 30}).number
        study.report(number, 1, [1 - place / 30])  # the farther right, the better
        if place >= 20:
            study.count_as_worst(number)
            study.finish(number, TrialState.FAILED)

    assert spread(study, 20)[2] < 0.3


@pytest.mark.parametrize("sampler", ["auto", "tpe"])
def test_a_proposal_does_not_compare_each_choice_with_itself(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand that took longer than all the rest."""
    document = external({"c": {"values": ["a", "b", "c"]}, **LINE}, sampler={"name": sampler, "seed": 1})
    study = OptunaStudy(parse(document))
    for number in range(12):  # then both have a model
        run(study, study.propose().number, [number / 12])
    compared: list[object] = []
    monkeypatch.setattr(optuna.distributions, "_categorical_choice_equal", lambda *both: compared.append(both) or True)

    for number in range(12):
        run(study, study.propose().number, [number / 12])

    assert compared == []


def test_no_point_is_proposed_twice_while_there_are_others_nearby() -> None:
    study = begun({"a": {"values": ["p", "q", "r"]}, "b": {"low": 1, "high": 6}}, n_startup_trials=1, random_share=0.0)
    points = []
    for number in range(15):  # of 18
        parameters = study.propose().parameters
        points.append((parameters["a"], parameters["b"]))
        run(study, number, [parameters["b"] + (parameters["a"] == "p")])

    assert len(set(points)) == 15


def test_where_trials_come_to_the_same_again_and_again_it_looks_elsewhere() -> None:
    """On the left all are the same model: 39 in 50 of the trials show nothing new, 39 in 50 proposals are random."""
    study = begun(LINE, random_share=0.0)
    for place in range(50):
        number = study.enqueue({"x": place / 150 if place < 40 else place / 50}).number
        run(study, number, [(1.0 if place < 40 else place) + 1 / step for step in range(1, 4)])

    # Of random draws of both kinds a quarter lies on the left.
    assert spread(study, 60)[0] < 0.5


def test_where_all_that_stand_anywhere_are_repeats_they_are_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that they repeat is still at its third step when only complete trials are compared any more."""
    study = begun(LINE, ASHA, n_startup_trials=2, random_share=0.5)
    first = study.propose().number
    for step in (1, 2, 3):
        study.report(first, step, [1 / step])
    for _ in range(40):
        run(study, study.propose().number, [1 / step for step in range(1, 10)])
    monkeypatch.setattr(Repeats, "share", 0.0)  # what would make nearly all proposals random

    assert min(study.propose().parameters["x"] for _ in range(20)) >= 0


def test_values_that_differ_by_rounding_alone_are_no_ranks() -> None:
    proposals = []
    for noise in (0.0, 1e-15, -1e-15):
        study = begun(LINE, random_share=0.0)
        for place in range(40):
            number = study.enqueue({"x": place / 40}).number
            level = 1.0 + place % 4  # ten trials each: among them the noise would decide
            run(
                study, number, [level + 0.1 * place / step + noise * place for step in (1, 2)] + [level + noise * place]
            )
        proposals.append([study.propose().parameters["x"] for _ in range(5)])

    assert proposals[0] == proposals[1] == proposals[2]


def test_a_study_that_is_rebuilt_proposes_as_if_it_had_never_stopped() -> None:
    once, rebuilt = begun(MIXED, ASHA), begun(MIXED, ASHA)
    past: list[PastTrial] = []
    for number in range(36):
        if number % 5 == 4:
            again = begun(MIXED, ASHA)
            again.load(past, rebuilt.study_attrs)
            rebuilt = again
        parameters = once.propose().parameters
        assert rebuilt.propose().parameters == parameters
        values = [parameters["layers"] + parameters["lr"] + 1 / step for step in range(1, 10)]
        for study in (once, rebuilt):
            run(study, number, values)
        held = once.is_held(number)
        state = TrialState.PAUSED if held else TrialState.COMPLETE
        epochs = 3 ** (len(once.system_attrs(number)[RUNGS]["values"]) - 1) if held else 9
        reported = dict(enumerate(values[:epochs], 1))
        past.append(
            PastTrial(number, state, parameters, None if held else values[-1:], once.system_attrs(number), reported)
        )
    assert any(UNCOMPARED in once.system_attrs(number) for number in range(36))


def test_several_objectives_are_searched_too() -> None:
    objectives = [{"metric": "loss", "direction": "minimize"}, {"metric": "size", "direction": "minimize"}]
    document = external(MIXED, objective=objectives, sampler={"name": "auto", "seed": 7}, pruner=ASHA)
    study = OptunaStudy(parse(document))
    for number in range(20):
        parameters = study.propose().parameters
        assert study.check(parameters) == []
        study.report(number, 1, [parameters["lr"], parameters["layers"]])
        study.finish(number, TrialState.COMPLETE, [parameters["lr"], parameters["layers"]])


@pytest.mark.parametrize(
    "parameters",
    [
        MIXED,
        {"only": {"values": ["a", "b"]}},
        {"same": {"value": 3}},
        {"same": {"values": [5]}},
        {"n": {"low": 1, "high": 2}},
    ],
    ids=["mixed", "one choice", "constant", "one value", "two numbers"],
)
@pytest.mark.parametrize("pruner", [ASHA, {"name": "hyperband", "max_resource": 9}, {"name": "median"}])
def test_whatever_becomes_of_the_trials_proposals_are_points_of_the_space(
    parameters: dict[str, Any], pruner: dict[str, Any]
) -> None:
    study = begun(parameters, pruner, n_startup_trials=2)
    for number in range(30):
        proposal = study.propose()
        assert study.check(proposal.parameters) == []
        match number % 5:
            case 0:
                study.finish(number, TrialState.FAILED)
            case 1:
                study.report(number, 4, [1.0])  # odd steps
                study.report(number, 2, [1.0])
                study.finish(number, TrialState.PRUNED)
            case 2:
                study.finish(number, TrialState.COMPLETE, [1.0])  # without a report
            case 3:
                run(study, number, [1.0] * 9)  # all equal
            case _:
                pass  # it goes on running


def test_options_are_checked_by_name_and_bounds() -> None:
    with pytest.raises(DefinitionError, match="random_share"):
        begun(LINE, random_share=1.5)
    with pytest.raises(DefinitionError, match="random_shares"):
        begun(LINE, random_shares=0.5)
