"""Splits that heed groups, times and duplicates, and synthetic rows: nothing of one side comes to the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.unit.trainer.conftest import CPU
from trainer.config import Data, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Part, Prepared
from trainer.errors import DataError

WriteCsv = Callable[..., str]
ROWS = 120


def prepared_of(folder: Path, source: str, **data: Any) -> Prepared:
    data = {"source": source, "normalize": "none"} | data
    return prepare(Data.model_validate(data), device=CPU, data_folders=[folder])


def values(part: Part | None, column: int = 0) -> set[float]:
    assert part is not None
    return set(part.inputs[0][:, column].tolist())


def test_rows_of_one_group_are_in_one_part_and_the_group_is_no_feature(tmp_path: Path, write_csv: WriteCsv) -> None:
    person = np.arange(ROWS) // 4
    source = write_csv(x=person * 1.0, person=[f"p{each}" for each in person], y=[0, 1] * 60)

    prepared = prepared_of(tmp_path, source, split={"groups": "person"})

    parts = [values(part) for part in (prepared.train, prepared.validation, prepared.test)]
    assert prepared.columns == ["x"]
    assert [len(part) for part in parts] == [18, 6, 6]  # of 30 people
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.parametrize("written", [lambda day: day, lambda day: f"2026-{1 + day // 28:02}-{1 + day % 28:02}"])
def test_what_came_last_is_tested_and_rows_of_one_time_stay_together(
    tmp_path: Path, write_csv: WriteCsv, written: Callable[[int], object]
) -> None:
    day = np.random.default_rng(0).permutation(np.arange(ROWS) // 5)  # 24 days of 5 rows, in no order
    source = write_csv(x=day * 1.0, day=[written(int(each)) for each in day], y=[0, 1] * 60)

    prepared = prepared_of(tmp_path, source, split={"time": "day", "test": 0.25, "validation": 0.2})

    # 30 and 24 rows are wanted: 6 days, and 5 of which the first is begun by the 24
    assert values(prepared.test) == set(range(18, 24))
    assert values(prepared.validation) == set(range(13, 18))
    assert values(prepared.train) == set(range(13))


def test_copies_are_on_one_side_or_gone(tmp_path: Path, write_csv: WriteCsv) -> None:
    number = np.arange(ROWS) % 40  # three copies of each row
    source = write_csv(x=number * 1.0, y=[f"c{each % 2}" for each in number])

    anywhere = prepared_of(tmp_path, source)
    together = prepared_of(tmp_path, source, split={"duplicates": "together"})
    dropped = prepared_of(tmp_path, source, split={"duplicates": "drop"})

    assert values(anywhere.train) & values(anywhere.validation)
    assert not values(together.train) & (values(together.validation) | values(together.test))
    assert (together.train.rows, together.validation.rows) == (72, 24)
    assert together.train.y.bincount().tolist() == [36, 36]  # stratified still
    assert dropped.facts()["rows"] == {"train": 24, "validation": 8, "test": 8}


@pytest.mark.parametrize(
    ("split", "path", "says"),
    [
        ({"groups": "z"}, "trial.data.split.groups", "there is no column 'z'"),
        ({"groups": "y"}, "trial.data.split.groups", "y is the target"),
        ({"time": "word"}, "trial.data.split.time", "word holds what is no time"),
        ({"time": "same"}, "trial.data.split", "leave none to train on"),
    ],
)
def test_a_column_that_cannot_divide_is_refused(
    tmp_path: Path, write_csv: WriteCsv, split: dict[str, str], path: str, says: str
) -> None:
    source = write_csv(x=list(range(40)), word=["soon", "late"] * 20, same=[1] * 40, y=[0, 1] * 20)

    with pytest.raises(DataError) as caught:
        prepared_of(tmp_path, source, split=split)

    assert caught.value.path == path
    assert says in caught.value.message


def test_two_ways_to_divide_are_refused_with_the_study() -> None:
    for split in ({"groups": "a", "time": "b"}, {"groups": "a", "duplicates": "together"}):
        with pytest.raises(ValueError, match="each decide where a row goes"):
            Data.model_validate({"source": "sklearn:iris", "split": split})
    for split, says in {"groups": "folds are divided by its own groups", "time": "set it to true"}.items():
        with pytest.raises(ValueError, match=says):
            TrainConfig.model_validate(
                {"data": {"source": "sklearn:iris", "split": {split: "a"}}, "cross_validation": {"folds": 3}}
            )


def imbalanced(categories: bool) -> pd.DataFrame:
    """90 rows of one class around 0, and 30 of another around 1.5."""
    rng = np.random.default_rng(0)
    y = np.repeat(["no", "yes"], [90, 30])
    table = pd.DataFrame({"a": rng.normal(0, 1, 120) + 1.5 * (y == "yes"), "b": rng.normal(0, 0.3, 120)})
    table["b"] += table["a"]  # what a copula or a mixture has to keep
    if categories:
        table["job"] = np.where(y == "yes", "pilot", "cook")
    return table.assign(y=y)


METHODS = ["random", "smote", "borderline_smote", "adasyn", "gaussian_mixture", "gaussian_copula", "noise"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("categories", [False, True])
def test_synthetic_rows_join_the_training_part_and_no_other(tmp_path: Path, method: str, categories: bool) -> None:
    if categories and method in ("borderline_smote", "adasyn"):
        pytest.skip("these go between numbers")
    imbalanced(categories).to_csv(tmp_path / "t.csv", index=False)
    plain = prepared_of(tmp_path, "file:t.csv")
    richer = prepared_of(tmp_path, "file:t.csv", synthetic={"method": method, "share": 1.0})
    half = prepared_of(tmp_path, "file:t.csv", synthetic={"method": method, "share": 0.5})

    real = plain.train.rows  # 54 and 18
    for one, other in ((plain.validation, richer.validation), (plain.test, richer.test)):
        assert one is not None
        assert other is not None
        assert all(torch.equal(a, b) for a, b in zip((*one.inputs, one.y), (*other.inputs, other.y), strict=True))
    assert plain.schema == richer.schema
    torch.testing.assert_close(richer.train.inputs[0][:real], plain.train.inputs[0])
    assert torch.equal(richer.train.y[:real], plain.train.y)
    made = richer.train.y[real:].bincount(minlength=2)
    if method in ("gaussian_mixture", "gaussian_copula", "noise"):
        assert made.tolist() == [54, 18]  # as many again
    else:
        assert made[0] == 0
        assert 30 <= made[1] <= 42  # up to the larger class: 36, of which ADASYN may miss a few
    assert real < half.train.rows < richer.train.rows
    a, b = richer.train.inputs[0][real:][richer.train.y[real:] == 1].T
    assert a.mean().item() == pytest.approx(1.5, abs=0.9)  # like those of its class
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.6
    if categories:
        assert set(richer.train.inputs[1][real:][richer.train.y[real:] == 1, 0].tolist()) == {2}  # all of them pilots


def test_a_mixture_of_many_columns_is_drawn_from_in_double_precision(tmp_path: Path) -> None:
    """In single precision covariances are not symmetric to the last bits, which numpy warns of."""
    synthetic = {"method": "gaussian_mixture", "share": 1.0}

    richer = prepared_of(tmp_path, "sklearn:breast_cancer", normalize="standard", synthetic=synthetic)

    assert richer.train.inputs[0].isfinite().all()


def test_the_seed_of_the_split_decides_what_is_made_up(tmp_path: Path) -> None:
    imbalanced(True).to_csv(tmp_path / "t.csv", index=False)
    synthetic = {"method": "gaussian_copula", "share": 0.5}

    one, same = (prepared_of(tmp_path, "file:t.csv", synthetic=synthetic) for _ in range(2))

    assert torch.equal(one.train.inputs[0], same.train.inputs[0])


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"synthetic": {"method": "adasyn"}}, "adasyn goes between numbers, and there are 1 categorical columns"),
        ({"synthetic": {"method": "smote"}, "target": "a"}, "this is about a regression"),
    ],
)
def test_rows_that_cannot_be_made_up_are_refused(tmp_path: Path, data: dict[str, Any], says: str) -> None:
    imbalanced(True).to_csv(tmp_path / "t.csv", index=False)

    with pytest.raises(DataError, match=says):
        prepared_of(tmp_path, "file:t.csv", **data)
    with pytest.raises(ValueError, match="let share be 1 at most"):
        Data.model_validate({"source": "sklearn:iris", "synthetic": {"method": "smote", "share": 2.0}})
