"""Trainings that several processes of one slot do together, on a real worker: two ranks over gloo."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from store.messages import Assignment, AttemptKey, Finish, Report
from tests.integration.pools import RunningPool, eventually, is_alive, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.integration.test_worker_training import finish_of, reports_of, training
from tests.services import redis_server

ENDLESS = {"epochs": 100_000, "checkpoint": {"every_seconds": 0}}
STEEP = {"epochs": 50, "optimizer": {"name": "sgd", "lr": 100.0, "momentum": 0.99}}


def test_two_processes_train_trial_after_trial_and_the_death_of_one_is_the_death_of_both(tmp_path: Path) -> None:
    """In one group, whose processes are slow to start: an end, a decision, a divergence, a death."""
    with redis_server(tmp_path) as url, ScriptedScheduler(url) as scheduler, running_pool(tmp_path, url) as pool:
        scheduler.decide = lambda report: "prune" if report.attempt.number == 2 else "continue"
        scheduler.assign(together(1, epochs=3))
        finished = scheduler.await_request(Finish, seconds=60)  # three processes import torch first
        ranks = _ranks_of(pool)
        scheduler.assign(together(2, **ENDLESS))
        pruned = finish_of(scheduler, 2)
        scheduler.assign(together(3, **STEEP))
        diverged = finish_of(scheduler, 3)
        scheduler.assign(together(4, **ENDLESS))
        scheduler.await_request(Report, lambda report: report.attempt.number == 4 and report.step == 2)

        assert _ranks_of(pool) == ranks  # they stayed from trial to trial
        os.kill(ranks[1], signal.SIGKILL)
        lost = finish_of(scheduler, 4)
        eventually(lambda: not any(map(is_alive, ranks)))

        assert finished.outcome == "finished", finished.reason
        assert [report.step for report in reports_of(scheduler, 1)] == [1, 2, 3]
        assert "test/accuracy" in finished.metrics
        assert pool.log(AttemptKey(7, 1, 1)).count("epoch 3/3") == 1  # the first one alone tells
        assert (pruned.outcome, len(reports_of(scheduler, 2))) == ("pruned", 1)
        assert (diverged.outcome, str(diverged.reason)[:18]) == ("diverged", "diverged at epoch ")
        assert lost.outcome == "lost", pool.log(AttemptKey(7, 4, 1))[-1500:]
        assert str(lost.reason).startswith("process 1 of the 2 that train it was killed by signal 9 (SIGKILL)")


def together(number: int, **trial: Any) -> Assignment:
    return training(number, batch_size=16, **trial).model_copy(update={"ranks": 2})


def _ranks_of(pool: RunningPool) -> list[int]:
    """The processes that train, by their rank."""
    below = psutil.Process(pool.process.pid).children(recursive=True)
    ranks = {each.environ().get("RANK", ""): each.pid for each in below if "worker.rank" in each.cmdline()}
    return [ranks[rank] for rank in sorted(ranks)]
