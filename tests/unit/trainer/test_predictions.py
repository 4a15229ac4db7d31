"""What a finished training says of its held-out rows is kept, small, and belongs to one split of one data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder, people
from trainer import predictions
from trainer.config import Data, Split, TrainConfig
from trainer.data.fingerprint import fingerprint
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.schema import Target
from trainer.data.split import Parts
from trainer.ensemble.combine import softmax
from trainer.errors import Damaged
from trainer.fit import Monitor, fit
from trainer.members import mean_outputs


def trained(prepared: Prepared, source: str, epochs: int = 3) -> tuple[MemoryFolder, dict[str, float]]:
    config = TrainConfig(data=Data(source=source), epochs=epochs)
    folder = MemoryFolder()
    fitted = fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=folder)
    return folder, fitted.metrics


def test_the_stored_predictions_have_the_metrics_of_the_best_epoch(iris: Prepared) -> None:
    folder, metrics = trained(iris, "sklearn:iris")

    stored = predictions.load(folder)

    assert stored.test is not None
    for part, held in (("val", stored.validation), ("test", stored.test)):
        assert held.outputs.shape == (30, 3)  # a fifth of 150 rows, three classes
        assert np.mean(held.outputs.argmax(1) == held.y) == pytest.approx(metrics[f"{part}/accuracy"])
    assert stored.fingerprint == iris.fingerprint
    assert not stored.out_of_fold


def test_a_regression_is_stored_in_deviations_of_its_target(diabetes: Prepared) -> None:
    folder, metrics = trained(diabetes, "sklearn:diabetes")

    stored = predictions.load(folder)

    error = stored.target.deviation * (stored.validation.outputs - stored.validation.y)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(metrics["val/rmse"], rel=2e-3)  # float16 has three digits


def test_what_a_model_tells_apart_far_from_zero_is_still_apart_in_half_precision(iris: Prepared) -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]]).repeat(iris.validation.rows, 1)
    folder = MemoryFolder()

    predictions.save(folder, predictions.of_outputs({"val": logits + 3e5, "test": logits - 3e5}, iris))

    stored = predictions.load(folder)
    assert stored.test is not None
    for held in (stored.validation, stored.test):
        assert softmax(held.outputs[0].astype(float)) == pytest.approx(logits[0].softmax(0).tolist(), abs=1e-3)


def test_models_together_say_the_mean_of_their_probabilities_or_of_their_values() -> None:
    sure, unsure = torch.tensor([[8.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    classes = [Target(name="y", task="classification", classes=("a", "b"))] * 2
    values = [Target(name="y", task="regression", mean=mean, deviation=2.0) for mean in (10.0, 14.0)]

    together = mean_outputs([sure, unsure], classes)
    value = mean_outputs([torch.tensor([1.0]), torch.tensor([3.0])], values)

    expected = (sure.softmax(1) + unsure.softmax(1)) / 2
    torch.testing.assert_close(together.softmax(1).float(), expected)
    assert value.item() == 3.0  # 12 and 20 are 16 in the mean, three deviations of 2 from 10


def test_parts_of_other_rows_with_the_same_classes_have_another_fingerprint() -> None:
    target, none = pd.Series(["a", "a", "b", "b"], name="y"), np.empty(0, np.int64)
    first, second = np.array([0, 2]), np.array([1, 3])
    data = Data(source="sklearn:iris")

    one, other = (fingerprint(data, target, Parts(*rows, none), None) for rows in ((first, second), (second, first)))

    assert one != other


def test_a_file_that_was_cut_short_is_damaged(iris: Prepared) -> None:
    folder, _ = trained(iris, "sklearn:iris", epochs=1)
    folder[predictions.NAME] = folder[predictions.NAME][:100]

    with pytest.raises(Damaged, match=r"predictions\.npz cannot be read"):
        predictions.load(folder)


def test_another_split_and_other_rows_have_another_fingerprint_and_other_preprocessing_has_not(
    tmp_path: Path, write_csv: Callable[..., str]
) -> None:
    first = Data(source=write_csv(**people(60, seed=0)), missing_values=["?"])

    def name(data: Data) -> str:
        return prepare(data, device=CPU, data_folders=[tmp_path]).fingerprint

    assert name(first) == name(first.model_copy(update={"normalize": "minmax"}))
    assert name(first) != name(first.model_copy(update={"split": Split(seed=1)}))
    before = name(first)
    write_csv(**people(60, seed=1))
    assert name(first) != before
