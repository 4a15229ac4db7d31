"""What must hold when processes die, Redis is wiped, the database fails or two schedulers meet."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from search.lease import SchedulerLease, holder_name, is_dead
from search.rows import batch
from search.turn import RETURN_SECONDS
from store.bus import Received
from store.errors import LostLease
from store.messages import Assignment, AttemptKey, Decision, Finish, Gone, PreflightTask, Report, Settled, Take
from store.models import SchedulerLeaseRow
from store.session import writes
from tests.yard import METRIC, Worker, Yard, study


def test_a_new_study_that_we_fail_on_does_not_take_the_others_along(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = yard.begin(study())
    with monkeypatch.context() as patch:
        patch.setattr("search.optuna_study.make_pruner", lambda *_: [][0])
        bad = yard.submit(study("bad"))
        yard.turn()

    found = yard.study(bad)
    assert (found.state, yard.study(good).state) == ("FAILED", "RUNNING")
    assert "cannot be begun (IndexError: list index out of range)" in str(found.reason)
    assert yard.jobs()  # of the good one


@pytest.mark.parametrize("where", ["propose", "report", "finish"])
def test_a_study_whose_search_fails_in_mid_run_does_not_take_the_others_along(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    good, bad = yard.begin(study()), yard.begin(study("bad"))
    worker, other = yard.worker(), yard.worker("b")
    of_good, of_bad = worker.start(good, 0).attempt, other.start(bad, 0).attempt
    failing = yard.scheduler._studies[bad].optuna

    def fail(*_: object) -> None:
        raise ValueError("`nan` is invalid value.")

    monkeypatch.setattr(failing, where, fail)
    said = other.report(of_bad, 1, 0.5)
    other.finish(of_bad, 0.5)
    yard.turn()

    found = yard.study(bad)
    assert said.decision == ("stop" if where == "report" else "continue")
    assert (found.state, yard.study(good).state) == ("FAILED", "RUNNING")
    assert found.reason == "the search failed in a way that nobody foresaw: ValueError: `nan` is invalid value."
    assert not {"WAITING", "QUEUED", "RUNNING", "PAUSED"} & set(yard.states(bad))
    assert all(attempt.ended_at for number in (0, 1) for attempt in yard.attempts(bad, number))

    yard.restart()
    worker.finish(of_good, 0.1)
    assert yard.trials(good)[0].state == "COMPLETE"


def test_a_silent_workers_trial_goes_back_and_may_resume(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    lost, other = yard.worker("lost"), yard.worker("other")
    first = lost.start(study_id, 0)
    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    assert yard.states(study_id) == ["QUEUED"]
    assert yard.jobs() == {(study_id, 0, 2)}

    second = other.start(study_id, 0)
    assert (second.attempt.attempt, second.resumable) == (2, [1])
    assert lost.finish(first.attempt, 0.99).stale  # the worker that comes back late changes nothing
    other.finish(second.attempt, 0.5)
    assert yard.trials(study_id)[0].values == {METRIC: 0.5}
    assert [attempt.outcome for attempt in yard.attempts(study_id, 0)] == ["lost", "finished"]


@pytest.mark.parametrize("restarts", [False, True])
def test_who_goes_on_with_a_trial_hears_what_was_reported_last(yard: Yard, restarts: bool) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    lost, other = yard.worker("lost"), yard.worker("other")
    first = lost.start(study_id, 0)
    assert first.reported == {}
    lost.report(first.attempt, 1, 0.5)
    lost.report(first.attempt, 2, 0.75)
    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    if restarts:
        yard.restart()

    assert other.start(study_id, 0).reported == {METRIC: 0.75}


def test_a_worker_that_comes_back_leaves_its_old_trial_to_who_has_it_now(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    lost, other = yard.worker("lost"), yard.worker("other")
    lost.start(study_id, 0)
    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    other.start(study_id, 0)

    lost.start(study_id, 1)

    assert yard.states(study_id) == ["RUNNING", "RUNNING"]
    assert len(yard.attempts(study_id, 0)) == 2


def test_a_worker_that_beats_is_never_expired(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    worker = yard.worker()
    worker.start(study_id, 0)
    for _ in range(10):
        yard.clock.advance(yard.settings.beat_seconds)
        worker.beat()
        yard.turn()
    assert yard.states(study_id) == ["RUNNING"]


def test_what_a_worker_holds_that_lives_and_does_nothing_goes_back(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    worker = yard.worker("w")
    worker.start(study_id, 0)
    for _ in range(4):  # as when its end went to nobody
        yard.clock.advance(yard.settings.lease_seconds / 3)
        worker.beat("idle")
        yard.turn()

    assert yard.states(study_id) == ["QUEUED"]
    [attempt] = yard.attempts(study_id, 0)
    assert attempt.reason == "worker w has been idle for 8 s, and did not say how it ended"


def test_a_wipe_of_redis_expires_nobody_who_lives(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    worker = yard.worker()
    worker.beat()
    worker.start(study_id, 0)
    yard.clock.advance(yard.settings.lease_seconds - 1)
    yard.turn()
    worker.beat()
    yard.turn()
    yard.client.flushall()
    yard.clock.advance(yard.settings.lease_seconds - 1)  # no beat for as long as a lease almost lasts
    yard.turn()
    worker.beat()
    yard.turn()
    assert yard.states(study_id) == ["RUNNING"]


def test_a_trial_that_loses_every_worker_fails_after_its_retries(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1, "retries": 2}))
    for attempt in (1, 2, 3):
        assert yard.worker(f"w{attempt}").start(study_id, 0).attempt.attempt == attempt
        yard.clock.advance(yard.settings.lease_seconds + 1)
        yard.turn()
    trial = yard.trials(study_id)[0]
    assert trial.state == "FAILED"
    assert trial.reason == "lost 3 times, the last time because worker w3 gave no sign of life for 8 s"


def test_a_worker_that_leaves_gives_its_trial_back_without_a_retry(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, outcome="returned")
    trial = yard.trials(study_id)[0]
    assert (trial.state, trial.retries) == ("QUEUED", 0)


def test_a_worker_that_takes_something_else_has_lost_what_it_held(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    worker = yard.worker()
    worker.start(study_id, 0)
    worker.start(study_id, 1)  # its process began anew under the same name
    assert yard.states(study_id) == ["QUEUED", "RUNNING"]


def test_a_wipe_of_redis_brings_every_job_back(yard: Yard) -> None:
    running = yard.begin(study("one", budget={"trials": 3, "parallel": 3}))
    preparing = yard.submit(study("two"))
    expected = yard.jobs()
    assert expected == {(running, 0, 1), (running, 1, 1), (running, 2, 1), (preparing, None, 1)}
    yard.client.flushall()
    yard.turn()
    assert yard.jobs() == expected


def test_a_report_sent_into_a_wipe_is_settled_when_it_is_sent_again(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    report = Report(attempt=attempt, step=1, metrics={METRIC: 0.5})
    sequence = worker.post(report)
    yard.client.flushall()
    yard.turn()
    assert worker.answer() is None
    worker.post(report, sequence)
    yard.turn()
    assert worker.answer() is not None
    assert [row.step for row in yard.reports(study_id, 0)] == [1]


def test_after_a_restart_a_study_goes_on_where_it_was(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, 0.5)
    attempt = worker.start(study_id, 1).attempt
    worker.report(attempt, 1, 0.4)
    yard.restart()
    assert worker.report(attempt, 2, 0.3).decision == "continue"
    worker.finish(attempt, 0.3)
    worker.finish(worker.start(study_id, 2).attempt, 0.2)
    assert yard.states(study_id) == ["COMPLETE"] * 3
    assert yard.study(study_id).state == "COMPLETE"


def test_a_finish_whose_answer_died_with_the_scheduler_gets_the_same_next_trial(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 5, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    finish = Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}, pull=True)
    sequence = worker.post(finish)
    yard.turn()
    lost = worker.answer()
    yard.restart()
    worker.post(finish, sequence)
    yard.turn()
    again = worker.answer()
    assert lost is not None
    assert again is not None
    assert again.next == lost.next  # type: ignore[union-attr]
    assert yard.states(study_id) == ["COMPLETE", "RUNNING"]


def test_a_take_whose_answer_died_with_the_scheduler_gets_the_same_attempt(yard: Yard) -> None:
    study_id = yard.begin(study())
    worker = yard.worker()
    first = worker.start(study_id, 0)
    yard.restart()
    assert worker.take(study_id, 0) == first


def test_messages_that_were_read_and_not_committed_are_settled_by_the_successor(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}))
    assert len(yard.scheduler._inbox.read(None)) == 1  # … and dies here
    yard.restart()
    assert yard.states(study_id)[0] == "COMPLETE"
    assert worker.answer() is not None


def test_a_preflight_whose_worker_dies_is_run_again_and_then_given_up(yard: Yard) -> None:
    study_id = yard.submit(study(budget={"trials": 1, "retries": 1}))
    for name in ("w1", "w2"):
        assert isinstance(yard.worker(name).take(study_id, None), PreflightTask)
        yard.clock.advance(yard.settings.lease_seconds + 1)
        yard.turn()
    row = yard.study(study_id)
    assert row.state == "FAILED"
    assert (row.reason or "").startswith("the preflight was lost 2 times")


@pytest.mark.parametrize("how", ["silent", "idle", "gone"])
def test_what_becomes_of_the_worker_of_a_preflight_is_no_matter_afterwards(yard: Yard, how: str) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1, "retries": 0}))
    preflighter, worker = yard.worker("preflighter"), yard.worker("w")
    worker.start(study_id, 0)
    for _ in range(5):
        yard.clock.advance(yard.settings.lease_seconds / 3)
        worker.beat()
        if how == "idle":
            preflighter.beat("idle")
        yard.turn()
    if how == "gone":
        yard.worker("supervisor").post(Gone(worker="preflighter", reason="its slot's process was killed"))
        yard.turn()

    assert (yard.study(study_id).state, yard.states(study_id)) == ("RUNNING", ["RUNNING"])


def test_a_failed_transaction_is_forgotten_and_settled_again(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}, pull=True))

    events = yard.study(study_id).last_event
    rename(yard, "attempt", "elsewhere")
    with pytest.raises(DBAPIError):
        yard.scheduler.run_once()
    rename(yard, "elsewhere", "attempt")
    assert yard.states(study_id) == ["RUNNING"]
    assert yard.study(study_id).last_event == events

    yard.scheduler._forget()  # what `run` does next
    yard.turn()
    assert yard.states(study_id) == ["COMPLETE", "RUNNING"]
    assert worker.answer() is not None


def test_after_the_database_has_ended_all_connections_the_next_ones_are_new(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 3, "parallel": 1}))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}, pull=True))
    if yard.engine.dialect.name == "postgresql":
        end_connections(yard)
        with pytest.raises(DBAPIError):
            yard.scheduler.run_once()
        yard.scheduler._forget()  # what `run` does next

    yard.turn()
    assert yard.states(study_id) == ["COMPLETE", "RUNNING"]
    assert worker.answer() is not None


def test_what_was_folded_while_the_batch_before_was_written_is_written_when_redis_goes_away(yard: Yard) -> None:
    study_id, workers, attempts = all_running(yard, 2)
    inbox = yard.scheduler._inbox
    read, settle = inbox.read, inbox.settle
    inbox.read = lambda seconds, _most=256: read(seconds, 1)  # type: ignore[method-assign]
    inbox.settle = lambda *_: die(RedisConnectionError())  # type: ignore[method-assign,assignment]
    for worker, attempt in zip(workers, attempts, strict=True):
        worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}))

    with pytest.raises(RedisConnectionError):
        yard.scheduler.run_once()
    overlaps = yard.engine.dialect.name == "postgresql"
    assert yard.states(study_id) == ["COMPLETE", "COMPLETE" if overlaps else "RUNNING"]

    inbox.read, inbox.settle = read, settle  # type: ignore[method-assign]
    yard.scheduler._catch_up = True  # what `run` does next
    yard.turn()
    assert [worker.answer() for worker in workers] == [Settled(), Settled()]
    assert [row.outcome for number in (0, 1) for row in yard.attempts(study_id, number)] == ["finished", "finished"]
    sequences = [event.sequence for event in yard.events(study_id)]
    assert sequences == list(range(1, len(sequences) + 1))


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # nothing is folded while SQLite commits
def test_all_that_comes_in_while_a_batch_is_written_is_the_next_one(yard: Yard) -> None:
    _, workers, attempts = all_running(yard, 3)
    for worker, attempt in zip(workers, attempts, strict=True):
        worker.post(Report(attempt=attempt, step=1, metrics={METRIC: 0.4}))
    sent = count_turns(yard)
    with yard.engine.connect() as other:
        other.execute(text("SELECT 1 FROM study FOR UPDATE"))
        read_one_at_a_time(yard, lambda reads: other.rollback() if reads == 3 else None)
        yard.scheduler.run_once()

    assert sent == [1, 2]
    assert [worker.answer() for worker in workers] == 3 * [Decision(decision="continue")]


def test_those_who_were_answered_together_and_come_back_one_by_one_are_settled_together(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, workers, attempts = all_running(yard, 3)
    sent = count_turns(yard)
    for worker, attempt in zip(workers, attempts, strict=True):
        post_report(worker, attempt, 1)
    with slow_commit(yard):
        yard.scheduler.run_once()

    back = zip(workers, attempts, strict=True)
    post_report(*next(back), 2)
    clock = SimpleNamespace(sleep=lambda _seconds: post_report(*next(back), 2), monotonic=lambda: 0.0)
    monkeypatch.setattr("search.turn.time", clock)
    yard.scheduler.run_once()

    assert sent == [3, 3]


def test_who_comes_back_alone_is_not_kept_waiting_for_long(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    _, workers, attempts = all_running(yard, 3)
    sent, sleeps = count_turns(yard), list[float]()
    for worker, attempt in zip(workers, attempts, strict=True):
        post_report(worker, attempt, 1)
    with slow_commit(yard):
        yard.scheduler.run_once()

    monkeypatch.setattr("search.turn.time", SimpleNamespace(sleep=sleeps.append, monotonic=lambda: 0.0))
    for step in (2, 3):
        post_report(workers[0], attempts[0], step)
        yard.scheduler.run_once()

    assert sent == [3, 1, 1]
    assert sleeps == [RETURN_SECONDS]  # once: after that nobody else was answered with it


def test_after_a_quick_commit_nobody_is_waited_for(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    _, workers, attempts = all_running(yard, 3)
    sent, sleeps = count_turns(yard), list[float]()
    monkeypatch.setattr("search.turn.time", SimpleNamespace(sleep=sleeps.append, monotonic=lambda: 0.0))
    for worker, attempt in zip(workers, attempts, strict=True):
        post_report(worker, attempt, 1)
    yard.scheduler.run_once()
    post_report(workers[0], attempts[0], 2)
    yard.scheduler.run_once()

    assert sent == [3, 1]
    assert sleeps == []


def test_what_is_folded_while_others_come_back_is_the_time_that_they_are_given(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, workers, attempts = all_running(yard, 2)
    for worker, attempt in zip(workers, attempts, strict=True):
        post_report(worker, attempt, 1)
    with slow_commit(yard):
        yard.scheduler.run_once()

    sleeps, ticks = list[float](), itertools.count(step=RETURN_SECONDS / 4)  # so much time goes by at each look at it
    monkeypatch.setattr("search.turn.time", SimpleNamespace(sleep=sleeps.append, monotonic=lambda: next(ticks)))
    post_report(workers[0], attempts[0], 2)
    yard.scheduler.run_once()
    assert sleeps == [pytest.approx(RETURN_SECONDS * 3 / 4)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # nothing is folded while SQLite commits
def test_what_was_folded_ahead_is_written_although_redis_goes_away_before_the_rest_is_read(yard: Yard) -> None:
    study_id, workers, attempts = all_running(yard, 2)
    for worker, attempt in zip(workers, attempts, strict=True):
        worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}))
    with yard.engine.connect() as other:
        other.execute(text("SELECT 1 FROM study FOR UPDATE"))

        def break_at_the_third(reads: int) -> None:
            if reads == 3:
                other.rollback()
                raise RedisConnectionError

        read_one_at_a_time(yard, break_at_the_third)
        yard.scheduler.run_once()

    assert yard.states(study_id) == ["COMPLETE", "COMPLETE"]
    assert [worker.answer() for worker in workers] == [Settled(), Settled()]


def test_what_asks_sql_waits_for_the_batch_that_is_written_and_is_not_read_twice(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    worker = yard.worker("w0")
    attempt = worker.start(study_id, 0).attempt
    worker.post(Report(attempt=attempt, step=1, metrics={METRIC: 0.4}))
    other = yard.worker("w1")
    other.post(Take(study_id=study_id, number=1, worker="w1", device="cpu"))
    sent = count_turns(yard)
    read_one_at_a_time(yard, lambda _reads: None)
    yard.scheduler.run_once()
    yard.scheduler.run_once()

    assert sent == [1, 1]
    assert worker.answer() == Decision(decision="continue")
    assert isinstance(other.answer(), Assignment)


def test_nothing_that_was_folded_after_a_batch_that_failed_is_written(yard: Yard) -> None:
    study_id, workers, attempts = all_running(yard, 2)
    inbox = yard.scheduler._inbox
    read = inbox.read
    inbox.read = lambda seconds, _most=256: read(seconds, 1)  # type: ignore[method-assign]
    workers[0].post(Report(attempt=attempts[0], step=1, metrics={METRIC: 0.4}))
    workers[1].post(Finish(attempt=attempts[1], outcome="finished", metrics={METRIC: 0.4}))
    rename(yard, "report", "elsewhere")
    with pytest.raises(DBAPIError):
        yard.scheduler.run_once()
    rename(yard, "elsewhere", "report")
    assert yard.states(study_id) == ["RUNNING", "RUNNING"]

    inbox.read = read  # type: ignore[method-assign]
    yard.scheduler._forget()  # what `run` does next
    yard.turn()
    assert yard.states(study_id) == ["RUNNING", "COMPLETE"]
    assert all(worker.answer() for worker in workers)


def test_redis_may_be_wiped_between_a_batch_and_the_one_folded_beside_it(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 2}))
    worker = yard.worker("w0")
    attempt = worker.start(study_id, 0).attempt
    inbox = yard.scheduler._inbox
    read = inbox.read

    def read_and_lose(seconds: float | None, most: int = 256) -> Sequence[Received]:
        received = read(seconds, most)
        if received:
            yard.client.flushall()
        return received

    inbox.read = read_and_lose  # type: ignore[method-assign]
    worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}))
    yard.scheduler.run_once()
    inbox.read = read  # type: ignore[method-assign]

    assert worker.answer() == Settled()
    assert yard.states(study_id)[0] == "COMPLETE"
    yard.turn()
    assert yard.worker("w1").start(study_id, 1)  # the queue is made anew, and so is its group


def all_running(yard: Yard, trials: int) -> tuple[int, list[Worker], list[AttemptKey]]:
    """A study of so many trials, each of which runs on a worker of its own."""
    study_id = yard.begin(study(budget={"trials": trials, "parallel": trials}))
    workers = [yard.worker(f"w{number}") for number in range(trials)]
    return study_id, workers, [worker.start(study_id, number).attempt for number, worker in enumerate(workers)]


@contextmanager
def slow_commit(yard: Yard) -> Iterator[None]:
    """PostgreSQL is still writing a batch when the scheduler has looked once what has come in meanwhile.

    SQLite, for which nothing is done meanwhile, takes ten milliseconds by the scheduler's clock.
    """
    if yard.engine.dialect.name != "postgresql":
        clock = SimpleNamespace(sleep=time.sleep, monotonic=itertools.count(step=0.01).__next__)
        with mock.patch("search.turn.time", clock):
            yield
        return
    inbox, reads = yard.scheduler._inbox, itertools.count(1)
    read = inbox.read
    with yard.engine.connect() as other:
        other.execute(text("SELECT 1 FROM study FOR UPDATE"))

        def read_and_let_go(seconds: float | None, most: int = 256) -> Sequence[Received]:
            if next(reads) == 3:
                other.rollback()
            return read(seconds, most)

        inbox.read = read_and_let_go  # type: ignore[method-assign,assignment]
        yield
        inbox.read = read  # type: ignore[method-assign]


def post_report(worker: Worker, attempt: AttemptKey, step: int) -> None:
    worker.post(Report(attempt=attempt, step=step, metrics={METRIC: 0.4}))


def count_turns(yard: Yard) -> list[int]:
    """How many messages each turn has had, from now on."""
    inbox, sizes = yard.scheduler._inbox, []
    settle = inbox.settle

    def count(received: Sequence[Received], *rest: Any) -> None:
        sizes.append(len(received))
        settle(received, *rest)

    inbox.settle = count  # type: ignore[method-assign]
    return sizes


def read_one_at_a_time(yard: Yard, on_read: Callable[[int], object]) -> None:
    """`on_read` hears how many reads there were, with the one that is to come."""
    inbox, reads = yard.scheduler._inbox, itertools.count(1)
    read = inbox.read

    def read_one(seconds: float | None, _most: int = 256) -> Sequence[Received]:
        on_read(next(reads))
        return read(seconds, 1)

    inbox.read = read_one  # type: ignore[method-assign,assignment]


def die(error: Exception) -> None:
    raise error


def rename(yard: Yard, table: str, name: str) -> None:
    with yard.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def end_connections(yard: Yard) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    engine = create_engine(yard.engine.url)
    with engine.connect() as connection:
        connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
    engine.dispose()


# Two schedulers on one database


def lease(yard: Yard, holder: str) -> SchedulerLease:
    return SchedulerLease(writes(yard.engine), 5.0, holder, yard.clock.monotonic)


def test_one_scheduler_is_active_and_the_other_takes_over_when_it_falls_silent(bare_yard: Yard) -> None:
    first, second = lease(bare_yard, "elsewhere/1/1"), lease(bare_yard, "elsewhere/2/2")
    assert first.try_acquire()
    assert not second.try_acquire()
    bare_yard.clock.advance(4.9)
    assert not second.try_acquire()
    bare_yard.clock.advance(0.2)
    assert second.try_acquire()

    with pytest.raises(LostLease), writes(bare_yard.engine).begin() as session, batch(session.connection()) as rows:
        first.renew(rows)  # it comes back, and cannot commit


def test_an_active_scheduler_that_renews_is_left_alone(bare_yard: Yard) -> None:
    first, second = lease(bare_yard, "elsewhere/1/1"), lease(bare_yard, "elsewhere/2/2")
    assert first.try_acquire()
    for _ in range(10):
        assert not second.try_acquire()
        bare_yard.clock.advance(4)
        with writes(bare_yard.engine).begin() as session, batch(session.connection()) as rows:
            first.renew(rows)


def test_who_is_active_may_ask_whether_it_is(bare_yard: Yard) -> None:
    first = lease(bare_yard, "elsewhere/1/1")

    assert [first.try_acquire() for _ in range(2)] == [True, True]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_scheduler_that_renews_in_the_moment_of_the_takeover_stays_active(
    bare_yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = lease(bare_yard, "elsewhere/1/1"), lease(bare_yard, "elsewhere/2/2")
    assert first.try_acquire()
    assert not second.try_acquire()
    bare_yard.clock.advance(5.1)
    judge = second._is_abandoned

    def and_then_it_renews(row: SchedulerLeaseRow) -> bool:
        found = judge(row)
        with writes(bare_yard.engine).begin() as session, batch(session.connection()) as rows:
            first.renew(rows)
        return found

    monkeypatch.setattr(second, "_is_abandoned", and_then_it_renews)

    assert not second.try_acquire()
    assert first.try_acquire()


def test_a_scheduler_that_leaves_in_good_order_is_followed_at_once(bare_yard: Yard) -> None:
    first, second = lease(bare_yard, "elsewhere/1/1"), lease(bare_yard, "elsewhere/2/2")
    assert first.try_acquire()
    first.release()
    assert second.try_acquire()


def test_a_scheduler_known_to_be_dead_is_followed_at_once(bare_yard: Yard) -> None:
    dead = holder_name().rpartition("/")[0].rpartition("/")[0] + "/4194304/1"  # above the greatest process number
    assert is_dead(dead)
    assert not is_dead(holder_name())
    assert not is_dead("another-machine/boot/pid:[1]/4194304/1")
    assert lease(bare_yard, dead).try_acquire()
    assert lease(bare_yard, "elsewhere/2/2").try_acquire()


def test_a_zombie_scheduler_proposes_nothing(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 5, "parallel": 1}))
    zombie = yard.scheduler
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    yard.restart()
    worker.post(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.4}))
    with pytest.raises(LostLease):
        zombie.run_once()
    assert yard.states(study_id) == ["RUNNING"]
    yard.restart()  # whoever is active next settles what the zombie had read
    assert yard.states(study_id) == ["COMPLETE", "QUEUED"]


STRICT = {"name": "threshold", "upper": 0.5}


def test_a_trial_that_was_told_to_end_does_not_run_again_though_scheduler_and_worker_die(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}, pruner=STRICT))
    worker = yard.worker()
    first = worker.start(study_id, 0)
    assert worker.report(first.attempt, 1, 0.9).decision == "prune"
    yard.restart()
    yard.clock.advance(yard.settings.lease_seconds + 1)
    yard.turn()
    assert yard.states(study_id) == ["PRUNED"]


def test_a_step_that_is_reported_again_keeps_its_first_value(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1}, pruner=STRICT))
    worker = yard.worker()
    first = worker.start(study_id, 0)
    worker.report(first.attempt, 1, 0.1)
    assert worker.report(first.attempt, 1, 0.9).decision == "continue"
    assert [report.metrics for report in yard.reports(study_id, 0)] == [{METRIC: 0.1}]
