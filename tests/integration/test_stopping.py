"""A trial that a pruner stops says so, however its attempt ends; one that ends PRUNED for another reason has that.

One that trains on past its last step is told to end, and counts with what it has.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.yard import METRIC, Yard, study

BUDGET = {"trials": 2, "parallel": 1, "retries": 0}
BELOW = {"name": "threshold", "upper": 0.5}
WHY = "threshold stopped it at step 2"


def stopped(yard: Yard, **sections: Any) -> tuple[int, Any]:
    """A study whose first trial has just been told to end, and the trial's attempt."""
    study_id, worker = yard.begin(study(pruner=BELOW, budget=BUDGET, **sections)), yard.worker()
    attempt = worker.start(study_id, 0).attempt
    assert worker.report(attempt, 1, 0.4).decision == "continue"
    assert worker.report(attempt, 2, 0.9).decision == "prune"
    return study_id, attempt


@pytest.mark.parametrize(
    ("outcome", "told"),
    [("pruned", None), ("finished", None), ("returned", "the worker leaves"), ("lost", "its process died")],
)
def test_a_trial_says_which_pruner_stopped_it_and_its_attempt_how_it_ended(
    yard: Yard, outcome: str, told: str | None
) -> None:
    study_id, attempt = stopped(yard)
    yard.restart()
    yard.worker().finish(attempt, outcome=outcome, reason=told)

    [trial, _] = yard.trials(study_id)
    assert (trial.state, trial.reason) == ("PRUNED", WHY)
    assert [attempt.reason for attempt in yard.attempts(study_id, 0)] == [told]
    assert [event.body["reason"] for event in yard.events(study_id) if event.body.get("state") == "PRUNED"] == [WHY]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_so_it_does_in_a_deterministic_study(yard: Yard) -> None:
    study_id, attempt = stopped(yard, deterministic=True)
    yard.worker().finish(attempt, outcome="pruned")

    assert yard.trials(study_id)[0].reason == WHY


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_so_it_does_where_others_run_the_trials(yard: Yard) -> None:
    study_id = yard.submit(study(trial={"kind": "external"}, pruner=BELOW, budget=BUDGET))
    worker = yard.worker()
    [handed] = worker.ask(study_id).items
    assert worker.report(handed.attempt, 2, 0.9).decision == "prune"

    assert yard.trials(study_id)[0].reason == WHY


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_so_it_does_at_a_rung_of_a_front(yard: Yard) -> None:
    two = [{"metric": name, "direction": "minimize"} for name in ("loss", "size")]
    pruner = {"name": "successive_halving", "min_resource": 2, "reduction_factor": 2}
    study_id, worker = yard.begin(study(objective=two, pruner=pruner, budget=BUDGET)), yard.worker()
    for number, value in enumerate((0.1, 0.2)):
        attempt = worker.start(study_id, number).attempt
        measured = {"loss": value, "size": value}
        outcome = {"continue": "finished", "prune": "pruned"}[worker.report(attempt, 3, measured).decision]
        worker.finish(attempt, outcome=outcome, metrics=measured)

    reasons = [trial.reason for trial in yard.trials(study_id)]
    assert reasons == [None, "successive_halving stopped it at step 3 (rung 2)"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_that_does_not_fit_into_memory_has_that_for_its_reason(yard: Yard) -> None:
    study_id, attempt = stopped(yard)
    yard.worker().finish(attempt, outcome="infeasible", reason="out of device memory")

    assert yard.trials(study_id)[0].reason == "out of device memory"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "sections",
    [
        {"pruner": {"name": "asha", "max_resource": 4, "min_resource": 4}},
        {"pruner": {"name": "hyperband", "max_resource": 4, "min_resource": 4}},
        {"pruner": {"name": "patient", "patience": 9, "wrapped": {"name": "hyperband", "max_resource": 4}}},
        {"sampler": {"name": "pbt", "population_size": 2, "perturbation_interval": 3, "max_resource": 4}},
    ],
)
def test_a_trial_that_trains_past_its_last_step_is_told_to_end_and_is_complete(
    yard: Yard, sections: dict[str, Any]
) -> None:
    study_id, worker = yard.begin(study(budget={"trials": 2, "parallel": 2}, **sections)), yard.worker()
    attempt = worker.start(study_id, 0).attempt
    told = [worker.report(attempt, step, 1 / step).decision for step in (1, 2)]
    if "sampler" in sections:  # a member waits at step 3, and goes on from there
        for following in (1, 0):
            assert worker.report(attempt, 3, 0.5).decision == "pause"
            worker.finish(attempt, outcome="paused")
            attempt = worker.start(study_id, following).attempt
    yard.restart()
    told += [worker.report(attempt, step, 1 / step).decision for step in (4, 5, 6)]
    worker.finish(attempt)

    assert told == ["continue", "continue", "continue", "stop", "stop"]
    assert (yard.trials(study_id)[0].state, yard.trials(study_id)[0].values) == ("COMPLETE", {METRIC: 1 / 6})
