"""From a finished study to models that people use: predictions over REST and from the command line."""

from __future__ import annotations

import csv
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pandas as pd
import pytest

from store.artifacts import LocalFolder
from tests.acceptance.system import System, descendants, eventually, kill
from tests.services import redis_server
from tests.unit.trainer.conftest import people
from trainer.ensemble import ensemble_file
from trainer.model_file import load
from trialyard.ensembles import wait_for
from trialyard.errors import Conflict, InvalidRequest
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

    notes = predict_file(system.client, "incomes", [system.folder / "test.csv"], output=tmp_path / "out.csv")

    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    hits = sum(row["prediction"] == row["income"] for row in rows)
    assert hits / TEST_ROWS == pytest.approx(best.metrics["test/accuracy"])
    predict_file(system.client, "incomes", [system.folder / "test.csv"], output=tmp_path / "small.csv", int8=True)
    with (tmp_path / "small.csv").open() as stream:
        small = [row["prediction"] for row in csv.DictReader(stream)]
    assert sum(a == row["prediction"] for a, row in zip(small, rows, strict=True)) > 0.95 * len(rows)
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

    forms = ("--onnx", "--torch-export", "--int8")
    code, output, errors = _types(system, "export-model", "incomes", "-o", tmp_path / "m", *forms)

    assert (code, errors) == (0, "")
    assert re.search(r"^bytes: \d+, int8 \d+$", output, re.MULTILINE)
    assert "README.md, model.int8.safetensors, model.json, model.onnx, model.pt2, model.safetensors" in output
    model = load(LocalFolder(tmp_path / "m"))
    assert model.metrics["test/accuracy"] == best.metrics["test/accuracy"]
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


def test_ensembles_are_built_by_workers_predict_and_are_taken_away(system: System, tmp_path: Path) -> None:
    row = {"age": 70, "job": "pilot", "member": True, "hours": 43.0}
    built_of: dict[str, dict[str, int]] = {
        "average": {"candidates": 3}, "greedy": {"candidates": 3, "rounds": 2},
        "bagging": {"rounds": 2}, "boosting": {"rounds": 2}, "refit": {"rounds": 2},
    }  # fmt: skip
    for method, options in built_of.items():
        wait_for(system.client, "incomes", system.client.build_ensemble("incomes", method, **options).number)
    command = ["ensemble", "incomes", "--method", "stacking", "--candidates", 3, "--json"]
    assert json.loads(_types(system, *command)[1])[0]["state"] == "COMPLETE"
    built = {each.method: each.model_dump(mode="json") for each in system.client.ensembles("incomes")}

    best = system.client.best("incomes")
    for ensemble in built.values():
        assert ensemble["best_member"]["trial"] == best.number
        alone = ensemble["best_member"]["metrics"]["test/accuracy"]
        assert alone == pytest.approx(best.metrics["test/accuracy"])
        said = {"val/loss", "test/loss", "test/accuracy"} & set(ensemble["metrics"])
        assert said == {"test/loss", "test/accuracy"} | ({"val/loss"} if ensemble["method"] != "refit" else set())
        assert ensemble["latency_ms"]["ensemble"] > 0
        answer = system.client.predict("incomes", [row], ensemble=ensemble["number"])
        assert (answer.trial, answer.ensemble) == (None, ensemble["number"])
        assert answer.predictions[0].class_ == "high"
    assert built["average"]["parameters"]["ensemble"] == 3 * built["average"]["parameters"]["best_member"]
    assert list(built) == ["stacking", "refit", "boosting", "bagging", "greedy", "average"]

    for method in ("stacking", "bagging", "refit"):
        number = built[method]["number"]
        assert _types(system, "export-model", "incomes", "--ensemble", number, "-o", tmp_path / method)[0] == 0
        taken = ensemble_file.load(LocalFolder(tmp_path / method))
        answer = system.client.predict("incomes", [row], ensemble=number)
        assert taken.scores(pd.DataFrame([row]))[0].tolist() == pytest.approx(answer.predictions[0].probabilities)
        assert "# incomes, ensemble" in (tmp_path / method / "README.md").read_text()


def test_a_refit_is_taken_away_in_another_form_and_other_ensembles_are_none(system: System, tmp_path: Path) -> None:
    numbers = [system.client.build_ensemble("incomes", method, rounds=2).number for method in ("refit", "greedy")]
    refit, greedy = (wait_for(system.client, "incomes", number).number for number in numbers)

    code, output, errors = _types(
        system, "export-model", "incomes", "--ensemble", refit, "-o", tmp_path / "m", "--onnx", "--int8"
    )

    assert (code, errors) == (0, "")
    assert "member-000.model.int8.safetensors, member-000.model.json, member-000.model.onnx, " in output
    assert re.search(r"^bytes: \d+, int8 \d+$", output, re.MULTILINE)
    assert "val/" not in output
    taken = ensemble_file.load(LocalFolder(tmp_path / "m"))
    rows = pd.read_csv(system.folder / "test.csv")
    session = onnxruntime.InferenceSession(tmp_path / "m" / "member-000.model.onnx")
    names = [each.name for each in session.get_inputs()]
    [said] = session.run(None, dict(zip(names, taken.schema.encode(rows), strict=True)))  # type: ignore[arg-type]
    odds = np.exp(said)
    assert odds / odds.sum(1, keepdims=True) == pytest.approx(taken.scores(rows), abs=1e-4)
    with pytest.raises(Conflict, match=f"ensemble {greedy} puts several models together; only a trial's, or a refit"):
        system.client.convert_refit("incomes", greedy, "onnx")


def test_an_ensemble_whose_worker_is_killed_is_built_by_the_next_one(system: System) -> None:
    number = system.client.build_ensemble("incomes", "bagging", rounds=200).number
    eventually("it is being built", lambda: system.client.ensemble("incomes", number).state == "RUNNING")

    kill(next(pid for pid, line in descendants(os.getpid()).items() if "worker.runner" in line))

    def attempts() -> int:
        with sqlite3.connect(system.folder / "t.db") as database:
            found: int = database.execute("SELECT attempt FROM task WHERE ordinal = ?", [number]).fetchone()[0]
        return found

    eventually("it is begun again", lambda: attempts() == 2)
    httpx.delete(f"{system.client.server_url}/api/v1/studies/incomes/ensembles/{number}").raise_for_status()
    answer = system.client.predict("incomes", [{"age": 70, "job": "pilot", "member": True, "hours": 43.0}])
    assert answer.predictions[0].class_ == "high"
