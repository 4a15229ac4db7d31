"""From a `data` section to tensors: parts, targets, and every way in which data can be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from tests.unit.trainer.conftest import CPU, people
from trainer.config import Data, Split
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.schema import Target, fit_schema
from trainer.data.split import split_rows
from trainer.errors import DataError

WriteCsv = Callable[..., str]


def prepare_in(folder: Path, source: str, **data: Any) -> Prepared:
    return prepare(Data(source=source, **data), device=CPU, data_folders=[folder])


def test_the_parts_share_out_all_rows_and_each_holds_the_classes_in_proportion() -> None:
    iris = prepare(
        Data(source="sklearn:iris", normalize="none", split={"validation": 0.2, "test": 0.4}),
        device=CPU,
        data_folders=(),
    )
    assert iris.test is not None

    # 150 rows, 50 a class: 30 validate, 60 test, 60 train
    assert [part.y.bincount().tolist() for part in (iris.train, iris.validation, iris.test)] == [
        [20] * 3,
        [10] * 3,
        [20] * 3,
    ]
    everything = torch.cat([iris.train.inputs[0], iris.validation.inputs[0], iris.test.inputs[0]])
    assert everything.sum().item() == pytest.approx(2078.7, abs=0.01)  # the sum over all of iris: 3.4645 * 600
    assert iris.classes == ("setosa", "versicolor", "virginica")
    assert (iris.train.inputs[0].dtype, iris.train.inputs[1].dtype, iris.train.y.dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
    )


def test_the_split_follows_its_seed_and_nothing_else() -> None:
    one, same, other = (
        prepare(Data(source="sklearn:iris", split={"seed": seed}), device=CPU, data_folders=()) for seed in (1, 1, 2)
    )

    assert torch.equal(one.train.inputs[0], same.train.inputs[0])
    assert not torch.equal(one.train.inputs[0], other.train.inputs[0])


@pytest.mark.parametrize("normalize", ["standard", "minmax", "robust", "quantile", "power"])
def test_preprocessing_is_fitted_on_the_training_part_only(tmp_path: Path, write_csv: WriteCsv, normalize: str) -> None:
    """Whatever stands in the rows that are held out, the training part is encoded the same."""
    rng = np.random.default_rng(0)
    table = {"x": rng.normal(0, 1, 100), "job": rng.choice(["a", "b"], 100), "y": [0, 1] * 50}
    rows = split_rows(100, Split(stratify=False), hold_out_test=True, labels=None)
    planted = {name: np.copy(column) for name, column in table.items() if name != "y"} | {"y": table["y"]}
    held_out = np.concatenate([rows.validation, rows.test])
    planted["x"][held_out] = rng.choice([np.nan, 1e6, -1e6], len(held_out))
    planted["job"][held_out] = "c"
    same = {"split": {"stratify": False}, "normalize": normalize, "impute": "mean"}

    clean = prepare_in(tmp_path, write_csv("clean.csv", **table), **same)
    leaky = prepare_in(tmp_path, write_csv("planted.csv", **planted), **same)

    assert clean.schema == leaky.schema
    assert all(torch.equal(one, other) for one, other in zip(clean.train.inputs, leaky.train.inputs, strict=True))
    assert not torch.equal(clean.validation.inputs[0], leaky.validation.inputs[0])


def test_a_regression_is_standardized_by_the_training_part_and_can_be_undone(diabetes: Prepared) -> None:
    target = diabetes.schema.target

    assert diabetes.task == "regression"
    assert diabetes.train.y.dtype == torch.float32
    assert diabetes.train.y.mean().item() == pytest.approx(0, abs=1e-6)
    assert diabetes.train.y.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    parts = torch.cat([diabetes.train.y, diabetes.validation.y, diabetes.test.y])  # type: ignore[union-attr]
    assert (parts.double() * target.deviation + target.mean).sum().item() == pytest.approx(67243, abs=0.1)  # 442 rows


def test_a_fixed_test_set_leaves_all_other_rows_to_training_and_validation(tmp_path: Path, write_csv: WriteCsv) -> None:
    source, test = write_csv("train.csv", **people(100, seed=0)), write_csv("test.csv", **people(30, seed=1))

    prepared = prepare_in(
        tmp_path, source, test_source=test, missing_values=["?"], split={"validation": 0.25, "test": 0.5}
    )

    assert prepared.test is not None
    assert (prepared.train.rows, prepared.validation.rows, prepared.test.rows) == (75, 25, 30)


def test_without_a_test_share_there_is_no_test_part() -> None:
    prepared = prepare(Data(source="sklearn:iris", split={"test": 0.0}), device=CPU, data_folders=())

    assert prepared.test is None
    assert prepared.facts()["rows"] == {"train": 120, "validation": 30, "test": 0}


def test_the_facts_tell_what_was_found(tmp_path: Path, write_csv: WriteCsv) -> None:
    table = people(200, seed=0)
    source = write_csv(**table, name=[f"person {row}" for row in range(200)])  # type: ignore[arg-type]

    facts = prepare_in(tmp_path, f"{source}", missing_values=["?"], target="income").facts()

    gaps = {name: sum(value == "?" for value in table[name]) for name in ("age", "job")}
    assert gaps["age"] > 0
    assert facts == {
        "kind": "table",
        "task": "classification",
        "target": "income",
        "classes": ["high", "low"],
        "rows": {"train": 120, "validation": 40, "test": 40},
        "columns": [
            {"name": "age", "kind": "numeric", "missing": gaps["age"]},
            {"name": "hours", "kind": "numeric", "missing": 0},
            {"name": "job", "kind": "categorical", "missing": gaps["job"], "categories": 3},
            {"name": "member", "kind": "categorical", "missing": 0, "categories": 2},
        ],
        "excluded": [
            {"name": "name", "why": "120 distinct values in 120 rows: an id or text, not a category"},
        ],
    }


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        (["b", "a"], "classification", ("a", "b")),
        ([True, False], "classification", ("False", "True")),
        ([10, 2], "classification", ("2", "10")),  # numbers in their order, not the alphabet's
        (list(range(20)), "classification", tuple(map(str, range(20)))),
        (list(range(21)), "regression", ()),
        ([0.0, 1.0], "regression", ()),
    ],
)
def test_the_task_follows_from_the_values_of_the_target(
    tmp_path: Path, write_csv: WriteCsv, values: list[object], task: str, classes: tuple[str, ...]
) -> None:
    rows = [values[row % len(values)] for row in range(210)]
    source = write_csv(x=list(range(210)), y=rows)

    prepared = prepare_in(tmp_path, source)

    assert (prepared.task, prepared.classes) == (task, classes)


def test_the_task_can_be_told(tmp_path: Path, write_csv: WriteCsv) -> None:
    source = write_csv(x=list(range(60)), y=[row % 3 for row in range(60)])

    assert prepare_in(tmp_path, source, task="regression").task == "regression"


def test_balanced_class_weights_are_those_of_scikit_learn(tmp_path: Path, write_csv: WriteCsv) -> None:
    source = write_csv(x=list(range(100)), y=["a"] * 20 + ["b"] * 80)

    prepared = prepare_in(tmp_path, source, class_weight="balanced")

    y = prepared.train.y.numpy()
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=y)
    assert prepared.class_weight is not None
    np.testing.assert_allclose(prepared.class_weight.numpy(), expected, rtol=1e-6)


def test_class_weights_are_those_of_the_training_part_alone(tmp_path: Path, write_csv: WriteCsv) -> None:
    source = write_csv(x=list(range(60)), of=[1, 2] * 30, y=["a"] * 30 + ["b"] * 30)

    prepared = prepare_in(tmp_path, source, class_weight="balanced", split={"time": "x"})

    # of the first 36 rows, which train, 30 are of a and 6 of b
    assert prepared.class_weight is not None
    assert prepared.class_weight.tolist() == pytest.approx([36 / (2 * 30), 36 / (2 * 6)])


def test_columns_that_are_dropped_are_gone_and_the_target_is_the_last_of_the_others(
    tmp_path: Path, write_csv: WriteCsv
) -> None:
    source = write_csv(x=list(range(60)), y=["a", "b"] * 30, note=["n"] * 60)

    prepared = prepare_in(tmp_path, source, drop=["note"])

    assert prepared.columns == ["x"]
    assert prepared.schema.target.name == "y"


X = list(range(40))
AB = ["a", "b"] * 20


@pytest.mark.parametrize(
    ("columns", "data", "path", "message", "hint"),
    [
        ({"x": X, "label": AB}, {"target": "lable"}, "trial.data.target", "no column 'lable'", "did you mean 'label'?"),
        ({"x": X, "y": AB}, {"target": "qqq"}, "trial.data.target", "no column 'qqq'", "there are x, y"),
        ({"x": X, "y": AB}, {"drop": ["z"]}, "trial.data.drop", "no column 'z'", ""),
        ({"x": X, "y": AB}, {"drop": ["x", "y"]}, "trial.data.drop", "no column is left", ""),
        ({"x": X, "y": ["a"] * 40}, {}, "trial.data.target", "y has one class, 'a'", ""),
        ({"x": X, "y": [1.5] * 40}, {}, "trial.data.target", "y is 1.5 in all rows", ""),
        ({"x": X, "y": [*AB[:-1], "?"]}, {"missing_values": ["?"]}, "trial.data.target", "first in row 40", ""),
        ({"x": X, "y": [0.5, None] * 20}, {}, "trial.data.target", "in 20 of 40 rows, first in row 2", ""),
        ({"x": X, "y": [math.inf, 1.5] * 20}, {}, "trial.data.target", "y has no finite value in 20 of 40 rows", ""),
        ({"x": X, "y": AB}, {"task": "regression"}, "trial.data.target", "'a', which is no number", "classification"),
        ({"x": X, "y": [*AB[:-1], "c"]}, {}, "trial.data.split.stratify", "class 'c' has 1 row,", "stratify: false"),
        ({"x": X, "y": [f"c{i % 9}" for i in X]}, {}, "trial.data.split.stratify", "8 rows cannot hold each of 9", ""),
        ({"x": [1, 2, 3], "y": [0.1, 0.2, 0.3]}, {"split": {"validation": 0.1}}, "trial.data.split", "to validate", ""),
        ({"x": X, "y": AB}, {"split": {"test": 0.01}}, "trial.data.split", "leave none to test on", ""),
        ({"x": [], "y": []}, {}, "trial.data.source", "has no rows", ""),
        ({"x": ["?"] * 40, "y": AB}, {"missing_values": ["?"]}, "trial.data.drop", "has a value of x", "drop it"),
        (
            {"x": [*X[:-2], "old", "-"], "y": AB}, {}, "trial.data.missing_values",
            "column x holds numbers, and in 2 of 40 rows words, first 'old' in row 39", "list them there",
        ),
        ({"x": X, "y": AB}, {"categorical": ["z"]}, "trial.data.categorical", "no column 'z'", ""),
        ({"x": X, "y": AB}, {"normalize": "per_channel"}, "trial.data.normalize", "has no channels", "robust"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_trained_on_are_refused_with_the_place_and_the_cure(
    tmp_path: Path,
    write_csv: WriteCsv,
    columns: dict[str, list[object]],
    data: dict[str, Any],
    path: str,
    message: str,
    hint: str,
) -> None:
    source = write_csv(**columns)

    with pytest.raises(DataError) as caught:
        prepare_in(tmp_path, source, **data)

    assert caught.value.path == path
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_file_without_a_byte_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()

    with pytest.raises(DataError, match="has no rows"):
        prepare_in(tmp_path, "file:empty.csv")


def test_lists_in_a_column_are_refused_until_it_is_dropped(tmp_path: Path) -> None:
    rows = pd.DataFrame({"tags": [["a"], ["b"]] * 30, "x": range(60), "y": ["a", "b"] * 30})
    rows.to_json(tmp_path / "t.jsonl", orient="records", lines=True)

    with pytest.raises(DataError, match="column tags holds lists"):
        prepare_in(tmp_path, "file:t.jsonl")
    assert prepare_in(tmp_path, "file:t.jsonl", drop=["tags"]).columns == ["x"]


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ({"x": [1, 2], "y": ["a", "c"]}, "class 'c' is not in the source"),
        ({"z": [1, 2], "y": ["a", "b"]}, "no column 'x'"),
        ({"x": ["one", "two"], "y": ["a", "b"]}, "column x holds strings"),
    ],
)
def test_a_test_set_that_does_not_fit_its_source_is_refused(
    tmp_path: Path, write_csv: WriteCsv, test: dict[str, list[object]], message: str
) -> None:
    source, other = write_csv(x=X, y=AB), write_csv("test.csv", **test)

    with pytest.raises(DataError, match=message) as caught:
        prepare_in(tmp_path, source, test_source=other)

    assert caught.value.path == "trial.data.test_source"


def test_classes_are_known_by_the_names_that_their_rows_have(tmp_path: Path) -> None:
    """A tenth in single precision is another number, with a longer name, in double precision."""
    rates = np.array([0.1, 0.2] * 20, np.float32)
    pd.DataFrame({"x": np.arange(40.0), "rate": rates}).to_parquet(tmp_path / "rates.parquet")

    prepared = prepare(Data(source="file:rates.parquet", task="classification"), device=CPU, data_folders=[tmp_path])

    assert prepared.train.y.unique().tolist() == [0, 1]


@pytest.mark.parametrize("normalize", ["standard", "power"])
def test_numbers_next_to_nothing_apart_are_the_same(normalize: Any) -> None:
    table = pd.DataFrame({"x": [0.0, 1e-200] * 10, "y": ["a", "b"] * 10})
    data = Data(source="sklearn:iris", normalize=normalize)
    target = Target(name="y", task="classification", classes=("a", "b"))

    assert np.isfinite(fit_schema(table, data, target).encode(table)[0]).all()
