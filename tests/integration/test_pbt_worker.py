"""A population that a real worker trains, on one slot, which is killed in between."""

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

MEMBERS, EPOCHS = 4, 6
STUDY: dict[str, Any] = {
    "name": "evolving",
    "objective": {"metric": "val/accuracy", "direction": "maximize"},
    "parameters": {"optimizer.lr": {"low": 1e-5, "high": 1.0, "log": True}},
    "sampler": {"name": "pbt", "population_size": MEMBERS, "perturbation_interval": 2, "seed": 7},
    "trial": {
        "kind": "train",
        "data": {"source": "sklearn:digits"},
        "model": {"hidden": [32]},
        "epochs": EPOCHS,
        "batch_size": 64,
    },
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_population_goes_on_after_its_worker_was_killed(database_url: str, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        home_dir=tmp_path / "home", database_url=database_url, redis_url=redis_url, idle_seconds=0.05, lease_seconds=3
    )
    with serving(settings) as server, server.scheduling(), running_pool(tmp_path, redis_url) as pool:
        assert server.http.post("/api/v1/studies", json=STUDY).status_code == 201
        eventually("two wait", lambda: server.get("evolving")["counts"]["paused"] >= 2, seconds=60)
        os.kill(int(pool.worker()["pid"]), signal.SIGKILL)

        eventually("it is complete", lambda: server.get("evolving")["state"] == "COMPLETE", seconds=60)

        members = [server.get(f"evolving/trials/{number}") for number in range(MEMBERS)]
        reports = [server.get(f"evolving/trials/{number}/reports", limit=100)["items"] for number in range(MEMBERS)]
    assert [member["state"] for member in members] == ["COMPLETE"] * MEMBERS
    assert [member["step"] for member in members] == [EPOCHS] * MEMBERS
    assert {attempt["ended"] for member in members for attempt in member["attempts"][:-1]} <= {"paused", "lost"}
    copies = [(member, copy) for member in members for copy in member["lineage"]]
    assert copies  # rates from 1e-5 to 1 cannot all be good
    for member, copy in copies:
        assert copy["value"] < copy["source_value"]
        there = {(each["attempt"], each["step"]): each["metrics"] for each in reports[copy["source"]]}
        assert there[copy["source_attempt"], copy["source_step"]]["val/accuracy"] == copy["source_value"]
        assert copy["source_step"] + 1 in {each["step"] for each in reports[member["number"]]}
        folder = tmp_path / f"home/artifacts/studies/1/trials/{member['number']}"
        logs = "".join(log.read_text() for log in folder.glob("attempt-*/log.txt"))
        assert f"goes on from another training's epoch {copy['source_step']}" in logs
