"""Slots that are counted while they work: a real supervisor adds one, sees that it is of no use, and lets it go."""

from __future__ import annotations

from pathlib import Path

from store.messages import Report
from store.roster import read_crowds, read_workers
from tests.integration.pools import eventually, objective, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import redis_server

QUICKLY = {"TRIALYARD_CROWD_SECONDS": "1"}


def test_a_slot_that_adds_nothing_is_tried_and_drained(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as url,
        ScriptedScheduler(url) as scheduler,
        running_pool(tmp_path, url, QUICKLY, cpu_slots="auto") as pool,
    ):
        ended: set[int] = set()
        scheduler.decide = lambda report: "stop" if report.attempt.number in ended else "continue"
        (tmp_path / "folder").mkdir()
        for number in range(2):
            scheduler.assign(objective("crowded", number=number, folder=str(tmp_path / "folder")))
        first = pool.worker(lambda worker: worker["state"] == "busy")
        second = pool.worker(lambda worker: worker["name"] != first["name"] and worker["state"] == "busy")
        pool.worker(lambda worker: worker["name"] == second["name"] and worker["state"] == "draining")
        [picture] = read_crowds(pool.client, read_workers(pool.client)).values()
        [of_second] = {report.attempt.number for report in scheduler.seen(Report) if report.sender == second["name"]}

        assert {worker["state"] for worker in pool.workers()} == {"busy", "draining"}  # its trial comes to its end
        ended.add(of_second)
        eventually(lambda: [worker["name"] for worker in pool.workers()] == [first["name"]])
        assert [rate["slots"] for rate in picture["rates"]] == [1, 2]
        assert picture["wanted"] == 1
        assert "than 1 slot" in picture["why"]
        assert picture["study"] == "7"
