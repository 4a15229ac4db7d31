"""Trials find workers with enough memory, and what dead workers held is lost with a reason."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from store.messages import PROTOCOL, Assignment, Gone, Nothing, PreflightTask, Take
from store.models import StudyState
from store.roster import read_scheduler
from tests.yard import Worker, Yard, study

GIB = 2**30
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def beat(worker: Worker, memory: int) -> None:
    worker.beat()
    worker.yard.client.hset(f"trialyard:worker:{worker.name}", "memory", memory)


@on_sqlite
def test_a_trial_that_does_not_fit_goes_on_to_a_worker_that_is_large_enough(yard: Yard) -> None:
    study_id = yard.begin(study(resources={"memory": "8GiB"}, budget={"trials": 1}))
    small, large = yard.worker("small"), yard.worker("large")
    beat(small, 4 * GIB)
    yard.turn()
    assert yard.jobs() == set()  # nobody could run it

    beat(large, 8 * GIB)
    yard.turn(3)
    [job] = yard.jobs()
    yard.pop(job)
    assert isinstance(small.say(Take(study_id=study_id, number=0, worker="small", device="cpu")), Nothing)
    yard.turn(3)
    assert yard.jobs() == {job}  # it is back
    assert isinstance(large.take(study_id, 0), Assignment)


@on_sqlite
def test_a_preflight_that_runs_is_still_its_workers_own_when_that_turns_out_to_be_small(yard: Yard) -> None:
    study_id = yard.submit(study(resources={"memory": "8GiB"}))
    worker = yard.worker("small")  # of which nothing is known yet
    assert isinstance(worker.say(Take(study_id=study_id, worker="small", device="cpu")), PreflightTask)

    beat(worker, 4 * GIB)
    yard.turn(3)

    assert isinstance(worker.say(Take(study_id=study_id, worker="small", device="")), PreflightTask)
    yard.set_state(study_id, StudyState.CANCELLED)
    yard.turn(3)
    assert isinstance(worker.say(Take(study_id=study_id, worker="small", device="")), Nothing)


@on_sqlite
def test_a_worker_of_another_version_is_given_nothing_and_its_job_goes_to_others(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1}))
    old, new = yard.worker("old"), yard.worker("new")
    for worker in (old, new):
        worker.beat()
    yard.client.hset("trialyard:worker:old", "protocol", PROTOCOL - 1)
    with capture_logs() as logs:
        yard.turn(3)
    told = [
        line["worker"] for line in logs if line["event"].startswith("a worker of another version is given no trials")
    ]
    assert told == ["old"]

    [job] = yard.jobs()
    yard.pop(job)
    assert isinstance(old.say(Take(study_id=study_id, number=0, worker="old", device="cpu")), Nothing)
    yard.turn(3)
    assert yard.jobs() == {job}
    assert isinstance(new.take(study_id, 0), Assignment)
    assert read_scheduler(yard.client)["protocol"] == str(PROTOCOL)


@on_sqlite
def test_a_trial_that_kills_every_worker_fails_with_what_the_kernel_said(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 1, "parallel": 1, "retries": 1}))
    how = "its slot's process was killed by signal 9 (SIGKILL), not by the kernel's out-of-memory killer"
    for name in ("w1", "w2"):
        yard.worker(name).start(study_id, 0)
        yard.worker("supervisor").post(Gone(worker=name, reason=how))
        yard.turn()

    [trial] = yard.trials(study_id)
    assert (trial.state, trial.reason) == ("FAILED", f"lost 2 times, the last time because {how}")
    assert [attempt.outcome for attempt in yard.attempts(study_id, 0)] == ["lost", "lost"]


@on_sqlite
def test_word_of_a_death_takes_nothing_from_those_that_live(yard: Yard) -> None:
    study_id = yard.begin(study())
    alive = yard.worker("alive").start(study_id, 0)
    yard.worker("supervisor").post(Gone(worker="dead", reason="it was killed"))
    yard.turn()

    assert yard.states(study_id)[0] == "RUNNING"
    assert yard.worker("alive").finish(alive.attempt, 0.5).stale is False
