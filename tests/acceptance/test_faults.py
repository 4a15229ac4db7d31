"""Processes are killed and Redis is wiped in the middle of a real study; it ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from store.bus import open_redis
from tests.acceptance.command import register_stepping, stepping_study
from tests.acceptance.system import System, alive, descendants, digits, eventually, kill


@pytest.fixture
def system(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[System]:
    objectives = register_stepping(tmp_path)
    with System(tmp_path, database_url, redis_url, objectives_file=str(objectives)) as system:
        system.serve()
        yield system


def check_every_trial_counted_once(system: System, name: str, trials: int) -> None:
    """Each trial has ended once, with one accepted attempt, and no step of an attempt twice."""
    found = list(system.client.trials(name))
    assert [trial.number for trial in found] == sorted(range(trials), key=lambda n: n)
    for trial in found:
        assert trial.state in ("COMPLETE", "PRUNED")
        ends = [attempt.ended for attempt in trial.attempts]
        assert ends[:-1] == ["lost"] * (len(ends) - 1)
        assert ends[-1] in ("finished", "pruned")
        steps = [(report.attempt, report.step) for report in system.client.reports(name, trial.number)]
        assert len(steps) == len(set(steps))


@pytest.mark.parametrize(
    ("database_url", "victim"), [("postgresql", "slot"), ("sqlite", "supervisor")], indirect=["database_url"]
)
def test_a_killed_workers_trial_goes_on_from_its_checkpoint(system: System, victim: str) -> None:
    system.scheduler()
    worker = system.worker()
    study = digits("long", trials=1, epochs=80, budget={"trials": 1, "parallel": 1})
    study["trial"]["checkpoint"] = {"every_seconds": 0}  # its epochs are far shorter than the second left between two
    system.client.create_study(study)

    def is_under_way() -> bool:
        trial = system.trial("long")
        return trial is not None and (trial.step or 0) >= 5

    eventually("five epochs are reported", is_under_way, seconds=40)
    processes = descendants(worker.pid)
    name = system.client.trial("long", 0).attempts[0].worker
    slot = next(pid for pid, command in processes.items() if "worker.serve" in command and name in command)
    runner = next(iter(descendants(slot)))
    before = system.trial("long")
    assert before is not None
    kill({"slot": slot, "supervisor": worker.pid}[victim])
    since = datetime.now(UTC)
    if victim == "supervisor":
        eventually("nothing of the worker is left", lambda: not alive(processes), seconds=25)
        known = {each.name for each in system.client.workers()}
        system.worker()
        eventually("another one is there", lambda: any(each.name not in known for each in system.client.workers()))
        since = datetime.now(UTC)  # how long a worker takes to start is not the question
    else:
        eventually("the runner is gone", lambda: not alive([runner]), seconds=5)

    def is_back() -> bool:
        trial = system.trial("long")
        return trial is not None and len(trial.attempts) == 2 and (trial.step or 0) > (before.step or 0)

    eventually("the trial runs again", is_back, seconds=30)
    second = system.client.trial("long", 0).attempts[1]
    assert second.started_at is not None
    assert (second.started_at - since).total_seconds() <= 15
    ended = system.ended("long", seconds=60)
    assert (ended.state, ended.counts.complete) == ("COMPLETE", 1)
    reports = list(system.client.reports("long", 0))
    last_of_first = max(report.step for report in reports if report.attempt == 1)
    first_of_second = min(report.step for report in reports if report.attempt == 2)
    assert 1 < first_of_second <= last_of_first + 2  # from the checkpoint, not from the beginning


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_redis_is_wiped_and_the_scheduler_killed_in_the_middle_of_a_study(system: System, redis_url: str) -> None:
    scheduler = system.scheduler()
    system.worker()
    system.client.create_study(stepping_study(trials=10, name="battered"))
    with open_redis(redis_url) as client:
        for complete in (2, 4, 6):
            eventually(
                f"{complete} trials are complete",
                lambda least=complete: system.study("battered").counts.complete >= least,
                seconds=60,
            )
            client.flushall()
            if complete == 4:
                kill(scheduler.pid)
                system.scheduler()
    assert system.ended("battered", seconds=60).state == "COMPLETE"
    check_every_trial_counted_once(system, "battered", 10)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_of_two_schedulers_the_other_takes_over_within_ten_seconds(system: System) -> None:
    first = system.scheduler()
    eventually("it is active", lambda: is_active(system, "1-scheduler.log"))
    system.scheduler()
    system.worker(slots=1)
    system.client.create_study(stepping_study(trials=5, name="two"))
    eventually("two trials are complete", lambda: system.study("two").counts.complete >= 2, seconds=60)
    assert not is_active(system, "2-scheduler.log")
    kill(first.pid)
    eventually("the standby is active", lambda: is_active(system, "2-scheduler.log"), seconds=10)
    assert system.ended("two", seconds=60).state == "COMPLETE"
    check_every_trial_counted_once(system, "two", 5)


def is_active(system: System, log: str) -> bool:
    return b"the scheduler is active" in (system.folder / log).read_bytes()
