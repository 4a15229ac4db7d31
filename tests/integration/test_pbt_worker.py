"""A population on one slot of a real worker, which is killed in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from store.settings import Settings
from tests.acceptance.system import eventually
from tests.api_server import serving
from tests.integration.pools import running_pool

MEMBERS, STEPS = 4, 6
STUDY: dict[str, Any] = {
    "name": "climbing",
    "objective": {"metric": "loss", "direction": "minimize"},
    "parameters": {"x": {"low": 0.0, "high": 1.0}, "steps": {"value": STEPS}},
    "sampler": {
        "name": "pbt",
        "population_size": MEMBERS,
        "perturbation_interval": 2,
        "max_resource": STEPS,
        "seed": 7,
    },
    "trial": {"kind": "objective", "name": "climbs"},
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_population_goes_on_after_its_worker_was_killed(database_url: str, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        home_dir=tmp_path / "home", database_url=database_url, redis_url=redis_url, idle_seconds=0.05, lease_seconds=3
    )
    with serving(settings) as server, server.scheduling(), running_pool(tmp_path, redis_url) as pool:
        assert server.http.post("/api/v1/studies", json=STUDY).status_code == 201
        eventually("two wait", lambda: server.get("climbing")["counts"]["paused"] >= 2, seconds=60)
        os.kill(int(pool.worker()["pid"]), signal.SIGKILL)

        eventually("it is complete", lambda: server.get("climbing")["state"] == "COMPLETE", seconds=60)

        members = [server.get(f"climbing/trials/{number}") for number in range(MEMBERS)]
        reports = [server.get(f"climbing/trials/{number}/reports", limit=100)["items"] for number in range(MEMBERS)]
    assert [member["state"] for member in members] == ["COMPLETE"] * MEMBERS
    assert [member["step"] for member in members] == [STEPS] * MEMBERS
    ends = [attempt["ended"] for member in members for attempt in member["attempts"]]
    assert ends.count("finished") == MEMBERS
    assert "lost" in ends
    copies = [(member["number"], copy) for member in members for copy in member["lineage"]]
    assert copies
    for number, copy in copies:
        assert copy["value"] > copy["source_value"]
        there = {(each["attempt"], each["step"]): each["metrics"]["loss"] for each in reports[copy["source"]]}
        assert there[copy["source_attempt"], copy["source_step"]] == copy["source_value"]
        first = copy["source_value"] - copy["after"]["x"]  # a step up from the source's height, with the new parameter
        assert pytest.approx(first) in [
            each["metrics"]["loss"] for each in reports[number] if each["step"] == copy["source_step"] + 1
        ]
