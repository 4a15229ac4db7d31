"""A model that cannot be put into another form: the request is told why."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
import torch

from store.artifacts import Artifacts
from store.messages import Assignment, AttemptKey
from tests.unit.worker.test_refitting import ROWS, Shop
from tests.unit.worker.test_training import run
from trainer.data.schema import Schema
from trainer.ensemble import ensemble_file
from trainer.model_file import load
from worker.conversion import Converting
from worker.library import Library
from worker.tasks import Workplace
from worker.training import Training


def test_a_trial_of_several_folds_has_no_single_model_to_convert(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    folds = {"cross_validation": {"folds": 2}, "epochs": 1, "batch_size": 32, "model": {"hidden": [4]}}
    trial = Assignment(
        attempt=AttemptKey(1, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": {"source": "sklearn:iris"}, **folds},
        metric="val/accuracy",
        direction="maximize",
    )
    assert run(Training(artifacts, Library(artifacts, (), tmp_path / "cache"), "cpu"), trial) == "finished"
    place = Workplace(1, 1, artifacts.task(1, 1), artifacts, lambda: False, lambda: True)

    answer = Converting(Library(artifacts, (), tmp_path / "cache")).run(
        {"trial": 0, "attempt": 1, "form": "torch"}, place
    )

    [problem] = answer["problems"]
    assert (problem["path"], problem["message"]) == ("form", answer["message"])
    assert answer["message"].startswith("the trial has 2 models, of folds that each prepare rows in their own way, ")
    assert "A refit of it is one: `trialyard refit STUDY`" in answer["message"]


def test_where_the_rows_to_compare_on_are_gone_that_is_said(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    library = Library(artifacts, (tmp_path,), tmp_path / "cache")
    data = tmp_path / "rows.csv"
    data.write_text("x,kind\n" + "".join(f"{row / 7},{'ab'[row % 2]}\n" for row in range(80)))
    trial = Assignment(
        attempt=AttemptKey(1, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": {"source": "file:rows.csv"}, "epochs": 1},
        metric="val/accuracy",
        direction="maximize",
    )
    assert run(Training(artifacts, library, "cpu"), trial) == "finished"
    data.unlink()

    place = Workplace(1, 1, artifacts.task(1, 1), artifacts, lambda: False, lambda: True)
    answer = Converting(library).run({"trial": 0, "attempt": 1, "form": "int8"}, place)

    assert answer["message"].startswith("it is compared with the model on rows of the study's data, which this worker ")
    assert "there is no file rows.csv" in answer["message"]


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_refit_of_a_trial_of_several_folds_has_one(tmp_path: Path, seeds: int) -> None:
    shop = Shop(tmp_path, cross_validation={"folds": 3})
    shop.refit(seeds)
    converting = Converting(Library(shop.artifacts, (), tmp_path / "cache"))
    request = {"task": 2, "trial": shop.trial}

    answers = [converting.run({**request, "form": form}, shop.place()) for form in ("torch", "int8")]

    names = [answer["name"] for answer in answers]
    assert names == ["member-000.model.pt2", "member-000.model.int8.safetensors"]
    # What it has learned cannot judge it.
    assert answers[1]["measured"]["int8"].keys() == {"nonzero", "bytes", "latency"}
    refit = ensemble_file.load(shop.place().folder)
    program = torch.export.load(BytesIO(shop.place().folder.read(names[0]))).module()
    encoded = refit.schema.encode(ROWS)  # type: ignore[arg-type]  # a table
    found = program(*map(torch.from_numpy, encoded)).softmax(1)
    assert found.detach().numpy() == pytest.approx(refit.scores(ROWS), abs=1e-4)


@pytest.mark.parametrize("form", ["torch", "int8"])
def test_models_from_several_seeds_become_one_that_says_their_mean(tmp_path: Path, form: str) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    library = Library(artifacts, (), tmp_path / "cache")
    seeds = {"seeds": 2, "epochs": 1, "model": {"hidden": [8]}}
    trial = Assignment(
        attempt=AttemptKey(1, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": {"source": "sklearn:iris"}, **seeds},
        metric="val/accuracy",
        direction="maximize",
    )
    assert run(Training(artifacts, library, "cpu"), trial) == "finished"
    place = Workplace(1, 1, artifacts.task(1, 1), artifacts, lambda: False, lambda: True)

    answer = Converting(library).run({"trial": 0, "attempt": 1, "form": form}, place)

    folder = artifacts.attempt(AttemptKey(1, 0, 1))
    original = load(folder)
    assert isinstance(original.schema, Schema)
    rows = pd.DataFrame([[5.0, 3.5, 1.4, 0.2], [6.5, 3.0, 5.5, 2.0]], columns=original.schema.columns)
    expected = original.probabilities(rows)
    if form == "int8":
        assert load(folder, answer["name"]).probabilities(rows) == pytest.approx(expected, abs=0.02)
        return
    program = torch.export.load(BytesIO(folder.read(answer["name"]))).module()
    found = program(*map(torch.from_numpy, original.schema.encode(rows))).softmax(1)
    assert found.detach().numpy() == pytest.approx(expected, abs=1e-4)


def test_a_model_in_eight_bits_is_measured_beside_the_original(tmp_path: Path) -> None:
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    library = Library(artifacts, (), tmp_path / "cache")
    trial = Assignment(
        attempt=AttemptKey(1, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": {"source": "sklearn:iris"}, "epochs": 3, "model": {"hidden": [64]}},
        metric="val/accuracy",
        direction="maximize",
    )
    assert run(Training(artifacts, library, "cpu"), trial) == "finished"
    place = Workplace(1, 1, artifacts.task(1, 1), artifacts, lambda: False, lambda: True)

    answer = Converting(library).run({"trial": 0, "attempt": 1, "form": "int8"}, place)

    sizes = artifacts.attempt(AttemptKey(1, 0, 1)).sizes()
    before, after = answer["measured"]["original"], answer["measured"]["int8"]
    assert answer["name"] == "model.int8.safetensors"
    assert sizes["model.int8.safetensors"] < sizes["model.safetensors"]
    # 4 * 64 + 64 * 3 weights take one byte in place of four, and 67 outputs have a scale.
    assert before["bytes"] - after["bytes"] == 3 * (4 * 64 + 64 * 3) - 4 * 67
    assert after["nonzero"] <= before["nonzero"]
    assert min(before["latency"], after["latency"]) > 0
    assert abs(after["val/accuracy"] - before["val/accuracy"]) < 0.1


@pytest.mark.parametrize("form", ["torch", "int8"])
def test_a_model_of_texts_is_compared_on_rows_as_it_reads_them(tmp_path: Path, form: str) -> None:
    """One that was stored before words were told by their script."""
    texts = ["यह अच्छा है", "वह बुरा था"] * 40
    pd.DataFrame({"text": texts, "label": ["good", "bad"] * 40}).to_csv(tmp_path / "m.csv", index=False)
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    library = Library(artifacts, (tmp_path,), tmp_path / "cache")
    data = {"source": "file:m.csv", "text": "text", "words": "plain"}
    trial = Assignment(
        attempt=AttemptKey(1, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": data, "epochs": 2, "model": {"name": "embedding_bag"}},
        metric="val/accuracy",
        direction="maximize",
    )
    assert run(Training(artifacts, library, "cpu"), trial) == "finished"
    folder = artifacts.attempt(AttemptKey(1, 0, 1))
    document = json.loads(folder.read("model.json"))
    del document["schema"]["words"], document["config"]["data"]["words"]
    folder.write("model.json", json.dumps(document).encode())
    place = Workplace(1, 1, artifacts.task(1, 1), artifacts, lambda: False, lambda: True)

    answer = Converting(library).run({"trial": 0, "attempt": 1, "form": form}, place)

    rows = pd.DataFrame({"text": texts[:2]})
    original = load(folder)
    if form == "int8":
        assert answer["measured"]["original"]["val/loss"] == pytest.approx(document["metrics"]["val/loss"])
        return
    program = torch.export.load(BytesIO(folder.read(answer["name"]))).module()
    encoded = original.schema.encode(rows)  # type: ignore[arg-type]  # a table
    found = program(*map(torch.from_numpy, encoded)).softmax(1)
    assert found.detach().numpy() == pytest.approx(original.probabilities(rows), abs=1e-4)


def test_a_model_from_before_dates_were_learned_from_is_compared_on_the_rows_that_it_had(tmp_path: Path) -> None:
    """In its time it was guessed what of 03/04/2023 is the month."""
    at = pd.Series(pd.date_range("2023-01-01", periods=80)).dt.strftime("%d/%m/%Y")
    pd.DataFrame({"x": range(80), "at": at, "label": ["a", "b"] * 40}).to_csv(tmp_path / "m.csv", index=False)
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    library = Library(artifacts, (tmp_path,), tmp_path / "cache")
    data = {"source": "file:m.csv", "split": {"time": "at"}, "find_dates": False}
    trial = Assignment(
        attempt=AttemptKey(1, 0, 1),
        study="study",
        parameters={},
        trial={"kind": "train", "data": data, "epochs": 1},
        metric="val/accuracy",
        direction="maximize",
    )
    assert run(Training(artifacts, library, "cpu"), trial) == "finished"
    folder = artifacts.attempt(AttemptKey(1, 0, 1))
    document = json.loads(folder.read("model.json"))
    del document["schema"]["dates"], document["config"]["data"]["dates"], document["config"]["data"]["find_dates"]
    folder.write("model.json", json.dumps(document).encode())
    place = Workplace(1, 1, artifacts.task(1, 1), artifacts, lambda: False, lambda: True)

    answer = Converting(library).run({"trial": 0, "attempt": 1, "form": "int8"}, place)

    assert answer["measured"]["original"]["val/loss"] == pytest.approx(document["metrics"]["val/loss"])
