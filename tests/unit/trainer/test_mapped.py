"""Prepared data in mapped files: the same rows, the same training, and memory that is nobody's own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.config import TrainConfig
from trainer.data.mapped import load, placed, room_on, save
from trainer.data.prepare import prepare, prepare_for
from trainer.data.prepared import Folds, Part, Prepared
from trainer.fit import Monitor, fit

DOCUMENTS: dict[str, dict[str, Any]] = {
    "table": {"data": {"source": "sklearn:wine", "class_weight": "balanced", "split": {"test": 0.2}}},
    "no test part": {"data": {"source": "sklearn:iris", "split": {"test": 0.0}}},
    "images": {"data": {"source": "synthetic:shapes?rows=60&size=8"}, "model": {"name": "cnn", "depth": 1, "width": 4}},
    "texts": {
        "data": {"source": "synthetic:texts?rows=60&classes=3", "text": "text"},
        "model": {"name": "embedding_bag", "width": 4, "hidden": []},
    },
    "folds": {"data": {"source": "sklearn:iris"}, "cross_validation": {"folds": 3}},
}


def prepared_for(name: str) -> tuple[TrainConfig, Prepared | Folds]:
    config = TrainConfig.model_validate({"epochs": 2, "model": {"hidden": [4]}} | DOCUMENTS[name])
    return config, prepare_for(config, device=CPU, data_folders=())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_training_on_mapped_data_is_the_same_to_the_last_bit(name: str, tmp_path: Path) -> None:
    config, prepared = prepared_for(name)
    save(prepared, tmp_path / "data")
    mapped = placed(load(tmp_path / "data"), CPU, room_on(CPU))
    shutil.rmtree(tmp_path / "data")  # who has mapped a file keeps it

    ends = [
        fit(config, data, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=MemoryFolder())
        for data in (prepared, mapped)
    ]

    assert ends[0] == ends[1]
    assert mapped.facts() == prepared.facts()
    assert mapped.fingerprint == prepared.fingerprint


def test_folds_remember_which_rows_each_has_validated(tmp_path: Path) -> None:
    _, prepared = prepared_for("folds")
    save(prepared, tmp_path / "data")
    mapped = load(tmp_path / "data")

    assert isinstance(prepared, Folds)
    assert isinstance(mapped, Folds)
    for before, after in zip(prepared.validated, mapped.validated, strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_is_mapped_takes_no_memory_until_it_is_read(tmp_path: Path) -> None:
    _, small = prepared_for("table")
    assert isinstance(small, Prepared)
    rows = 1 << 20
    large = Part((torch.ones(rows, 16), torch.zeros(rows, 0, dtype=torch.int64)), torch.zeros(rows, dtype=torch.int64))
    save(Prepared(small.schema, large, small.validation, None, None, {}, "f"), tmp_path / "data")
    size = (tmp_path / "data" / "train.0.npy").stat().st_size
    assert size > rows * 16 * 4
    before = psutil.Process().memory_full_info().uss

    mapped = load(tmp_path / "data")

    assert psutil.Process().memory_full_info().uss - before < size / 8
    assert isinstance(mapped, Prepared)
    assert mapped.train.take(torch.tensor([rows - 1]))[0].sum() == 16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["table", "images", "texts"])
def test_inputs_that_do_not_fit_a_gpu_follow_batch_by_batch(name: str) -> None:
    config, prepared = prepared_for(name)
    gpu = torch.device("cuda")
    streamed, whole = placed(prepared, gpu, 0), placed(prepared, gpu, 1 << 30)
    assert isinstance(streamed, Prepared)
    assert streamed.train.home == CPU
    assert streamed.device.type == "cuda"

    ends = [
        fit(config, data, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=MemoryFolder())
        for data in (streamed, whole)
    ]

    assert ends[0].metrics == pytest.approx(ends[1].metrics, rel=1e-3)


def test_inputs_go_to_a_device_that_has_room_for_all_of_them() -> None:
    config, _ = prepared_for("table")
    prepared = prepare(config.data, device=CPU, data_folders=())
    parts = [part for part in (prepared.train, prepared.validation, prepared.test) if part]
    size = sum(tensor.nbytes for part in parts for tensor in part.inputs)

    moved = {room: placed(prepared, torch.device("meta"), room) for room in (size - 1, size)}

    homes = {room: each.train.home.type for room, each in moved.items() if isinstance(each, Prepared)}
    assert homes == {size - 1: "cpu", size: "meta"}
    assert {each.device.type for each in moved.values() if isinstance(each, Prepared)} == {"meta"}
