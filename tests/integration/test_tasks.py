"""Tasks that follow a study's trials: handed to a worker, done once, done again when their worker is lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from store.messages import AttemptKey, FinishTask, Nothing, Settled, TakeTask, TaskAssignment
from store.models import StudyRow, StudyState, TaskRow
from store.queue import TrialQueue
from store.session import writes
from store.tasks import Tasks
from tests.yard import Worker, Yard, study


def add_task(yard: Yard, study_id: int, **request: Any) -> int:
    """What the API does: write the task, wake the scheduler."""
    with writes(yard.engine).begin() as session:
        number = Tasks(session, session.get_one(StudyRow, study_id)).add("ensemble", request, yard.clock.now()).number
    yard.wake(study_id)
    return number


def task(yard: Yard, study_id: int, number: int) -> TaskRow:
    with Session(yard.engine) as session:
        return session.get_one(TaskRow, (study_id, number))


def take(worker: Worker, study_id: int, number: int) -> TaskAssignment:
    yard = worker.yard
    yard.client.delete("rq:queue:trials:default")
    answer = worker.say(TakeTask(study_id=study_id, number=number, worker=worker.name))
    assert isinstance(answer, TaskAssignment), answer
    return answer


def waiting(yard: Yard) -> set[tuple[int, ...]]:
    return set(TrialQueue(yard.client).waiting_tasks())


def test_a_task_is_done_also_when_its_study_has_ended_and_its_result_is_kept(yard: Yard) -> None:
    study_id = yard.submit(study())
    yard.set_state(study_id, StudyState.CANCELLED)

    number = add_task(yard, study_id, method="average")
    assert waiting(yard) == {(study_id, number, 1)}
    worker = yard.worker()
    given = take(worker, study_id, number)
    assert (given.task, given.request) == ("ensemble", {"method": "average"})
    worker.say(FinishTask(attempt=given.attempt, outcome="finished", result={"val/accuracy": 0.9}))

    done = task(yard, study_id, number)
    assert (done.state, done.result, done.attempt) == ("COMPLETE", {"val/accuracy": 0.9}, 1)
    assert done.ended_at is not None
    assert waiting(yard) == set()


def test_a_task_whose_worker_falls_silent_is_given_to_another_and_the_first_one_is_not_heard(yard: Yard) -> None:
    study_id = yard.begin(study())
    number = add_task(yard, study_id)
    silent, other = yard.worker("silent"), yard.worker("other")
    old = take(silent, study_id, number)

    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    assert (study_id, number, 2) in waiting(yard)
    new = take(other, study_id, number)

    late = silent.say(FinishTask(attempt=old.attempt, outcome="finished", result={"from": "late"}))
    other.say(FinishTask(attempt=new.attempt, outcome="finished", result={"from": "other"}))
    assert isinstance(late, Settled)
    assert late.stale
    assert task(yard, study_id, number).result == {"from": "other"}


def test_a_task_that_kills_three_processes_has_failed_and_one_given_back_is_not_counted(yard: Yard) -> None:
    study_id = yard.begin(study())
    number = add_task(yard, study_id)
    worker = yard.worker()
    worker.say(FinishTask(attempt=take(worker, study_id, number).attempt, outcome="returned"))

    for _ in range(3):
        assert task(yard, study_id, number).state == "QUEUED"
        worker.say(FinishTask(attempt=take(worker, study_id, number).attempt, outcome="lost", reason="signal 9"))

    failed = task(yard, study_id, number)
    assert (failed.state, failed.reason) == ("FAILED", "lost 3 times, the last time because signal 9")


def test_the_queue_is_filled_again_after_a_wipe_and_a_restart_and_a_running_task_stays_with_its_worker(
    yard: Yard,
) -> None:
    study_id = yard.begin(study())
    running, queued = add_task(yard, study_id), add_task(yard, study_id)
    worker = yard.worker()
    given = take(worker, study_id, running)

    yard.client.flushall()
    yard.restart()

    assert waiting(yard) == {(study_id, queued, 1)}
    assert take(worker, study_id, running).attempt == given.attempt


def test_a_task_that_was_deleted_is_handed_to_nobody(yard: Yard) -> None:
    study_id = yard.begin(study())
    number = add_task(yard, study_id)
    with writes(yard.engine).begin() as session:
        Tasks(session, session.get_one(StudyRow, study_id)).delete(number)
    yard.wake(study_id)

    worker = yard.worker()
    assert isinstance(worker.say(TakeTask(study_id=study_id, number=number, worker="w1")), Nothing)
    ended = worker.say(FinishTask(attempt=AttemptKey(study_id, number, 1), outcome="finished"))
    assert isinstance(ended, Settled)
    assert ended.stale


def test_whoever_has_done_a_task_that_was_deleted_meanwhile_hears_that_nobody_wants_what_it_left(yard: Yard) -> None:
    study_id = yard.begin(study())
    number = add_task(yard, study_id)
    worker = yard.worker()
    given = take(worker, study_id, number)
    with writes(yard.engine).begin() as session:
        Tasks(session, session.get_one(StudyRow, study_id)).delete(number)
    yard.wake(study_id)

    ended = worker.say(FinishTask(attempt=given.attempt, outcome="finished"))
    again = worker.say(FinishTask(attempt=given.attempt, outcome="finished"))

    assert isinstance(ended, Settled)
    assert isinstance(again, Settled)
    assert [(ended.stale, ended.gone), (again.stale, again.gone)] == [(True, True), (True, False)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_that_takes_a_task_has_lost_its_trial(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    worker.start(study_id, 0)
    number = add_task(yard, study_id)

    take(worker, study_id, number)

    assert yard.attempts(study_id, 0)[0].outcome == "lost"
