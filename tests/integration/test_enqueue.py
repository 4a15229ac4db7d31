"""Trials that the study file puts first."""

from __future__ import annotations

from typing import Any

import pytest

from store.messages import Amend, Done, Enqueue, Refused
from tests.yard import METRIC, Yard, study

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
FIRST = [{"x": 0.25, "k": "b"}, {"x": 0.75, "k": "a"}]


def run(yard: Yard, study_id: int, number: int) -> dict[str, Any]:
    assignment = yard.worker().start(study_id, number)
    yard.worker().finish(assignment.attempt, 0.5)
    return assignment.parameters


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("sampler", ["random", "auto", "tpe", "cmaes", "nsga2", "qmc"])
def test_the_first_trials_are_those_of_the_file_and_the_others_the_samplers(
    yard: Yard, sampler: str, restarts: bool
) -> None:
    sections: dict[str, Any] = {"sampler": {"name": sampler, "seed": 7}, "budget": {"trials": 4, "parallel": 1}}
    study_id = yard.begin(study(enqueue=FIRST, **sections))
    proposed = []
    for number in range(4):
        if restarts:
            yard.restart()
        proposed.append(run(yard, study_id, number))

    assert proposed[:2] == FIRST
    assert not any(each in FIRST for each in proposed[2:])
    assert yard.study(study_id).state == "COMPLETE"


@on_sqlite
def test_a_grid_counts_them_as_its_cells(yard: Yard) -> None:
    space = {"x": {"low": 1, "high": 2}, "k": {"values": ["a", "b"]}}
    document = study(parameters=space, sampler={"name": "grid"}, budget={"parallel": 1}, enqueue=[{"x": 2, "k": "a"}])
    study_id = yard.begin(document)

    proposed = [run(yard, study_id, number) for number in range(4)]

    assert [(each["x"], each["k"]) for each in proposed] == [(2, "a"), (1, "a"), (1, "b"), (2, "b")]
    assert yard.study(study_id).state == "COMPLETE"


@on_sqlite
def test_somebody_else_may_come_between(yard: Yard) -> None:
    """Whoever enqueues a trial over the API is served before the file's next one, which is not lost."""
    document = study(enqueue=FIRST, trial={"kind": "external"}, budget={"trials": 4, "parallel": 1})
    study_id = yard.submit(document)
    person, worker = yard.worker("api"), yard.worker()
    assert person.say(Enqueue(study_id=study_id, parameters={"x": 0.5, "k": "c"})) == Done(number=0)

    handed = []
    for _ in range(3):
        [item] = worker.ask(study_id).items
        handed.append(item.parameters)
        worker.finish(item.attempt, 0.5)

    assert handed == [{"x": 0.5, "k": "c"}, *FIRST]


@on_sqlite
@pytest.mark.parametrize("restarts", [False, True])
def test_another_space_must_hold_those_that_are_not_made_yet(yard: Yard, restarts: bool) -> None:
    study_id = yard.begin(study(enqueue=[*FIRST, {"x": 0.8, "k": "c"}], budget={"trials": 4, "parallel": 1}))
    person = yard.worker("api")

    refused = person.say(Amend(study_id=study_id, parameters={"x": {"low": 0.0, "high": 0.7}}))
    assert isinstance(refused, Refused)
    assert refused.message.startswith("enqueue[1].x: 0.75 is not in the space")  # 0.25 is on its way
    wider = {"k": {"values": ["a", "c"]}}  # without the b of the one that is
    assert person.say(Amend(study_id=study_id, parameters=wider)) == Done()
    if restarts:
        yard.restart()

    assert [run(yard, study_id, number) for number in range(3)] == [*FIRST, {"x": 0.8, "k": "c"}]


@on_sqlite
def test_the_result_of_one_that_stands_twice_is_taken_over(yard: Yard) -> None:
    twice = study(enqueue=[FIRST[0], FIRST[0]], duplicates="reuse", budget={"trials": 3, "parallel": 1})
    study_id = yard.begin(twice | {"deterministic": True})
    run(yard, study_id, 0)

    copy = yard.trials(study_id)[1]
    assert (copy.state, copy.values, copy.reason) == ("COMPLETE", {METRIC: 0.5}, "the same parameters as trial 0")


CONDITIONAL = {
    "x": {"low": 0.0, "high": 1.0},
    "y": {"low": 0.0, "high": 1.0},
    "kind": {"values": ["plain", "mixed"]},
    "mix": {"low": 0.0, "high": 1.0, "when": {"kind": "mixed"}},
}
PARTIAL: list[dict[str, Any]] = [{"x": 0.25}, {"kind": "mixed"}, {"kind": "mixed", "mix": 0.5, "y": 0.125}, {"y": 0.75}]
SAMPLERS: list[dict[str, Any]] = [
    {"name": "auto", "n_startup_trials": 4, "random_share": 0.0},
    {"name": "tpe", "n_startup_trials": 4},
    {"name": "cmaes", "popsize": 4},
    {"name": "nsga2", "population_size": 4},
    {"name": "qmc"},
]


def asked_for(yard: Yard, name: str, restarts: bool, **sections: Any) -> list[dict[str, Any]]:
    """The parameters of all trials of a study in which a person puts partial points between the sampler's trials."""
    budget = {"trials": 14, "parallel": 1}
    study_id = yard.begin(study(name, parameters=CONDITIONAL, budget=budget, **sections))
    given = list(PARTIAL)
    for number in range(14):
        if restarts:
            yard.restart()
        if number >= 6 and given:
            assert yard.worker("api").say(Enqueue(study_id=study_id, parameters=given[0])) == Done(number=number + 1)
            del given[0]
        point = yard.trials(study_id)[number].parameters
        attempt = yard.worker().start(study_id, number).attempt
        yard.worker().finish(attempt, (point["x"] - 0.9) ** 2 + (point["y"] - 0.1) ** 2 + point.get("mix", 0.5))
    return [trial.parameters for trial in yard.trials(study_id)]


def is_asked_for(points: list[dict[str, Any]]) -> bool:
    return all(given.items() <= point.items() for given, point in zip(PARTIAL, points[7:11], strict=True))


@on_sqlite
@pytest.mark.parametrize("deterministic", [False, True], ids=["", "deterministic"])
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda each: each["name"])
def test_what_a_person_leaves_open_while_it_runs_is_the_samplers_also_across_restarts(
    yard: Yard, sampler: dict[str, Any], deterministic: bool
) -> None:
    sections = {"sampler": {"seed": 3, **sampler}, "deterministic": deterministic, "pruner": {"name": "none"}}

    found = asked_for(yard, "s", restarts=False, **sections)

    assert is_asked_for(found)
    assert all(("mix" in point) == (point["kind"] == "mixed") for point in found)
    assert len({str(point) for point in found}) == len(found)
    # A study of the same seed is the same, whatever its name: here it is loaded anew before every trial.
    assert asked_for(yard, "t", restarts=True, **sections) == found


@on_sqlite
@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda each: each["name"])
def test_what_is_completed_keeps_the_inequalities_and_what_was_given(yard: Yard, sampler: dict[str, Any]) -> None:
    thin = ["x + y <= 1.001", "x + y >= 0.999", "mix <= x"]
    sections = {"sampler": {"seed": 3, **sampler}, "parameter_constraints": thin, "duplicates": "resample"}

    found = asked_for(yard, "s", restarts=True, **sections)

    assert is_asked_for(found)
    assert all(0.999 - 1e-6 <= point["x"] + point["y"] <= 1.001 + 1e-6 for point in found)
    assert all(point.get("mix", 0.0) <= point["x"] + 1e-6 for point in found)


@on_sqlite
def test_a_part_that_leaves_nothing_for_the_rest_is_refused(yard: Yard) -> None:
    study_id = yard.begin(study(parameters=CONDITIONAL, parameter_constraints=["x + y <= 0.5", "mix >= x"]))
    person = yard.worker("api")

    refused = person.say(Enqueue(study_id=study_id, parameters={"x": 0.75}))
    assert isinstance(refused, Refused)
    assert "leave no values for the others" in refused.message
    taken = person.say(Enqueue(study_id=study_id, parameters={"x": 0.5}))
    assert isinstance(taken, Done)
    assert yard.trials(study_id)[-1].parameters["y"] == pytest.approx(0.0, abs=1e-6)


@on_sqlite
def test_members_of_a_population_begin_with_what_is_given(yard: Yard) -> None:
    sampler = {"name": "pbt", "seed": 3, "population_size": 4, "max_resource": 9}
    study_id = yard.begin(study(sampler=sampler, budget={"parallel": 4}, enqueue=[{"x": 0.25}, {"k": "b"}]))

    points = [trial.parameters for trial in yard.trials(study_id)]

    assert (points[0]["x"], points[1]["k"]) == (0.25, "b")
    assert all(point.keys() == {"x", "k"} for point in points)


@on_sqlite
@pytest.mark.parametrize("duplicates", ["resample", "reuse"])
def test_the_same_part_twice_is_two_trials_where_the_rest_allows_it(yard: Yard, duplicates: str) -> None:
    space = {"a": {"values": [1, 2]}, "b": {"values": [1, 2]}}
    same = {"enqueue": [{"a": 1}] * 3, "budget": {"trials": 3, "parallel": 1}, "duplicates": duplicates}
    study_id = yard.begin(study(parameters=space, **same))
    for number in range(3):
        if yard.trials(study_id)[number].state == "QUEUED":
            run(yard, study_id, number)

    trials = yard.trials(study_id)
    drawn = [trial.parameters["b"] for trial in trials]
    assert all(trial.parameters["a"] == 1 and trial.state == "COMPLETE" for trial in trials)
    if duplicates == "resample":
        assert drawn[0] != drawn[1]
    for place, trial in enumerate(trials):
        taken_over = duplicates == "reuse" and drawn[place] in drawn[:place]
        assert (trial.reason or "").startswith("the same parameters") == taken_over
