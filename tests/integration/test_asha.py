"""Trials that wait at a rung with their checkpoint and are promoted when it lets them, through the whole scheduler."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from store.messages import Assignment, AttemptKey, Done, Finish, RetryTrial, Settled
from store.models import StudyState
from tests.yard import METRIC, Worker, Yard, study

# Rungs at 1 and 3
ASHA = {"name": "asha", "min_resource": 1, "max_resource": 9, "reduction_factor": 3, "least_complete": 0}
VALUES = [0.5, 0.3, 0.4, 0.2, 0.6, 0.1, 0.7]


@dataclass
class Training:
    """A trial's training as a worker does it: value after value, from the checkpoint of its last report."""

    values: list[float]
    seconds: float = 0  # of an epoch
    done: dict[int, int] = field(default_factory=dict)  # epochs by trial number

    def step(self, worker: Worker, attempt: AttemptKey) -> str:
        """One epoch."""
        epoch = self.done.get(attempt.number, 0) + 1
        worker.yard.clock.jump(timedelta(seconds=self.seconds))
        decision = worker.report(attempt, epoch, self.values[attempt.number]).decision
        self.done[attempt.number] = epoch
        return decision

    def end(self, worker: Worker, attempt: AttemptKey, decision: str) -> None:
        outcome = "paused" if decision == "pause" else "finished"
        settled = worker.say(Finish(attempt=attempt, outcome=outcome))  # type: ignore[arg-type]
        assert isinstance(settled, Settled)
        assert not settled.stale

    def run(self, worker: Worker, assignment: Assignment) -> str:
        """To the end, or to the rung that holds the trial."""
        decision = "continue"
        while decision == "continue" and self.done.get(assignment.attempt.number, 0) < 9:
            decision = self.step(worker, assignment.attempt)
        self.end(worker, assignment.attempt, decision)
        return decision


@pytest.mark.parametrize("restarts", [False, True])
def test_a_place_goes_to_the_best_that_waits_or_else_to_a_new_trial(yard: Yard, restarts: bool) -> None:
    """By hand, smaller is better; of n at a rung the best n // 3 may go on:

    0 (0.5) comes to rung 1 as the first, waits. 1 (0.3) waits: of 2 none may go on. 2 (0.4): of 3 one may, which is 1:
    2 waits, and 1 goes on to rung 3, where it waits as the only one. 3 (0.2) is the best of 4 and goes on without a
    stop to rung 3, waits there. 4 (0.6) waits: the best of 5 has gone. 5 (0.1) is the best of 6, and at rung 3 the best
    of 3: it goes on to its end. 6 (0.7) waits; nobody may go on, no trial is left, so all that wait are PRUNED.
    """
    study_id = yard.begin(study(pruner=ASHA, budget={"trials": 7, "parallel": 1}))
    worker, training = yard.worker(), Training(VALUES)
    order = []
    while yard.study(study_id).state == "RUNNING":
        if restarts:
            yard.restart()
        [number] = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
        order.append(number)
        training.run(worker, worker.start(study_id, number))

    assert order == [0, 1, 2, 1, 3, 4, 5, 6]
    assert training.done == {0: 1, 1: 3, 2: 1, 3: 3, 4: 1, 5: 9, 6: 1}
    assert yard.states(study_id) == [*["PRUNED"] * 5, "COMPLETE", "PRUNED"]
    assert yard.trials(study_id)[5].values == {METRIC: 0.1}
    assert yard.trials(study_id)[0].reason == "it was not among the best of its rung"
    assert [len(yard.attempts(study_id, number)) for number in range(7)] == [1, 2, 1, 1, 1, 1, 1]
    assert [attempt.outcome for attempt in yard.attempts(study_id, 1)] == ["paused", "paused"]
    assert yard.study(study_id).state == "COMPLETE"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_the_best_of_the_last_trials_go_on_until_enough_are_complete(yard: Yard, restarts: bool) -> None:
    """As above until 6 waits, when 5 alone is complete: 3 (0.2) and 1 (0.3) wait at rung 3, 2 (0.4) before others at 1.

    They go on in this order; 2 is held once more at rung 3, and let go.
    """
    study_id = yard.begin(study(pruner=ASHA | {"least_complete": 4}, budget={"trials": 7, "parallel": 1}))
    worker, training = yard.worker(), Training(VALUES)
    order = []
    while yard.study(study_id).state == "RUNNING":
        if restarts:
            yard.restart()
        [number] = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
        order.append(number)
        training.run(worker, worker.start(study_id, number))

    assert order == [0, 1, 2, 1, 3, 4, 5, 6, 3, 1, 2, 2]
    assert training.done == {0: 1, 1: 9, 2: 9, 3: 9, 4: 1, 5: 9, 6: 1}
    assert yard.states(study_id) == ["PRUNED", *["COMPLETE"] * 3, "PRUNED", "COMPLETE", "PRUNED"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_trial_that_ends_well_without_a_report_is_one_of_the_complete(yard: Yard, restarts: bool) -> None:
    study_id = yard.begin(study(pruner=ASHA | {"least_complete": 1}, budget={"trials": 2, "parallel": 1}))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, 0.5)
    if restarts:
        yard.restart()
    Training(VALUES).run(worker, worker.start(study_id, 1))

    assert yard.states(study_id) == ["COMPLETE", "PRUNED"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_promoted_trial_that_failed_and_runs_again_is_on_its_way_to_be_complete(yard: Yard, restarts: bool) -> None:
    study_id = yard.begin(study(pruner=ASHA | {"least_complete": 1}, budget={"trials": 3, "parallel": 2}))
    worker, training = yard.worker(), Training(VALUES)
    for number in range(3):
        training.run(worker, worker.start(study_id, number))
    promoted = worker.start(study_id, 1).attempt
    yard.set_state(study_id, StudyState.PAUSED)
    worker.finish(promoted, outcome="failed", reason="no memory")
    assert worker.say(RetryTrial(study_id=study_id, number=1)) == Done(number=1)
    if restarts:
        yard.restart()
    yard.set_state(study_id, StudyState.RUNNING)

    assert yard.states(study_id) == ["PAUSED", "QUEUED", "PAUSED"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("pruner", "order", "complete"),
    [
        # 5 ends after 180 seconds. A new trial would take 81 (nine tenths of what was measured), from rung 3 on one of
        # the two that wait there takes 54: the better one goes on until 240, and then there is time for none.
        (ASHA, [0, 1, 2, 1, 3, 4, 5, 3], [3, 5]),
        ({"name": "none"}, [0, 1], [0, 1]),  # 90 seconds each, before one is complete its length is not known
    ],
)
def test_what_cannot_end_before_the_timeout_is_not_begun(
    yard: Yard, pruner: dict[str, object], order: list[int], complete: list[int]
) -> None:
    """As in the first test, at ten seconds an epoch."""
    study_id = yard.begin(study(pruner=pruner, budget={"trials": 7, "parallel": 1, "timeout": 260}))
    worker, training, began = yard.worker(), Training(VALUES, seconds=10), []
    while yard.study(study_id).state == "RUNNING":
        [number] = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
        began.append(number)
        training.run(worker, worker.start(study_id, number))

    assert began == order
    assert [number for number, state in enumerate(yard.states(study_id)) if state == "COMPLETE"] == complete
    assert {training.done[number] for number in complete} == {9}
    assert yard.study(study_id).reason == "budget.timeout leaves no trial the time to end"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_last_cells_of_a_grid_go_on_too(yard: Yard) -> None:
    """Two of four cells keep the inequality; the better one goes on, though the budget has room for more."""
    sections = {
        "parameters": {"a": {"values": [1, 2]}, "b": {"values": [1, 2]}},
        "parameter_constraints": ["a + b >= 2.5", "b <= a"],
    }
    pruner = ASHA | {"least_complete": 1}
    study_id = yard.begin(
        study(sampler={"name": "grid"}, pruner=pruner, budget={"trials": 9, "parallel": 1}, **sections)
    )
    worker, training = yard.worker(), Training(VALUES)
    while yard.study(study_id).state == "RUNNING":
        [number] = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
        training.run(worker, worker.start(study_id, number))

    assert training.done == {0: 1, 1: 9}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_trial_is_lost_or_trained_twice_whatever_dies(yard: Yard) -> None:
    chance = random.Random(5)
    trials = 24
    pruner = ASHA | {"least_complete": 4}
    study_id = yard.begin(study(pruner=pruner, budget={"trials": trials, "parallel": 3, "retries": 100}))
    training = Training([chance.random() for _ in range(trials)])
    at_work: dict[str, Assignment] = {}
    while yard.study(study_id).state == "RUNNING":
        if chance.random() < 0.1:
            yard.restart()
        worker = yard.worker(f"w{chance.randrange(3)}")
        assignment = at_work.get(worker.name)
        if assignment is None:
            queued = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
            if queued:
                at_work[worker.name] = worker.start(study_id, queued[0])
        elif chance.random() < 0.1:
            worker.say(Finish(attempt=at_work.pop(worker.name).attempt, outcome="lost", reason="its process died"))
        else:
            decision = training.step(worker, assignment.attempt)
            if decision == "pause" and chance.random() < 0.3:
                worker.say(Finish(attempt=at_work.pop(worker.name).attempt, outcome="lost", reason="killed at a rung"))
            elif decision == "pause" or training.done[assignment.attempt.number] == 9:
                training.end(worker, at_work.pop(worker.name).attempt, decision)

    rows = yard.trials(study_id)
    assert [row.number for row in rows] == list(range(trials))
    assert {row.state for row in rows} == {"COMPLETE", "PRUNED"}
    epochs = [sorted(report.step for report in yard.reports(study_id, number)) for number in range(trials)]
    assert epochs == [list(range(1, training.done[number] + 1)) for number in range(trials)]
    # A third leaves each rung, and a few more: who was promoted early may have been overtaken since.
    assert {len(steps) for steps in epochs} == {1, 3, 9}
    assert trials // 3 <= sum(len(steps) >= 3 for steps in epochs) <= trials // 3 + 4
    best = training.values.index(min(training.values))
    assert len(epochs[best]) == 9


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_resuming_a_study_leaves_at_its_rung_who_waits_there(yard: Yard) -> None:
    study_id = yard.begin(study(pruner=ASHA, budget={"trials": 5, "parallel": 2}))
    worker, other, training = yard.worker(), yard.worker("w2"), Training([0.5, 0.6, 0.7, 0.8, 0.4])
    for number in range(3):
        training.run(worker, worker.start(study_id, number))  # trial 0 is the best of three, and promoted
    promoted = other.start(study_id, 0)
    assert yard.states(study_id) == ["RUNNING", "PAUSED", "PAUSED", "QUEUED"]
    yard.set_state(study_id, StudyState.PAUSED)
    decision = training.step(other, promoted.attempt)
    training.end(other, promoted.attempt, decision)
    assert (decision, yard.states(study_id)) == ("pause", ["PAUSED", "PAUSED", "PAUSED", "WAITING"])

    yard.restart()
    yard.set_state(study_id, StudyState.RUNNING)

    assert yard.states(study_id) == ["QUEUED", "PAUSED", "PAUSED", "QUEUED"]
    yard.set_state(study_id, StudyState.CANCELLED)
    assert set(yard.states(study_id)) == {"CANCELLED"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_workers_that_are_not_ours_are_handed_promoted_trials_before_new_ones(yard: Yard) -> None:
    study_id = yard.submit(study(pruner=ASHA, budget={"trials": 4}, trial={"kind": "external"}))
    worker = yard.worker()
    numbers = []
    for value in (0.5, 0.3, 0.4):
        [item] = worker.ask(study_id).items
        numbers.append(item.attempt.number)
        assert worker.report(item.attempt, 1, value).decision == "pause"  # which ends the attempt

    [item] = worker.ask(study_id).items

    assert (numbers, item.attempt.number, item.attempt.attempt) == ([0, 1, 2], 1, 2)
    assert yard.states(study_id) == ["PAUSED", "RUNNING", "PAUSED"]
