"""A model that cannot be put into another form: the request is told why."""

from __future__ import annotations

from pathlib import Path

from store.artifacts import Artifacts
from store.messages import Assignment, AttemptKey
from tests.unit.worker.test_training import run
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
    assert answer["message"].startswith("the trial has 2 models, of its folds or seeds, and no single one; ")


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
