"""A population that trains through the whole scheduler: members wait, copy from each other, and outlive what dies."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from store.messages import Amend, Assignment, AttemptKey, Enqueue, Finish, Refused, Settled
from store.models import CopyRow, StudyState
from tests.yard import METRIC, Worker, Yard, study

LAST = 6
PBT = {"name": "pbt", "seed": 7, "population_size": 4, "perturbation_interval": 2, "max_resource": LAST}


def population(**sections: Any) -> dict[str, Any]:
    return study(sampler=PBT, budget={"parallel": 1, "retries": 100}) | sections


def copies(yard: Yard, study_id: int) -> list[CopyRow]:
    with Session(yard.engine) as session:
        query = select(CopyRow).where(CopyRow.study_id == study_id).order_by(CopyRow.at, CopyRow.number)
        return list(session.scalars(query))


@dataclass
class Trainings:
    """What workers do and leave: a checkpoint is the epoch that it is of. An epoch's loss is far from x, less so in
    later epochs; nothing is random.
    """

    left: dict[tuple[int, int], int] = field(default_factory=dict)  # by trial and attempt
    begun: list[tuple[int, int]] = field(default_factory=list)  # trial and the epoch that it began after

    def begin(self, assignment: Assignment) -> int:
        """The epoch that an attempt goes on from."""
        number, membership = assignment.attempt.number, assignment.membership
        assert membership is not None
        for attempt in membership.spent:
            self.left.pop((number, attempt), None)
        own = [self.left[number, attempt] for attempt in assignment.resumable if (number, attempt) in self.left]
        if own or membership.copies is None:
            epoch = own[0] if own else 0
        else:
            epoch = self.left[membership.copies.number, membership.copies.attempt]
        self.begun.append((number, epoch))
        return epoch

    def step(self, worker: Worker, assignment: Assignment, epoch: int) -> str:
        loss = abs(assignment.parameters["x"] - 0.3) + 1 / epoch
        return worker.report(assignment.attempt, epoch, loss).decision

    def end(self, worker: Worker, attempt: AttemptKey, epoch: int, decision: str) -> None:
        self.left[attempt.number, attempt.attempt] = epoch
        outcome = "paused" if decision == "pause" else "finished"
        settled = worker.say(Finish(attempt=attempt, outcome=outcome))  # type: ignore[arg-type]
        assert isinstance(settled, Settled)
        assert not settled.stale

    def run(self, worker: Worker, assignment: Assignment) -> str:
        """To where it waits, or to its end."""
        epoch, decision = self.begin(assignment), "continue"
        while decision == "continue" and epoch < LAST:
            epoch += 1
            decision = self.step(worker, assignment, epoch)
        self.end(worker, assignment.attempt, epoch, decision)
        return decision


def run(yard: Yard, study_id: int, restarts: bool = False) -> tuple[Trainings, list[int]]:
    """On one slot, to the study's end: what was trained, in which order."""
    worker, trainings, order = yard.worker(), Trainings(), []
    while yard.study(study_id).state == "RUNNING":
        if restarts:
            yard.restart()
        [number] = [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]
        order.append(number)
        trainings.run(worker, worker.start(study_id, number))
    return trainings, order


def test_one_slot_trains_a_population_with_restarts_as_without(yard: Yard) -> None:
    """By hand: seed 7 draws x = 0.619, 0.338, 0.983 and 0.864, and of four ceil(0.25 · 4) = 1 is best and 1 is worst.

    All come to step 2 first: 0.819, 0.538, 1.183, 1.064. 0 and 1 go on to step 4. 2 was the worst, and goes on from the
    newest checkpoint of 1, which is of step 4, to the end. 3 goes on to step 4. What is known of step 4 is then 0.569,
    0.288 and 0.814: 0 and 1 go on to the end, and 3 does so from the checkpoint of 1.
    """
    study_id = yard.begin(population())
    trainings, order = run(yard, study_id)
    other = yard.begin(population(name="restarted"))
    again, order_again = run(yard, other, restarts=True)

    assert order == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 3]
    assert [epoch for _, epoch in trainings.begun] == [0, 0, 0, 0, 2, 2, 4, 2, 4, 4, 4]
    first, second = copies(yard, study_id)
    assert (first.number, first.turn, first.step, first.value) == (2, 1, 2, pytest.approx(1.183, abs=1e-3))
    assert (first.source, first.source_attempt, first.source_step) == (1, 2, 4)
    assert (second.number, second.turn, second.step, second.value) == (3, 1, 4, pytest.approx(0.814, abs=1e-3))
    assert second.source_value == first.source_value == pytest.approx(0.288, abs=1e-3)
    rows = yard.trials(study_id)
    assert [row.parameters for row in rows][2:] == [first.after, second.after]
    assert first.before["x"] == pytest.approx(0.983, abs=1e-3)
    assert first.after["x"] == pytest.approx(0.8 * rows[1].parameters["x"])
    assert yard.states(study_id) == ["COMPLETE"] * 4
    assert yard.study(study_id).state == "COMPLETE"

    assert (again.begun, order_again) == (trainings.begun, order)
    assert [_told(copy) for copy in copies(yard, other)] == [_told(copy) for copy in (first, second)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nothing_is_lost_or_copied_twice_whatever_dies(yard: Yard) -> None:
    chance = random.Random(11)
    pbt = PBT | {"population_size": 6}
    study_id = yard.begin(population(sampler=pbt, budget={"parallel": 3, "retries": 100}))
    trainings = Trainings()
    at_work: dict[str, tuple[Assignment, int]] = {}
    while yard.study(study_id).state == "RUNNING":
        if chance.random() < 0.15:
            yard.restart()
        worker = yard.worker(f"w{chance.randrange(3)}")
        if worker.name not in at_work:
            if queued := [trial.number for trial in yard.trials(study_id) if trial.state == "QUEUED"]:
                assignment = worker.start(study_id, queued[0])
                at_work[worker.name] = assignment, trainings.begin(assignment)
            continue
        assignment, epoch = at_work.pop(worker.name)
        if chance.random() < 0.1:
            worker.say(Finish(attempt=assignment.attempt, outcome="lost", reason="its process died"))
            continue
        decision = trainings.step(worker, assignment, epoch + 1) if epoch < LAST else "continue"
        if decision == "pause" and chance.random() < 0.3:  # after its report, before its checkpoint
            worker.say(Finish(attempt=assignment.attempt, outcome="lost", reason="killed with its checkpoint"))
        elif decision == "pause" or epoch + 1 >= LAST:
            trainings.end(worker, assignment.attempt, min(epoch + 1, LAST), decision)
        else:
            at_work[worker.name] = assignment, epoch + 1

    assert yard.states(study_id) == ["COMPLETE"] * 6
    found = copies(yard, study_id)
    assert found
    for number in range(6):
        own = [copy for copy in found if copy.number == number]
        assert [copy.turn for copy in own] == list(range(1, len(own) + 1))
        assert all(earlier.after == later.before for earlier, later in itertools.pairwise(own))
        assert not own or own[-1].after == yard.trials(study_id)[number].parameters
        assert max(report.step for report in yard.reports(study_id, number)) == LAST
    for copy in found:
        source = next(each for each in yard.attempts(study_id, copy.source) if each.attempt == copy.source_attempt)
        assert source.outcome == "paused"
        assert _loss_at(yard, study_id, copy.source, copy.source_step, copy.source_attempt) == copy.source_value
    # Beside what running attempts go on from, each member has left its last few.
    assert len(trainings.left) < 3 * 6


def test_a_worker_that_pulls_is_given_the_member_that_it_has_just_let_go(yard: Yard) -> None:
    """One attempt ends and the trial's next one begins in one batch."""
    study_id = yard.begin(population(sampler=PBT | {"population_size": 2}))
    worker, trainings = yard.worker(), Trainings()
    trainings.run(worker, worker.start(study_id, 0))
    assignment = worker.start(study_id, 1)
    for epoch in (1, 2):
        trainings.step(worker, assignment, epoch)
    worker.say(Finish(attempt=assignment.attempt, outcome="failed", reason="a bug"))  # leaves one member
    assignment = worker.start(study_id, 0)
    for epoch in (3, 4):
        trainings.step(worker, assignment, epoch)

    settled = worker.say(Finish(attempt=assignment.attempt, outcome="paused", pull=True))

    assert isinstance(settled, Settled)
    assert settled.next is not None
    assert settled.next.attempt == AttemptKey(study_id, 0, 3)
    assert [attempt.outcome for attempt in yard.attempts(study_id, 0)] == ["paused", "paused", None]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_member_that_diverges_goes_on_from_another_as_often_as_it_may(yard: Yard) -> None:
    study_id = yard.begin(population(budget={"parallel": 1, "retries": 1}, sampler=PBT | {"population_size": 2}))
    worker, trainings = yard.worker(), Trainings()
    trainings.run(worker, worker.start(study_id, 0))
    first = worker.start(study_id, 1)
    worker.say(Finish(attempt=first.attempt, outcome="diverged", reason="val/loss is nan"))

    second = worker.start(study_id, 1)  # it has come least far

    assert yard.trials(study_id)[1].reason is None
    assert yard.attempts(study_id, 1)[0].reason == "val/loss is nan; it goes on from another member"
    [copy] = copies(yard, study_id)
    assert (copy.number, copy.step, copy.value, copy.source, copy.source_step) == (1, 0, None, 0, 2)
    assert second.membership is not None
    assert second.membership.copies == AttemptKey(study_id, 0, 1)
    worker.say(Finish(attempt=second.attempt, outcome="diverged", reason="val/loss is nan"))
    assert yard.states(study_id)[1] == "FAILED"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_paused_population_waits_and_what_people_add_is_a_member(yard: Yard) -> None:
    study_id = yard.begin(population(budget={"parallel": 1}))
    worker, trainings = yard.worker(), Trainings()
    answer = worker.say(Enqueue(study_id=study_id, parameters={"x": 0.3, "k": "b"}))
    assert answer.kind == "done"
    running = worker.start(study_id, 0)
    yard.set_state(study_id, StudyState.PAUSED)
    assert trainings.step(worker, running, 1) == "pause"
    trainings.end(worker, running.attempt, 1, "pause")
    assert yard.states(study_id)[0] == "PAUSED"
    yard.restart()
    yard.set_state(study_id, StudyState.RUNNING)

    run_on, _ = run(yard, study_id)

    assert yard.states(study_id) == ["COMPLETE"] * 4
    assert [number for number, _ in run_on.begun][:4] == [0, 1, 2, 3]
    assert {tuple(row.parameters) for row in yard.trials(study_id)} == {("x", "k")}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("restarts", [False, True])
def test_when_the_time_is_up_members_that_wait_are_finished_with_what_they_have(yard: Yard, restarts: bool) -> None:
    """Members 0 and 1 wait at step 2, member 2 is at step 1, and member 3 has not begun."""
    study_id = yard.begin(population(budget={"parallel": 2, "timeout": 100}))
    worker, other, trainings = yard.worker(), yard.worker("w2"), Trainings()
    for number in (0, 1):
        trainings.run(worker, worker.start(study_id, number))
    running = worker.start(study_id, 2)
    trainings.step(worker, running, 1)
    for _ in range(20):
        yard.clock.advance(6)
        worker.beat()
        other.beat()
        yard.turn()
    if restarts:
        yard.restart()

    assert trainings.step(worker, running, 2) == "stop"
    trainings.end(worker, running.attempt, 2, "stop")
    assert yard.states(study_id)[2:] == ["COMPLETE", "CANCELLED"]
    for number in (0, 1):
        again = other.start(study_id, number)
        assert again.membership is not None
        assert again.membership.ends
        assert trainings.begin(again) == 2
        other.say(Finish(attempt=again.attempt, outcome="finished", metrics={METRIC: 0.5}))

    assert yard.states(study_id) == ["COMPLETE"] * 3 + ["CANCELLED"]
    assert not copies(yard, study_id)
    assert (yard.study(study_id).state, yard.study(study_id).reason) == ("COMPLETE", "budget.timeout was reached")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_population_keeps_its_size_and_its_space(yard: Yard) -> None:
    study_id = yard.begin(population())
    for amend, words in (
        (Amend(study_id=study_id, budget={"trials": 9}), "each of the population's 4 members is one trial"),
        (Amend(study_id=study_id, parameters={"x": {"low": 0.0, "high": 2.0}}), "cannot be changed"),
    ):
        answer = yard.worker("api").say(amend)
        assert isinstance(answer, Refused)
        assert words in answer.message


def _told(copy: CopyRow) -> dict[str, Any]:
    return {
        column.name: getattr(copy, column.name)
        for column in CopyRow.__table__.columns
        if column.name not in ("study_id", "at")
    }


def _loss_at(yard: Yard, study_id: int, number: int, step: int, attempt: int | None = None) -> float:
    found = [
        report.metrics[METRIC]
        for report in yard.reports(study_id, number)
        if report.step == step and attempt in (None, report.attempt)
    ]
    return float(found[-1])
