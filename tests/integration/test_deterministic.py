"""`deterministic: true`: the same trials come of it, whichever worker is faster."""

from __future__ import annotations

import random
from typing import Any

import pytest

from search.definition import parse
from store.errors import DefinitionError
from store.messages import Assignment, AttemptKey, Enqueue, RetryTrial
from tests.yard import Yard, study

EPOCHS = 3
PARAMETERS = {"x": {"low": -1.0, "high": 1.0}, "k": {"values": ["a", "b", "c"]}}
PLACES = {"a": 0, "b": 1, "c": 2}
TWO = [{"metric": "loss", "direction": "minimize"}, {"metric": "k", "direction": "maximize"}]
Row = tuple[dict[str, Any], str, dict[str, float] | None, int | None]


def search(yard: Yard, seed: int, restarts: bool = False, **sections: Any) -> list[Row]:
    """All trials of a study in which chance says which of three workers reports next."""
    budget = {"trials": 10, "parallel": 3, "max_failed": None}
    sampler = {"name": "tpe", "seed": 5, "n_startup_trials": 3}
    document = study(f"s{seed}", parameters=PARAMETERS, budget=budget, sampler=sampler, **sections)
    study_id = yard.begin(document)
    order, running = random.Random(seed), dict[str, tuple[Assignment, int]]()
    while (live := yard.scheduler._studies.get(study_id)) is not None:
        idle = [name for name in ("w1", "w2", "w3") if name not in running]
        queued = [trial.number for trial in live.queued()]
        if idle and queued:
            running[idle[0]] = (yard.worker(idle[0]).start(study_id, queued[0]), 0)
            continue
        name = order.choice(sorted(running))
        assignment, epoch = running[name]
        running[name] = (assignment, epoch + 1)
        measured = loss(assignment.parameters, epoch + 1)
        value = (
            {"loss": measured, "k": float(PLACES[assignment.parameters["k"]])} if "objective" in sections else measured
        )
        if not goes_on(yard, name, assignment.attempt, epoch + 1, value):
            del running[name]
        if restarts and order.random() < 0.2:
            yard.restart()
    return [(trial.parameters, trial.state, trial.values, trial.step) for trial in yard.trials(study_id)]


def loss(parameters: dict[str, Any], epoch: int) -> float:
    return float(parameters["x"]) ** 2 + PLACES[parameters["k"]] + 1 / epoch


def goes_on(yard: Yard, name: str, attempt: AttemptKey, epoch: int, value: float | dict[str, float]) -> bool:
    worker = yard.worker(name)
    if attempt.number == 3 and epoch == 2:
        worker.finish(attempt, outcome="failed", reason="it diverged")
        return False
    decision = worker.report(attempt, epoch, value).decision
    if decision == "continue" and epoch < EPOCHS:
        return True
    worker.finish(attempt, outcome="pruned" if decision == "prune" else "finished")
    return False


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "sections",
    [
        {"pruner": {"name": "percentile", "percentile": 25.0, "n_startup_trials": 1}},
        {"pruner": {"name": "successive_halving", "reduction_factor": 4}},
        {"pruner": {"name": "successive_halving", "reduction_factor": 2}, "objective": TWO},
    ],
)
def test_the_same_table_comes_of_any_order_in_which_trials_report_and_end(yard: Yard, sections: dict[str, Any]) -> None:
    first = search(yard, 1, deterministic=True, **sections)

    assert search(yard, 2, restarts=True, deterministic=True, **sections) == first
    assert {state for _, state, _, _ in first} == {"COMPLETE", "PRUNED", "FAILED"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_it_the_order_decides(yard: Yard) -> None:
    assert search(yard, 1) != search(yard, 2)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_proposal_waits_for_the_trials_that_it_must_know(yard: Yard) -> None:
    """With two at once trial 2 is proposed from trial 0: while that runs, the place of trial 1 stays free."""
    study_id = yard.begin(study(budget={"trials": 4, "parallel": 2}, deterministic=True))
    slow, fast = yard.worker("w1"), yard.worker("w2")
    zero = slow.start(study_id, 0).attempt
    one = fast.start(study_id, 1).attempt

    assert fast.finish(one, 0.5, pull=True).next is None
    assert yard.states(study_id) == ["RUNNING", "COMPLETE"]
    yard.restart()
    assert yard.states(study_id) == ["RUNNING", "COMPLETE"]
    assert slow.finish(zero, 0.4, pull=True).next is not None
    yard.turn()

    assert yard.states(study_id) == ["COMPLETE", "COMPLETE", "RUNNING", "QUEUED"]
    assert "deterministic" in yard.worker("api").say(RetryTrial(study_id=study_id, number=0)).message  # type: ignore[union-attr]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_after_a_restart_a_proposal_still_waits_for_what_a_trial_of_a_persons_did_not(yard: Yard) -> None:
    """With two at once trial 3 is proposed from trials 0 and 1; trial 2, which somebody enqueues, waits for none."""
    study_id = yard.begin(study(budget={"trials": 4, "parallel": 2}, deterministic=True))
    slow, fast = yard.worker("w1"), yard.worker("w2")
    zero = slow.start(study_id, 0).attempt
    one = fast.start(study_id, 1).attempt
    yard.worker("api").say(Enqueue(study_id=study_id, parameters={"x": 0.5, "k": "a"}))
    yard.restart()

    fast.finish(one, 0.5)
    fast.finish(fast.start(study_id, 2).attempt, 0.5)
    assert yard.states(study_id) == ["RUNNING", "COMPLETE", "COMPLETE"]

    slow.finish(zero, 0.5)
    yard.turn()
    assert yard.states(study_id) == ["COMPLETE", "COMPLETE", "COMPLETE", "QUEUED"]


@pytest.mark.parametrize(
    ("sections", "places"),
    [
        ({"budget": {"trials": 4}}, ["budget.parallel"]),
        (
            {"budget": {"trials": 4, "parallel": 2, "timeout": "1h", "target": 0.1}},
            ["budget.timeout", "budget.target"],
        ),
        ({"pruner": {"name": "hyperband", "max_resource": 9}}, ["pruner.name"]),
        ({"pruner": {"name": "asha", "max_resource": 9}}, ["pruner.name"]),
        ({"deterministic": "yes"}, ["deterministic"]),
    ],
)
def test_what_depends_on_the_clock_is_refused(sections: dict[str, Any], places: list[str]) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(study(**({"deterministic": True} | sections)))

    assert [problem.path for problem in caught.value.problems] == places
