"""The search `auto` with `asha` through the whole scheduler: the same after any number of restarts."""

from __future__ import annotations

from typing import Any

import pytest

from store.messages import Finish
from tests.yard import Yard, study

PARAMETERS = {
    "lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": {"values": ["adam", "sgd"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": ["sgd"]}},
}
EPOCHS = 9
ASHA = {"name": "asha", "max_resource": EPOCHS}


def value(parameters: dict[str, Any], epoch: int) -> float:
    return 100 * parameters["lr"] + parameters.get("momentum", 0.4) + 1 / epoch


def searched(yard: Yard, name: str, restarts: bool) -> list[tuple[dict[str, Any], str, int]]:
    """Parameters, end and epochs of each trial, one at a time."""
    sections = {"sampler": {"name": "auto", "seed": 7, "n_startup_trials": 4}, "pruner": ASHA}
    study_id = yard.begin(study(name, parameters=PARAMETERS, budget={"trials": 20, "parallel": 1}, **sections))
    worker, epochs = yard.worker(), [0] * 20
    while yard.study(study_id).state == "RUNNING":
        if restarts:
            yard.restart()
        [number] = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
        assignment, decision = worker.start(study_id, number), "continue"
        while decision == "continue" and epochs[number] < EPOCHS:
            epochs[number] += 1
            reported = value(assignment.parameters, epochs[number])
            decision = worker.report(assignment.attempt, epochs[number], reported).decision
        outcome = "paused" if decision == "pause" else "finished"
        worker.say(Finish(attempt=assignment.attempt, outcome=outcome))  # type: ignore[arg-type]
    return [(trial.parameters, trial.state, epochs[trial.number]) for trial in yard.trials(study_id)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_restarts_change_neither_proposals_nor_who_is_promoted(yard: Yard) -> None:
    straight = searched(yard, "straight", restarts=False)

    assert searched(yard, "restarted", restarts=True) == straight
    assert {row[1] for row in straight} == {"COMPLETE", "PRUNED"}
    assert {1, EPOCHS} <= {row[2] for row in straight}
