"""What a card says of using its model is run as it stands, in the folder above the model's."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_diabetes, load_digits, load_iris

from api.card_use import use_of_ensemble, use_of_model
from store.artifacts import LocalFolder
from store.models import StudyRow
from tests.unit.trainer.conftest import CPU, Recorder
from trainer.config import Data, Model, TrainConfig
from trainer.convert import FILES, convert
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.ensemble import ensemble_file
from trainer.ensemble.combine import Weighted
from trainer.fit import Monitor, fit
from trainer.model_file import load

TEXTS = ["well done", "a fine day", "win cash", "free prize now"] * 6


def table(folder: Path) -> Data:
    load_iris(as_frame=True).data.head(3).to_csv(folder / "rows.csv", index=False)
    return Data(source="sklearn:iris")


def numbers(folder: Path) -> Data:
    load_diabetes(as_frame=True).data.head(3).to_csv(folder / "rows.csv", index=False)
    return Data(source="sklearn:diabetes")


def images(folder: Path) -> Data:
    Image.fromarray(load_digits().images[0].astype(np.uint8) * 16).save(folder / "picture.png")
    return Data(source="sklearn:digits")


def colours(folder: Path) -> Data:
    """Pictures in colours, a folder of them for each class."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 12, 3), dtype=np.uint8)
    for place, picture in enumerate(pixels):
        (folder / "pictures" / "ab"[place % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "pictures" / "ab"[place % 2] / f"{place}.png")
    Image.fromarray(pixels[0]).save(folder / "picture.png")
    return Data(source="file:pictures")


def texts(folder: Path) -> Data:
    pd.DataFrame({"it's said": TEXTS, "kind": ["good", "good", "bad", "bad"] * 6}).to_csv(
        folder / "texts.csv", index=False
    )
    return Data(source="file:texts.csv", text="it's said", target="kind")


CASES = [(table, "mlp"), (numbers, "mlp"), (images, "cnn"), (colours, "cnn"), (texts, "embedding_bag")]


@pytest.mark.parametrize(("write", "model"), CASES)
def test_the_lines_of_a_card_predict_the_same_with_the_weights_and_as_onnx(
    write: Callable[[Path], Data], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = trained(tmp_path, write, model)
    study = StudyRow(name="s", facts=prepared.facts())
    folder = LocalFolder(tmp_path / "this-folder")
    monkeypatch.chdir(tmp_path)

    python, onnx = blocks(use_of_model(study, 0, folder.names()))
    names: dict[str, Any] = {}
    predicted = run(python, names)
    (outputs,) = run(onnx, names)

    assert len(predicted) == len(outputs) == len(names["rows"])
    target = names["model"].schema.target
    if target.task == "classification":
        assert [target.classes[place] for place in outputs.argmax(1)] == list(predicted)
    else:
        assert outputs * target.deviation + target.mean == pytest.approx(predicted, rel=1e-4)


@pytest.mark.parametrize(("write", "model"), [CASES[0], CASES[2]])
def test_the_lines_of_an_ensembles_card_give_its_scores(
    write: Callable[[Path], Data], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = trained(tmp_path, write, model)
    folder = LocalFolder(tmp_path / "this-folder")
    for name in ("model.json", "model.safetensors"):
        folder.write(f"{ensemble_file.member_prefix(0)}{name}", folder.read(name))
    ensemble_file.save(folder, Weighted(weights=(1.0,)), [])
    monkeypatch.chdir(tmp_path)

    (python,) = blocks(use_of_ensemble(StudyRow(name="s", facts=prepared.facts()), 1))

    names: dict[str, Any] = {}
    scores = run(python, names)
    assert scores == pytest.approx(load(folder).scores(names["rows"]))


def test_a_card_without_onnx_says_nothing_of_it() -> None:
    assert "onnx" not in use_of_model(StudyRow(name="s", facts={"kind": "table", "classes": []}), 0, ["model.json"])


def trained(folder: Path, write: Callable[[Path], Data], model: str) -> Prepared:
    """Train for an epoch, and leave the model, also as ONNX, in `this-folder`."""
    data = write(folder)
    prepared = prepare(data, device=CPU, data_folders=[folder], as_images=model == "cnn")
    config = TrainConfig(data=data, model=Model(name=model), epochs=1)
    there = LocalFolder(folder / "this-folder")
    fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=there)
    there.write(FILES["onnx"], convert(load(there).members[0].model, prepared.train, "onnx"))
    return prepared


def blocks(markdown: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", markdown, re.DOTALL)


def run(code: str, names: dict[str, Any]) -> Any:
    """Do the lines of a block; what the last of them gives."""
    *lines, last = code.strip().splitlines()
    exec("\n".join(lines), names)  # noqa: S102 - what a reader of the card does
    return eval(last, names)  # noqa: S307
