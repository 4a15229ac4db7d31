"""Tables with dates are trained on and predicted for as others are, and a model learns from the dates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer import model_file
from trainer.config import TrainConfig
from trainer.data.prepare import prepare, prepare_for, prepare_whole
from trainer.data.prepared import Prepared
from trainer.data.schema import Schema
from trainer.errors import DataError
from trainer.fit import Fitted, Monitor, fit
from trainer.predict import answer
from trainer.preflight import check


def rush_hours(folder: Path) -> None:
    """Whether a road is full follows from the hour of the day, and on two days of the week it never is."""
    rng = np.random.default_rng(0)
    at = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 60 * 24 * 60, 2_000), unit="min"))
    full = at.dt.hour.isin([7, 8, 16, 17, 18]) & (at.dt.day_of_week < 5)
    is_full = np.where(full ^ (rng.random(2_000) < 0.02), "full", "free")
    rng.shuffle(lanes := np.arange(2_000) % 4)
    pd.DataFrame({"lanes": lanes, "at": at.astype(str), "road": is_full}).to_csv(folder / "roads.csv", index=False)


def road(**sections: Any) -> TrainConfig:
    data = {"source": "file:roads.csv"} | sections.pop("data", {})
    document = {
        "data": data, "epochs": 25, "batch_size": 64, "model": {"hidden": [32, 32]},
        "optimizer": {"name": "adamw", "lr": 0.01}, "schedule": {"name": "cosine"},
    }  # fmt: skip
    return TrainConfig.model_validate(document | sections)


def trained(config: TrainConfig, folder: Path, files: MemoryFolder | None = None) -> Fitted:
    found = prepare_for(config, device=CPU, data_folders=[folder])
    kept = MemoryFolder() if files is None else files
    return fit(config, found, monitor=Monitor("val/auc", "maximize"), reporter=Recorder(), folder=kept)


def test_what_follows_from_the_hour_and_the_weekday_is_learned_from_dates_alone(tmp_path: Path) -> None:
    rush_hours(tmp_path)

    with_dates, without = (trained(road(data=data), tmp_path) for data in ({}, {"drop": ["at"]}))
    by_time = trained(road(data={"split": {"time": "at"}, "dates": {"at": "iso"}}), tmp_path)

    assert with_dates.metrics["test/auc"] > 0.8
    assert by_time.metrics["test/auc"] > 0.8  # on days that the model has not seen
    assert without.metrics["test/auc"] < 0.6


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"name": "linear"}},
        {"model": {"name": "resnet", "width": 8, "depth": 1}},
        {"model": {"name": "ft_transformer", "width": 8, "depth": 1, "heads": 2}},
        {"model": {"hidden": [8], "numbers": "periodic"}},
        {"data": {"normalize": "quantile"}},
        {"data": {"normalize": "power", "impute": "most_frequent"}},
        {"data": {"synthetic": {"method": "smote"}}},
        {"data": {"synthetic": {"method": "gaussian_copula", "share": 0.5}}},
        {"data": {"augment": {"mixup": 0.2, "noise": 0.1, "feature_dropout": 0.1, "swap": 0.1}}},
        {"data": {"augment": {"cutmix": 0.2}}},
        {"cross_validation": {"folds": 2}},
        {"cross_validation": {"folds": 2, "time_ordered": True}},
        {"data": {"split": {"time": "at"}, "dates": {"at": "iso"}}},
        {"data": {"split": {"duplicates": "together"}}},
        {"seeds": 2},
    ],
    ids=str,
)
def test_all_that_is_done_to_tables_is_done_to_dates(tmp_path: Path, sections: dict[str, Any]) -> None:
    rush_hours(tmp_path)
    config = road(**sections | {"epochs": 1})

    problems, facts = check([config], wanted={}, data_folders=[tmp_path], device=CPU)
    files = MemoryFolder()
    fitted = trained(config, tmp_path, files)
    said = answer(model_file.load(files), [{"lanes": 1, "at": "2024-01-03 08:00"}, {"lanes": 1, "at": None}])

    assert problems == []
    assert [each["name"] for each in facts["columns"]] == ["lanes", "at"]
    assert np.isfinite(fitted.metrics["val/loss"])
    assert len(said["predictions"]) == 2
    assert len(said["notes"]) == 1


def test_a_model_that_is_read_again_says_the_same_of_dates(tmp_path: Path) -> None:
    rush_hours(tmp_path)
    files, config = MemoryFolder(), road(epochs=2)
    trained(config, tmp_path, files)
    found = prepare(config.data, device=CPU, data_folders=[tmp_path])
    table = pd.read_csv(tmp_path / "roads.csv")

    model = model_file.load(files)
    rows = [{"lanes": int(row.lanes), "at": row.at} for row in table.itertuples()]
    by_rows = [each["probability"] for each in answer(model, rows)["predictions"]]

    assert model.schema == found.schema
    np.testing.assert_allclose(by_rows, model.probabilities(table).max(1), rtol=1e-6)
    with pytest.raises(DataError, match="column at, row 1: 'noon' is no date"):
        model.predict(table.assign(at="noon"))


def last_date(prepared: Prepared) -> str:
    assert isinstance(prepared.schema, Schema)
    return prepared.schema.dates[0].last


def test_all_rows_together_widen_what_a_refit_has_seen(tmp_path: Path) -> None:
    rush_hours(tmp_path)
    config = road(data={"split": {"time": "at"}, "dates": {"at": "iso"}})

    whole = prepare_whole(config, device=CPU, data_folders=[tmp_path])
    part = prepare_for(config, device=CPU, data_folders=[tmp_path])

    assert isinstance(part, Prepared)
    assert last_date(whole) > last_date(part)
    assert torch.isfinite(whole.train.inputs[0]).all()


def test_what_was_written_down_before_there_were_dates_is_read_as_it_was() -> None:
    before = {
        "kind": "table",
        "numeric": [{"name": "x", "fill": 0.0, "shift": 0.0, "scale": 1.0}],
        "categorical": [{"name": "z", "categories": ["p", "q"]}],
        "excluded": [{"name": "born", "why": "a date or a duration: give its year, month … as columns of their own"}],
        "target": {"name": "y", "task": "classification", "classes": ["a", "b"]},
        "missing_values": [],
    }

    schema = Schema.model_validate(json.loads(json.dumps(before)))
    numbers, categories = schema.encode(pd.DataFrame({"x": [2.0], "z": ["q"], "born": ["2000-01-01"]}))

    assert (schema.columns, schema.numbers, schema.widths) == (["x", "z"], 1, [1, 1])
    assert (numbers.tolist(), categories.tolist()) == ([[2.0]], [[2]])
