"""Whatever is proposed or asked for keeps the inequalities between the parameters."""

from __future__ import annotations

import math
from typing import Any

import pytest

from search.definition import parse
from search.warm_start import warm_trials
from store.messages import Amend, Done, Enqueue, Refused
from store.models import StudyRow
from store.session import reads
from tests.yard import Yard, study

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PARAMETERS = {
    "low": {"low": 8, "high": 512, "log": True},
    "high": {"low": 8, "high": 512, "log": True},
    "a": {"low": 0.0, "high": 1.0},
    "b": {"low": 0.0, "high": 1.0, "step": 0.05},
    "kind": {"values": ["plain", "mixed"]},
    "mix": {"low": 0.0, "high": 1.0, "when": {"kind": "mixed"}},
}
WIDE = ["low < high", "a + b <= 1", "mix <= a"]
# A sixtieth of a per cent of the space: hardly ever met by drawing again.
THIN = ["high <= 1.05 * low", "low < high", "a + b <= 0.1", "mix <= 0.1 * a"]


def keeps(parameters: dict[str, Any], thin: bool) -> bool:
    low, high, a, b = (parameters[name] for name in ("low", "high", "a", "b"))
    mix = parameters.get("mix", 0.0)
    if thin:
        return low < high <= 1.05 * low + 1e-6 and a + b <= 0.1 + 1e-6 and mix <= 0.1 * a + 1e-6
    return low < high and a + b <= 1 + 1e-6 and mix <= a + 1e-6


def value(parameters: dict[str, Any]) -> float:
    return abs(math.log(parameters["high"] / 64)) + abs(parameters["a"] - 0.1) + float(parameters.get("mix", 0.3))


def proposals(yard: Yard, document: dict[str, Any], restarts: bool = False) -> list[dict[str, Any]]:
    study_id, found = yard.begin(document), []
    for number in range(document["budget"]["trials"]):
        if restarts and number % 4 == 3:
            yard.restart()
        assignment = yard.worker().start(study_id, number)
        yard.worker().finish(assignment.attempt, value(assignment.parameters))
        found.append(assignment.parameters)
    return found


SAMPLERS: list[dict[str, Any]] = [
    {"name": "random"},
    {"name": "qmc"},
    {"name": "tpe", "n_startup_trials": 5},
    {"name": "auto"},
    {"name": "cmaes", "popsize": 4},
    {"name": "nsga2", "population_size": 5},
]


@on_sqlite
@pytest.mark.parametrize(
    ("sampler", "inequalities"),
    [*((sampler, THIN) for sampler in SAMPLERS), (SAMPLERS[2], WIDE)],
    ids=lambda each: each["name"] if isinstance(each, dict) else f"{len(each)} inequalities",
)
def test_every_sampler_stays_within_them_also_across_restarts(
    yard: Yard, sampler: dict[str, Any], inequalities: list[str]
) -> None:
    sections = {
        "parameters": PARAMETERS,
        "parameter_constraints": inequalities,
        "sampler": {"seed": 5, **sampler},
        "budget": {"trials": 8, "parallel": 1},
        "duplicates": "resample",
    }
    found = proposals(yard, study("s", **sections))

    assert all(keeps(each, thin=inequalities is THIN) for each in found)
    assert len({str(each) for each in found}) == len(found)
    if inequalities is THIN:
        assert proposals(yard, study("t", **sections), restarts=True) == found


@on_sqlite
def test_what_a_person_enqueues_is_held_against_them(yard: Yard) -> None:
    study_id = yard.begin(study(parameters=PARAMETERS, parameter_constraints=WIDE, sampler={"name": "tpe", "seed": 1}))
    given = {"low": 32, "high": 64, "a": 0.5, "b": 0.5, "kind": "plain"}

    assert yard.worker("api").say(Enqueue(study_id=study_id, parameters=given)) == Done(number=2)
    refused = yard.worker("api").say(Enqueue(study_id=study_id, parameters=given | {"high": 16}))
    assert isinstance(refused, Refused)
    assert "break the constraint low < high" in refused.message


@on_sqlite
def test_they_hold_in_a_space_that_is_changed(yard: Yard) -> None:
    document = study(parameters=PARAMETERS, parameter_constraints=WIDE, budget={"trials": 9, "parallel": 1})
    study_id = yard.begin(document)
    assignment = yard.worker().start(study_id, 0)
    yard.worker().finish(assignment.attempt, 1.0)
    api = yard.worker("api")

    emptied = api.say(Amend(study_id=study_id, parameters={"high": {"low": 2, "high": 8}}))
    assert isinstance(emptied, Refused)
    assert "parameter_constraints[0]: never holds, with low from 8 to 512, high from 2 to 8" in emptied.message
    assert api.say(Amend(study_id=study_id, parameters={"high": {"low": 2, "high": 9}})) == Done()
    for number in range(1, 9):
        assignment = yard.worker().start(study_id, number)
        yard.worker().finish(assignment.attempt, 1.0)
        assert number == 1 or (assignment.parameters["low"], assignment.parameters["high"]) == (8, 9)


@on_sqlite
def test_they_are_changed_while_the_study_runs(yard: Yard) -> None:
    """Trial 2, which was made before, keeps its space; the old constraints are told with that, after a restart too."""
    x = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
    budget = {"trials": 12, "parallel": 1}
    study_id = yard.begin(study(parameters=x, parameter_constraints=["x <= y"], budget=budget))
    for number in range(2):
        yard.worker().finish(yard.worker().start(study_id, number).attempt, 1.0)
    api = yard.worker("api")

    refused = api.say(Amend(study_id=study_id, parameter_constraints=["x >= 2 * z"]))
    assert isinstance(refused, Refused)
    assert 'parameter_constraints[0]: "z" is no parameter' in refused.message
    assert api.say(Amend(study_id=study_id, parameter_constraints=["x >= y + 0.2"])) == Done()
    yard.worker().finish(yard.worker().start(study_id, 2).attempt, 1.0)
    for number in range(3, 6):
        assignment = yard.worker().start(study_id, number)
        yard.worker().finish(assignment.attempt, 1.0)
        assert assignment.parameters["x"] >= assignment.parameters["y"] + 0.2 - 1e-9
    assert api.say(Amend(study_id=study_id, parameter_constraints=[])) == Done()
    yard.restart()

    given = {"x": 0.1, "y": 0.9}  # against the second version, which does not hold any more
    assert yard.worker("api").say(Enqueue(study_id=study_id, parameters=given)) == Done(number=7)
    with reads(yard.engine)() as session:
        row = session.get_one(StudyRow, study_id)
    assert [past.get("parameter_constraints") for past in row.past_spaces] == [["x <= y"], ["x >= y + 0.2"]]
    assert "parameter_constraints" not in row.definition
    assert [trial.space_version for trial in yard.trials(study_id)] == [1] * 3 + [2] * 4 + [3]


@on_sqlite
def test_a_warm_start_leaves_out_what_breaks_them(yard: Yard) -> None:
    x = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
    source = yard.begin(study("old", parameters=x, budget={"trials": 6, "parallel": 1}))
    broken = 0
    for number in range(6):
        assignment = yard.worker().start(source, number)
        yard.worker().finish(assignment.attempt, 1.0)
        broken += assignment.parameters["x"] >= assignment.parameters["y"]
    new = parse(
        study(
            "new", parameters=x, parameter_constraints=["x < y"], sampler={"name": "tpe"}, warm_start={"study": "old"}
        )
    )
    assert new.warm_start is not None

    with reads(yard.engine)() as session:
        found = warm_trials(session, new, new.warm_start)

    assert 0 < broken < 6
    assert len(found.rows) == 6 - broken
    (left_out,) = found.summary()["left_out"]
    assert (left_out["trials"], "break the constraint x < y" in left_out["reason"]) == (broken, True)


@on_sqlite
def test_a_grid_ends_when_its_cells_are_used_up(yard: Yard) -> None:
    three = {name: {"low": 0, "high": 3} for name in "abc"}
    document = study(parameters=three, parameter_constraints=["a < b", "b < c"], sampler={"name": "grid"}, budget={})
    study_id = yard.begin(document | {"budget": {"parallel": 1}})

    for number in range(4):  # of four values three: 012, 013, 023, 123
        assignment = yard.worker().start(study_id, number)
        yard.worker().finish(assignment.attempt, 1.0)

    assert yard.study(study_id).state == "COMPLETE"
    assert [tuple(trial.parameters.values()) for trial in yard.trials(study_id)] == [
        (0, 1, 2),
        (0, 1, 3),
        (0, 2, 3),
        (1, 2, 3),
    ]


@on_sqlite
def test_a_study_fails_in_whose_space_nothing_is_found(yard: Yard) -> None:
    """At submission the inequalities are looked at as far as their own parameters take part, here a without b."""
    hidden: dict[str, Any] = {"k": {"values": ["x"]}}
    hidden |= {name: {"low": 0.0, "high": 1.0, "when": {"k": ["x"]}} for name in "ab"}
    document = study(parameters=hidden, parameter_constraints=["a + b >= 1.5", "a <= 0.4"])
    study_id = yard.begin(document)

    row = yard.study(study_id)
    assert row.state == "FAILED"
    assert row.reason is not None
    assert "no point was found that keeps" in row.reason
