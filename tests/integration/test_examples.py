"""The examples of scripts of one's own, each as a trial on a real worker."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from search.definition import parse
from store.messages import Assignment, AttemptKey, Finish, Preflighted, Report
from tests.integration.pools import ROOT, running_pool
from tests.integration.scripted_scheduler import ScriptedScheduler
from tests.services import redis_server
from trialyard.study_file import from_yaml

EXAMPLES = ROOT / "examples" / "own-script"

# Small ones, so that each takes a second or two.
PARAMETERS: dict[str, dict[str, Any]] = {
    "torch_digits": {"lr": 0.01, "hidden": 16, "dropout": 0.1, "epochs": 3},
    "ddp_digits": {"lr": 0.01, "hidden": 16, "epochs": 2},
    "hf_trainer": {"lr": 0.001, "width": 16, "layers": 1, "dropout": 0.1, "epochs": 1},
    "boosting": {"learning_rate": 0.1, "max_leaf_nodes": 4},
    "forest": {"n_estimators": 5, "max_depth": 3, "max_features": 0.5},
    "anneal": {"rate": 0.5, "noise": 0.0},
}


def test_every_example_runs_as_it_is(tmp_path: Path) -> None:
    studies = {file.stem: parse(from_yaml(file.read_text())) for file in EXAMPLES.glob("*.yaml")}
    assert studies.keys() == PARAMETERS.keys()
    objectives = {"TRIALYARD_OBJECTIVES_FILE": str(EXAMPLES / "objectives.toml")}
    with (
        redis_server(tmp_path) as url,
        ScriptedScheduler(url) as scheduler,
        running_pool(tmp_path, url, objectives) as pool,
    ):
        for number, (name, study) in enumerate(studies.items()):
            assert study.parameters.keys() == PARAMETERS[name].keys()
            scheduler.preflight(number, study.document())
            scheduler.assign(
                Assignment(
                    attempt=AttemptKey(7, number, 1),
                    study=name,
                    parameters=PARAMETERS[name],
                    trial=study.trial,
                    metric=study.objective.metric,
                    direction=study.objective.direction,
                )
            )

        for number, (name, study) in enumerate(studies.items()):
            preflight = scheduler.await_request(Preflighted, lambda answer, n=number: answer.study_id == n)
            finish = scheduler.await_request(Finish, lambda finish, n=number: finish.attempt.number == n, seconds=60)
            assert preflight.problems == []
            assert (finish.outcome, finish.reason) == ("finished", None), pool.log(finish.attempt)
            assert study.objective.metric in finish.metrics
            reports = scheduler.seen(Report, lambda report, n=number: report.attempt.number == n)
            assert bool(reports) == (name != "forest")  # which has no steps


def test_the_trainer_goes_on_from_its_last_whole_checkpoint(tmp_path: Path) -> None:
    """A worker may be killed while the next is being written: of that one the weights are there, and no more."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    _train_with_transformers(folder, epochs=1)
    shutil.copytree(folder / "checkpoint-20", folder / "checkpoint-40")
    (folder / "checkpoint-40" / "trainer_state.json").unlink()

    printed = _train_with_transformers(folder, epochs=2)

    assert "epoch 2: val/accuracy" in printed
    assert "epoch 1: val/accuracy" not in printed


def _train_with_transformers(folder: Path, epochs: int) -> str:
    """What the example prints, as an attempt of a trial that has this folder."""
    parameters = folder.parent / "parameters.json"
    parameters.write_text(json.dumps(PARAMETERS["hf_trainer"] | {"epochs": epochs}))
    told = {"TRIALYARD_CHECKPOINT_DIR": str(folder), "TRIALYARD_PARAMETERS": str(parameters), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(EXAMPLES / "hf_trainer.py")]
    return subprocess.run(command, env=os.environ | told, capture_output=True, text=True, check=True).stdout
