"""A population in the whole service, on fewer slots than it has members; a worker and the scheduler are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.system import System, descendants, digits, eventually, kill

MEMBERS, EPOCHS, INTERVAL = 5, 9, 3


@pytest.fixture
def system(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[System]:
    with System(tmp_path, database_url, redis_url) as system:
        system.serve()
        yield system


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_population_goes_on_after_its_worker_and_its_scheduler_were_killed(system: System) -> None:
    scheduler, worker = system.scheduler(), system.worker()
    pbt = {"name": "pbt", "population_size": MEMBERS, "perturbation_interval": INTERVAL, "seed": 7}
    study = digits("evolving", MEMBERS, EPOCHS, sampler=pbt, budget={"parallel": 2, "retries": 5})
    study["parameters"] = {"optimizer.lr": {"low": 1e-5, "high": 1.0, "log": True}}
    system.client.create_study(study)

    def reports() -> int:
        trials = system.client.trials("evolving")
        return sum(1 for trial in trials for _ in system.client.reports("evolving", trial.number))

    eventually("members report", lambda: reports() >= 8, seconds=60)
    running = next(pid for pid, command in descendants(worker.pid).items() if "worker.serve" in command)
    kill(running)
    kill(scheduler.pid)
    system.scheduler()

    assert system.ended("evolving", seconds=90).state == "COMPLETE"
    members = [system.client.trial("evolving", number) for number in range(MEMBERS)]
    assert {member.state for member in members} == {"COMPLETE"}
    assert all(member.step == EPOCHS for member in members)
    copies = [(member, copy) for member in members for copy in member.lineage]
    assert copies  # rates from 1e-5 to 1 cannot all be good
    for member, copy in copies:
        assert (copy.value or 0) < max(copy.source_value, 0.9)
        source = {
            (report.attempt, report.step): report.metrics for report in system.client.reports("evolving", copy.source)
        }
        assert source[copy.source_attempt, copy.source_step]["val/accuracy"] == copy.source_value
        own = [report.step for report in system.client.reports("evolving", member.number)]
        assert copy.source_step + 1 in own  # it goes on there, at an epoch that it may have skipped before
    for member in members:
        assert [each.ended for each in member.attempts][-1] == "finished"
        assert {each.ended for each in member.attempts[:-1]} <= {"paused", "lost"}
        log = _logs(system, member.number, [each.attempt for each in member.attempts])
        assert log.count("goes on from another training's epoch") >= len(member.lineage)
    kept = {path.parent.name for path in system.folder.glob("artifacts/studies/*/trials/*/*/checkpoint-*")}
    assert len(kept) <= 4, "each member leaves its last ones"


def _logs(system: System, number: int, attempts: list[int]) -> str:
    path = f"http://127.0.0.1:{system.port}/api/v1/studies/evolving/trials/{number}/logs"
    return "".join(httpx.get(path, params={"attempt": attempt}).text for attempt in attempts)
