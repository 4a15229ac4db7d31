"""The files in deploy/: as far as the tools of this machine can tell, they say what they mean."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from pydantic import ByteSize, TypeAdapter
from typer.testing import CliRunner

from store.settings import Settings
from trialyard.cli import app

DEPLOY = Path(__file__).parent.parent.parent / "deploy"


def options_of(command: list[str]) -> set[str]:
    return {word for word in command if word.startswith("--")}


def known_options() -> set[str]:
    shown = CliRunner().invoke(app, ["worker", "--help"], env={"COLUMNS": "200"}).output
    return set(re.findall(r"--[a-z-]+", shown))


def is_known(setting: str) -> bool:
    return setting.removeprefix("TRIALYARD_").lower() in Settings.model_fields


def test_the_slurm_script_starts_a_worker_named_after_its_node(tmp_path: Path) -> None:
    script = DEPLOY / "slurm-workers.sh"
    # In the place of Slurm's own: it tells what it was given.
    (tmp_path / "srun").write_text('#!/bin/sh\necho "$TRIALYARD_GRACE_SECONDS: $*"\n')
    (tmp_path / "srun").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SLURMD_NODENAME": "node7",
        "SLURM_JOB_ID": "42",
        "TRIALYARD_SERVER_URL": "https://s",
        "TRIALYARD_API_KEY": "k",
    }

    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "90: trialyard worker --gpus all --pool default --name node7-42\n"
    assert options_of(shlex.split(done.stdout)) <= known_options()
    lead = re.search(r"^#SBATCH --signal=TERM@(\d+)$", script.read_text(), flags=re.M)
    assert lead is not None
    assert int(lead[1]) > 90  # the grace ends before Slurm kills

    del environment["TRIALYARD_SERVER_URL"]
    refused = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "TRIALYARD_SERVER_URL: the server, which" in refused.stderr


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    text = (DEPLOY / "trialyard-worker.service").read_text()
    keys = dict(re.findall(r"^(\w+)=(.*)$", text, flags=re.M))
    assert options_of(shlex.split(keys["ExecStart"])) <= known_options()
    grace = re.search(r"TRIALYARD_GRACE_SECONDS=(\d+)", text)
    assert grace is not None
    assert int(grace[1]) < int(keys["TimeoutStopSec"])
    assert (keys["KillMode"], keys["Restart"]) == (
        "mixed",
        "on-failure",
    )  # a drained machine, which ends with 0, stays down
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "trialyard-worker.service"
    unit.write_text(text.replace(keys["ExecStart"].split()[0], "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert "trialyard-worker.service" not in verified.stderr


def test_the_deployment_gives_its_pods_what_their_workers_promise() -> None:
    deployment = yaml.safe_load((DEPLOY / "kubernetes-worker.yaml").read_text())
    spec = deployment["spec"]["template"]["spec"]
    [container] = spec["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    arguments = container["args"]

    assert (deployment["apiVersion"], deployment["kind"]) == ("apps/v1", "Deployment")
    assert (
        deployment["spec"]["selector"]["matchLabels"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )
    assert options_of(arguments) <= known_options()
    assert all(map(is_known, environment.keys() - {"POD_NAME"}))
    assert int(environment["TRIALYARD_GRACE_SECONDS"]) < spec["terminationGracePeriodSeconds"]
    size = TypeAdapter(ByteSize).validate_python
    memory = size(arguments[arguments.index("--memory-per-slot") + 1])
    assert memory < size(container["resources"]["limits"]["memory"] + "B")  # one slot, and room for its supervisor
    volumes = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
