"""The report module as a person uses it: the one file, copied beside a script, in a Python that has nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from store.messages import DecisionName
from trialyard import report
from worker.endpoint import Endpoint
from worker.reporter import finite

SCRIPT = """
import report

parameters = report.start({"optimizer.lr": 0.1, "epochs": 3})
print(parameters)
for epoch in range(parameters["epochs"]):
    if report.report(epoch, {"loss": 1 / (epoch + 1)}).stop:
        print("stopped")
        break
report.finish({"loss": 0.25})
"""


class Told:
    """Remembers what was reported, and says "prune" at step 1."""

    def __init__(self) -> None:
        self.words: list[tuple[int | None, dict[str, float]]] = []

    def report(self, step: int, metrics: Mapping[str, float]) -> DecisionName:
        self.words.append((step, finite(metrics, f"at step {step}")))
        return "prune" if step == 1 else "continue"

    def finish(self, metrics: Mapping[str, float]) -> None:
        self.words.append((None, dict(metrics)))


def run(folder: Path, script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script beside a copy of the module, without `site`: nothing that is installed can be imported."""
    shutil.copy(report.__file__, folder)
    (folder / "train.py").write_text(script)
    command = [sys.executable, "-S", "train.py"]
    return subprocess.run(
        command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=30, check=False
    )


def test_a_copy_alone_lets_the_script_run_by_itself(tmp_path: Path) -> None:
    answer = run(tmp_path, SCRIPT, {})

    assert answer.stderr == ""
    assert answer.stdout.splitlines() == [
        "{'optimizer.lr': 0.1, 'epochs': 3}",
        'report {"step": 0, "metrics": {"loss": 1.0}}',
        'report {"step": 1, "metrics": {"loss": 0.5}}',
        f'report {{"step": 2, "metrics": {{"loss": {1 / 3}}}}}',
        'finish {"metrics": {"loss": 0.25}}',
    ]


def test_a_copy_speaks_to_a_worker(tmp_path: Path) -> None:
    told = Told()
    (tmp_path / "parameters.json").write_text('{"optimizer.lr": 0.5}')

    with Endpoint(tmp_path / "socket", told) as endpoint:
        variables = {**endpoint.variables, "TRIALYARD_PARAMETERS": str(tmp_path / "parameters.json")}
        answer = run(tmp_path, SCRIPT, variables)

    assert answer.stdout.splitlines() == ["{'optimizer.lr': 0.5, 'epochs': 3}", "stopped"]
    assert told.words == [(0, {"loss": 1.0}), (1, {"loss": 0.5}), (None, {"loss": 0.25})]


@pytest.mark.parametrize("step", [np.int64(3), torch.tensor(3)])
def test_a_step_may_be_another_librarys_whole_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    told = Told()

    with Endpoint(tmp_path / "socket", told) as endpoint:
        for name, value in endpoint.variables.items():
            monkeypatch.setenv(name, value)
        report.report(step, {"loss": 1.0})

    assert told.words == [(3, {"loss": 1.0})]


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("report.report(-1, {'loss': 1})", "ValueError: step: must be at least 0, and is -1"),
        ("report.report(2, {'loss': float('nan')})", "ValueError: loss is nan at step 2; a metric must be finite"),
    ],
)
def test_what_cannot_be_right_is_an_error_where_it_was_said(tmp_path: Path, call: str, complaint: str) -> None:
    with Endpoint(tmp_path / "socket", Told()) as endpoint:
        answer = run(tmp_path, f"import report\n{call}", endpoint.variables)

    assert answer.stderr.splitlines()[-1] == complaint
