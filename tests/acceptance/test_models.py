"""From a finished study to models that people use: predictions over REST and from the command line."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from store.artifacts import LocalFolder
from tests.acceptance.system import System
from tests.services import redis_server
from tests.unit.trainer.conftest import people
from trainer.model_file import load
from trialyard.errors import InvalidRequest
from trialyard.predict import predict_file

TEST_ROWS = 120


def incomes(name: str, **sections: Any) -> dict[str, Any]:
    document = {
        "name": name,
        "objective": {"metric": "val/loss", "direction": "minimize"},
        "parameters": {"optimizer.lr": {"low": 0.003, "high": 0.03, "log": True}, "seed": {"values": [1, 2, 3]}},
        "sampler": {"name": "random", "seed": 1},
        "budget": {"trials": 4, "parallel": 1},
        "trial": {
            "kind": "train",
            "data": {
                "source": "file:train.csv",
                "test_source": "file:test.csv",
                "target": "income",
                "missing_values": ["?"],
            },
            "model": {"name": "mlp", "hidden": [16]},
            "epochs": 8,
            "batch_size": 32,
        },
    }
    return document | sections


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A service with one worker, and a study of it that has ended."""
    folder = tmp_path_factory.mktemp("models")
    pd.DataFrame(people(300, seed=0)).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(people(TEST_ROWS, seed=1)).to_csv(folder / "test.csv", index=False)
    with (
        redis_server(folder) as redis_url,
        System(folder, f"sqlite:///{folder}/t.db", redis_url, data_dir=str(folder), pull_seconds="1") as system,
    ):
        system.serve()
        system.scheduler()
        system.worker(slots=1)
        system.client.create_study(incomes("incomes"))
        assert system.ended("incomes", seconds=60).counts.complete == 4
        yield system


def test_the_rows_of_a_file_are_predicted_as_the_training_measured(system: System, tmp_path: Path) -> None:
    best = system.client.best("incomes")

    notes = predict_file(system.client, "incomes", [system.folder / "test.csv"], None, tmp_path / "out.csv")

    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    hits = sum(row["prediction"] == row["income"] for row in rows)
    assert hits / TEST_ROWS == pytest.approx((best.metrics or {})["test/accuracy"])
    assert list(rows[0])[-4:] == ["prediction", "probability", "probability of high", "probability of low"]
    assert notes == [next(note for note in notes if note.startswith("age: ") and "as in training" in note)]


def test_a_named_trial_answers_and_rows_that_do_not_fit_are_refused_by_their_column(system: System) -> None:
    row = {"age": 70, "job": "pilot", "member": True, "hours": 43.0}

    answer = system.client.predict("incomes", [row, row | {"job": "astronaut"}], trial=2)

    assert (answer.trial, answer.target, answer.classes) == (2, "income", ["high", "low"])
    assert answer.predictions[0].class_ == "high"
    assert sum(answer.predictions[0].probabilities) == pytest.approx(1)
    assert answer.notes == ["job: 1 row has a value never seen in training ('astronaut'); taken as missing"]
    with pytest.raises(InvalidRequest, match=r"rows\[0\]\.age: 'old' is no number; the column age is numeric"):
        system.client.predict("incomes", [row | {"age": "old"}])


def test_a_model_is_taken_away_with_its_card_and_predicts_without_the_service(system: System, tmp_path: Path) -> None:
    best = system.client.best("incomes")
    answered = system.client.predict("incomes", [{"age": 70, "job": "pilot", "member": True, "hours": 43.0}])

    code, output, errors = _types(system, "export-model", "incomes", "-o", tmp_path / "m", "--onnx", "--torch-export")

    assert (code, errors) == (0, "")
    assert "README.md, model.json, model.onnx, model.pt2, model.safetensors" in output
    model = load(LocalFolder(tmp_path / "m"))
    assert model.metrics["test/accuracy"] == (best.metrics or {})["test/accuracy"]
    row = pd.DataFrame([{"age": 70, "job": "pilot", "member": True, "hours": 43.0}])
    assert model.probabilities(row)[0].tolist() == pytest.approx(answered.predictions[0].probabilities)
    card = (tmp_path / "m" / "README.md").read_text()
    assert f"# incomes, trial {best.number}" in card
    assert "| accuracy | " in card
    assert "`high`, `low`" in card


def _types(system: System, *arguments: object) -> tuple[int, str, str]:
    """What a person at a terminal sees of `trialyard …`."""
    command = [sys.executable, "-m", "trialyard", *map(str, arguments), "--server", system.client.server_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr
