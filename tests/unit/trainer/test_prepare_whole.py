"""What a refit is trained on: all rows but the test part's, and nothing that the test part knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.unit.trainer.conftest import CPU
from trainer.config import TrainConfig
from trainer.data.prepare import prepare_for, prepare_whole
from trainer.data.prepared import Folds, Prepared

SPLIT = {"validation": 0.2, "test": 0.25, "seed": 1}
GROUPED = {"cross_validation": {"folds": 3, "groups": "who"}}
DIVISIONS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "not stratified": {"split": {"stratify": False}},
    "groups": {"split": {"groups": "who"}},
    "time": {"split": {"time": "at"}},
    "same rows together": {"split": {"duplicates": "together"}},
    "folds": {"cross_validation": {"folds": 4, "repeats": 2}},
    "folds of groups": GROUPED,
    "folds in time": {"cross_validation": {"folds": 3, "time_ordered": True}},
}


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"x": rng.normal(size=120), "word": rng.choice(list("abcd"), 120)})
    rows["who"], rows["at"], rows["row"] = rng.integers(0, 12, 120), rng.permutation(120), np.arange(120.0)
    rows["y"] = np.where(rows.x + rng.normal(size=120) > 0, "yes", "no")
    return rows


def config(division: dict[str, Any], **data: Any) -> TrainConfig:
    split, rest = SPLIT | division.get("split", {}), {k: v for k, v in division.items() if k != "split"}
    return TrainConfig.model_validate(
        {"kind": "train", "data": {"source": "file:t.csv", "split": split, "normalize": "none", **data}, **rest}
    )


def whole(folder: Path, told: TrainConfig, rows: pd.DataFrame) -> Prepared:
    rows.to_csv(folder / "t.csv", index=False)
    return prepare_whole(told, device=CPU, data_folders=[folder])


def numbers(prepared: Prepared, part: str) -> list[int]:
    """Which rows of the table a part holds, by its column `row`."""
    held = getattr(prepared, part)
    names = [column.name for column in prepared.schema.numeric]  # type: ignore[union-attr]
    return sorted(held.inputs[0][:, names.index("row")].int().tolist())


@pytest.mark.parametrize("name", DIVISIONS)
def test_it_is_trained_on_all_rows_but_those_that_test_in_the_search(tmp_path: Path, name: str) -> None:
    told = config(DIVISIONS[name])
    found = whole(tmp_path, told, table())
    searched = prepare_for(told, device=CPU, data_folders=[tmp_path])
    first = searched.parts[0] if isinstance(searched, Folds) else searched

    assert numbers(found, "test") == numbers(first, "test")
    assert sorted(numbers(found, "train") + numbers(found, "test")) == list(range(120))
    assert found.validation.rows == 0


@pytest.mark.parametrize("name", ["shuffled", "folds"])
def test_what_the_test_rows_hold_changes_nothing_of_what_is_trained_on(tmp_path: Path, name: str) -> None:
    told, rows = config(DIVISIONS[name], normalize="standard", class_weight="balanced", target="y"), table()
    plain = whole(tmp_path, told, rows)
    tested = numbers(whole(tmp_path, config(DIVISIONS[name]), rows), "test")
    rows.loc[tested, "x"], rows.loc[tested, "word"] = 1e6, "z"
    other = whole(tmp_path, told, rows)

    assert other.schema == plain.schema
    for mine, theirs in zip((*other.train.inputs, other.train.y), (*plain.train.inputs, plain.train.y), strict=True):
        assert torch.equal(mine, theirs)
    assert other.test is not None
    assert plain.test is not None
    assert not torch.equal(other.test.inputs[0], plain.test.inputs[0])


def test_a_fixed_test_set_stays_what_it_is(tmp_path: Path) -> None:
    rows = table()
    rows.iloc[:20].to_csv(tmp_path / "test.csv", index=False)

    found = whole(tmp_path, config({}, test_source="file:test.csv"), rows)

    assert (found.train.rows, found.test.rows if found.test else 0) == (120, 20)
