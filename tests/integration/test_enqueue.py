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
