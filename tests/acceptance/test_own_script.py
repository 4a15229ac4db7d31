"""A person tunes a training script of their own with one command."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.command import Person, wait_for_text
from tests.acceptance.system import free_port

SCRIPT = """
from trialyard import report

parameters = report.start()
print("training with", parameters)
(report.checkpoint_dir() / "deep").mkdir(exist_ok=True)
(report.checkpoint_dir() / "deep" / "weights.txt").write_text(str(parameters["x"]))
for step in range(1, 21):
    if report.report(step, {"loss": (parameters["x"] - 0.3) ** 2 + 1 / step}).stop:
        print("told to end after step", step)
        break
"""

OBJECTIVES = """
[objectives.own]
command = ["python", "train.py"]
"""


def study(**sections: object) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": "own",
        "objective": {"metric": "loss", "direction": "minimize"},
        "parameters": {"x": {"low": 0.0, "high": 1.0}},
        "sampler": {"name": "tpe", "seed": 5, "n_startup_trials": 4},
        "pruner": {"name": "median", "n_startup_trials": 3, "n_warmup_steps": 2},
        "budget": {"trials": 10, "parallel": 2},
        "trial": {"kind": "objective", "name": "own"},
    }
    return document | sections


@pytest.fixture
def author(person: Person) -> Person:
    """Someone whose script and objectives lie in a folder that no variable names."""
    del person.environment["TRIALYARD_OBJECTIVES_FILE"]
    (person.folder / "own").mkdir()
    (person.folder / "own" / "train.py").write_text(SCRIPT)
    (person.folder / "own" / "objectives.toml").write_text(OBJECTIVES)
    return person


def test_an_own_script_is_tuned_and_pruned_and_its_log_and_best_trial_are_seen(author: Person) -> None:
    file = author.write(study())

    code, output, errors = author.runs("run", file, "--objectives", "own/objectives.toml", "--home", author.home)

    assert (code, errors) == (0, "")
    assert author.still_running() == []
    best = re.search(r"^best trial: (\d+)\n  loss +([\d.]+)\nits files lie in (.+)$", output, flags=re.M)
    assert best
    x = re.search(r"x:\n    value: ([\d.]+)", output)
    assert x
    assert float(best[2]) == pytest.approx((float(x[1]) - 0.3) ** 2 + 1 / 20, rel=1e-5)
    assert re.match(r"\$ \S*python train\.py\ntraining with {'x': ", (Path(best[3]) / "log.txt").read_text())
    logs = [log.read_text() for log in author.home.glob("artifacts/studies/1/trials/*/attempt-1/log.txt")]
    assert len(logs) == 10
    assert any("told to end after step" in log for log in logs)


def test_what_the_best_trial_has_kept_is_taken_along(author: Person) -> None:
    file, port = author.write(study(budget={"trials": 2})), free_port()
    up = author.types("up", "--port", port, "--objectives", "own/objectives.toml", "--home", author.home)
    wait_for_text(up, "Trialyard is up")
    author.environment["TRIALYARD_SERVER_URL"] = f"http://127.0.0.1:{port}"
    code, _, errors = author.runs("submit", file, "--wait")
    assert (code, errors) == (0, "")

    best = json.loads(author.runs("best", "own", "--json")[1])
    code, output, errors = author.runs("export-model", "own", "-o", "taken")
    refused = author.runs("export-model", "own", "-o", "other", "--onnx")
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=40)

    assert (code, output, errors) == (0, f"own, trial {best['number']}: deep\n", "")
    assert (author.folder / "taken/deep/weights.txt").read_text() == str(best["parameters"]["x"])
    assert refused == (2, "", "other forms are made of models that Trialyard has trained\n")


def test_a_wrong_objectives_file_is_told_before_anything_starts(author: Person) -> None:
    (author.folder / "own" / "objectives.toml").write_text(OBJECTIVES.replace("command", "comand"))

    code, output, errors = author.runs("run", author.write(study()), "--objectives", "own/objectives.toml")

    assert (code, output) == (1, "")
    assert "objectives.own.comand: is no key that is known here; did you mean 'command'?" in errors
