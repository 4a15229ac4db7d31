"""The exported model predicts from raw rows what the training measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, r2_score, root_mean_squared_error

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder, people
from trainer.config import Data, TrainConfig
from trainer.data.prepare import prepare
from trainer.errors import Damaged, DataError
from trainer.fit import Fitted, Monitor, fit
from trainer.model_file import load


@pytest.fixture
def train(tmp_path: Path, write_csv: Callable[..., str]) -> Callable[[str], tuple[Fitted, MemoryFolder, pd.DataFrame]]:
    """Train on a mixed table with gaps; gives the outcome, the folder, and the test rows as the file has them."""

    def train(target: str) -> tuple[Fitted, MemoryFolder, pd.DataFrame]:
        data = Data(
            source=write_csv("train.csv", **people(300, seed=0)),
            test_source=write_csv("test.csv", **people(120, seed=1)),
            target=target,
            missing_values=["?"],
        )
        config = TrainConfig(data=data, epochs=8, batch_size=32)
        prepared = prepare(data, device=CPU, data_folders=[tmp_path])
        folder = MemoryFolder()
        fitted = fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=folder)
        return fitted, folder, pd.read_csv(tmp_path / "test.csv")

    return train


def test_the_predictions_for_the_test_rows_have_the_measured_test_metrics(train: Callable[..., tuple]) -> None:
    fitted, folder, rows = train("income")
    predictor = load(folder)

    labels, probabilities = predictor.predict(rows), predictor.probabilities(rows)

    assert set(labels) == {"high", "low"}
    assert predictor.schema.target.classes == ("high", "low")
    assert fitted.metrics["test/accuracy"] == accuracy_score(rows["income"], labels) > 0.9
    assert fitted.metrics["test/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(rows["income"], labels))
    assert fitted.metrics["test/loss"] == pytest.approx(log_loss(rows["income"], probabilities), rel=1e-5)


def test_the_predictions_of_a_regression_are_in_the_unit_of_its_target(train: Callable[..., tuple]) -> None:
    fitted, folder, rows = train("hours")

    predicted = load(folder).predict(rows)

    assert fitted.metrics["test/rmse"] == pytest.approx(root_mean_squared_error(rows["hours"], predicted), rel=1e-5)
    assert fitted.metrics["test/r2"] == pytest.approx(r2_score(rows["hours"], predicted), rel=1e-5)
    assert fitted.metrics["test/r2"] > 0.8


def test_rows_may_come_in_any_order_of_columns_without_the_target_and_with_gaps(train: Callable[..., tuple]) -> None:
    _, folder, rows = train("income")
    predictor = load(folder)
    shuffled = rows[["job", "hours", "member", "age"]]
    unseen = shuffled.head(1).assign(job="astronaut", age=np.nan)

    assert (predictor.predict(shuffled) == predictor.predict(rows)).all()
    assert predictor.predict(unseen)[0] in ("high", "low")


def test_the_model_knows_its_metrics_and_its_best_epoch(train: Callable[..., tuple]) -> None:
    fitted, folder, _ = train("income")

    predictor = load(folder)

    assert predictor.metrics == fitted.metrics
    assert predictor.best_epoch == fitted.best_epoch


def test_a_missing_column_is_named(train: Callable[..., tuple]) -> None:
    _, folder, rows = train("income")

    with pytest.raises(DataError, match="column age is missing"):
        load(folder).predict(rows.drop(columns="age"))


def test_a_regression_has_no_probabilities(train: Callable[..., tuple]) -> None:
    _, folder, rows = train("hours")

    with pytest.raises(DataError, match="a regression has no classes"):
        load(folder).probabilities(rows)


def test_tensors_that_the_document_does_not_name_are_refused(train: Callable[..., tuple]) -> None:
    _, folder, _ = train("income")
    folder["model.safetensors"] = folder["model.safetensors"][:-1] + b"x"

    with pytest.raises(Damaged, match=r"model\.safetensors is not the file"):
        load(folder)


def test_without_a_model_there_is_nothing_to_load() -> None:
    with pytest.raises(FileNotFoundError):
        load(MemoryFolder())
