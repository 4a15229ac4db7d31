"""What `trialyard doctor` says about a study file: the model adds up, and the data are named for what they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from trainer.config import MODELS, Data, Model
from trainer.costs import size_of
from trainer.data.prepare import prepare
from trainer.models.layout import layers_of
from trialyard.blueprint import CPU, print_data, print_model
from trialyard.errors import BadInput


def document(data: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "name": "s",
        "objective": {"metric": "val/loss", "direction": "minimize"},
        "parameters": {"model.hidden": {"values": [[8], [16, 8]]}, "optimizer.lr": {"low": 0.1, "high": 0.2}},
        "budget": {"trials": 1},
        "trial": {"data": data},
    } | sections


def printed(show: Any, study: dict[str, Any], folder: Path = Path()) -> str:
    console = Console(file=io.StringIO(), width=200)
    show(study, [folder], console)
    return console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_the_smallest_model_is_shown_by_its_layers_and_all_by_their_sizes() -> None:
    lines = printed(print_model, document({"source": "sklearn:iris"})).splitlines()

    assert lines[0] == "mlp on sklearn:iris"
    # 4 columns to 8, to 3 classes: 32 + 8 and 24 + 3 parameters, two operations for each weight
    assert [line.split() for line in lines if "Linear" in line] == [
        ["blocks.0", "Linear", "8", "40", "64"], ["head", "Linear", "3", "27", "48"],
    ]  # fmt: skip
    assert lines[-4:-3] == [line for line in lines if line.startswith("at the corners")]
    assert [line.split() for line in lines[-2:]] == [["67", "112", "[8]"], ["243", "432", "[16,", "8]"]]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in MODELS for name in sorted(MODELS[kind])])
def test_the_layers_of_every_model_add_up_to_its_size(kind: str, name: str) -> None:
    data = {
        "table": Data(source="synthetic:spirals?rows=60", categorical=["x0"]),
        "image": Data(source="synthetic:shapes?rows=60&size=8"),
        "text": Data(source="synthetic:texts?rows=60", text="text"),
    }[kind]
    config = Model.model_validate({"name": name, "width": 8, "depth": 2})
    prepared = prepare(data, device=CPU, data_folders=())

    layers = layers_of(config, prepared.schema, prepared.train.inputs)

    size = size_of(config, prepared.schema, prepared.train.inputs)
    assert (sum(layer.params for layer in layers), sum(layer.flops for layer in layers)) == size
    assert all(layer.flops >= 0 for layer in layers)


def test_of_a_model_that_begins_with_another_it_is_said_who_opens_that_one() -> None:
    study = document({"source": "synthetic:texts?rows=60", "text": "text"})
    study["trial"]["model"] = {"name": "pretrained", "source": "hf:some/encoder"}
    study["parameters"] = {"optimizer.lr": {"low": 0.1, "high": 0.2}}

    with pytest.raises(BadInput, match="the layers are those of hf:some/encoder, which a worker opens"):
        printed(print_model, study)


def test_the_data_are_told_column_by_column(tmp_path: Path) -> None:
    rows = {"age": [20, None] * 30, "job": ["cook", "clerk", "pilot"] * 20, "id": [f"n{i}" for i in range(60)]}
    pd.DataFrame(rows | {"rich": ["yes", "no"] * 30}).to_csv(tmp_path / "t.csv", index=False)

    text = printed(print_data, document({"source": "file:t.csv"}), tmp_path)

    words = [" ".join(line.split()) for line in text.splitlines()]
    assert words[:3] == [
        "file:t.csv: a classification of rows",
        "rows: 36 to train, 12 to validate, 12 to test",
        "target: rich, 2 classes: no, yes",
    ]
    assert "age numeric 30" in words
    assert "job categorical 3 categories" in words
    assert any(line.startswith("id left out 36 distinct values in 36 rows") for line in words)


def test_of_a_cross_validated_study_the_rows_of_a_fold_are_told(tmp_path: Path) -> None:
    rows = {"age": list(range(60)), "house": [place // 6 for place in range(60)], "rich": ["yes", "no"] * 30}
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    study = document({"source": "file:t.csv", "split": {"test": 0.2}})
    study["trial"]["cross_validation"] = {"folds": 4, "groups": "house"}

    text = printed(print_data, study, tmp_path)

    # of ten houses of six rows each two test, and of the other eight each fold has two
    assert "rows of the first of 4 folds: 36 to train, 12 to validate, 12 to test" in text
    assert "house" not in text  # what divides is no feature


def test_a_study_whose_data_are_not_there_says_so() -> None:
    with pytest.raises(BadInput, match=r"there is no file gone\.csv"):
        printed(print_data, document({"source": "file:gone.csv"}))
    with pytest.raises(BadInput, match="external trials are trained by code of their own"):
        printed(print_model, document({}, trial={"kind": "external"}))
