"""What the passes compute in: that it is so, that it learns as well, and that it goes on after a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer.checkpoint import pack, unpack
from trainer.config import Data, Model, Optimizer, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Part, Prepared
from trainer.fit import Monitor, fit
from trainer.models.build import build
from trainer.models.layers import Network
from trainer.optim import make_optimizer
from trainer.precision import Precision
from trainer.training import Training

ACCURACY = Monitor("val/accuracy", "maximize")
HAS_BF16 = torch.cpu._is_avx512_bf16_supported()


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(Data(source="sklearn:digits"), device=CPU, data_folders=(), as_images=True)


def configure(precision: str, **more: Any) -> TrainConfig:
    document = {
        "data": {"source": "sklearn:digits"}, "model": {"name": "cnn", "width": 8, "depth": 2, "norm": "batch"},
        "optimizer": {"lr": 0.01}, "epochs": 4, "batch_size": 64, "checkpoint": {"every_seconds": 0},
    }  # fmt: skip
    return TrainConfig.model_validate(document | more | {"precision": precision})


def curve(config: TrainConfig, prepared: Prepared, folder: MemoryFolder | None = None, **more: Any) -> Any:
    reporter = more.pop("reporter", None) or Recorder()
    folder = MemoryFolder() if folder is None else folder
    fit(config, prepared, monitor=ACCURACY, reporter=reporter, folder=folder, **more)
    return reporter.reports


def test_sixteen_bits_reach_the_accuracy_of_thirty_two(digits: Prepared) -> None:
    """Of 359 validation images: as many right, within two standard deviations of the share 0.97, which are 0.018."""
    accuracies = {
        name: curve(configure(name, epochs=3), digits)[3]["val/accuracy"] for name in ("fp32", "bf16", "fp16")
    }

    assert accuracies["fp32"] > 0.94
    assert accuracies["bf16"] == pytest.approx(accuracies["fp32"], abs=0.018)
    assert accuracies["fp16"] == pytest.approx(accuracies["fp32"], abs=0.018)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_changes_the_training_and_goes_on_bit_for_bit(digits: Prepared, precision: str) -> None:
    few = dataclasses.replace(digits, train=Part((digits.train.inputs[0][:128],), digits.train.y[:128]))
    config, whole, killed, resumed = configure(precision, epochs=2), MemoryFolder(), MemoryFolder(), MemoryFolder()
    reports = curve(config, few, whole)
    with pytest.raises(Killed):
        curve(config, few, killed, reporter=Recorder(killed_at=1))

    assert curve(config, few, resumed, resume_from=[killed])[2]["val/loss"] == reports[2]["val/loss"]
    assert resumed["model.safetensors"] == whole["model.safetensors"]
    assert reports[2]["val/loss"] != curve(configure("fp32", epochs=2), few)[2]["val/loss"]


def test_fp16_leaves_out_a_step_whose_gradients_are_too_large_and_takes_the_next_with_half_the_scale() -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision, before = Precision("fp16", model, CPU), model.weight.item()
    scale = 2.0**16  # what PyTorch begins with

    model.weight.grad = torch.tensor([[float("inf")]])
    precision.backward(model(torch.ones(1, 1)).sum() * 0)
    precision.unscale(optimizer)
    precision.step(optimizer)

    assert model.weight.item() == before
    assert precision.state()["scale"] == scale / 2


def test_a_resumed_training_has_the_scale_that_it_had_come_to(digits: Prepared) -> None:
    first, resumed = (Training(configure("fp16", epochs=2), digits, ACCURACY) for _ in range(2))
    first._precision.restore(first._precision.state() | {"scale": 128.0})
    first.run_epoch()

    resumed.restore(unpack(pack(first.checkpoint())))

    assert resumed._precision.state() == first._precision.state()
    assert resumed._precision.state()["scale"] == 128


@pytest.fixture
def nothing_is_zero_by_chance() -> Iterator[None]:
    """Memory that nobody has written to holds NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("nothing_is_zero_by_chance")
def test_a_momentum_whose_first_step_is_left_out_begins_at_nothing() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = make_optimizer(model.parameters(), Optimizer(name="sgd", lr=0.1, momentum=0.9))
    precision, before = Precision("fp16", model, CPU), model.weight.item()

    for gradient in (float("inf"), 2.0, 3.0):
        precision.backward(model(torch.ones(1, 1)).sum() * 0)
        model.weight.grad = torch.tensor([[gradient]]) * precision.state()["scale"]
        precision.unscale(optimizer)
        precision.step(optimizer)

    assert model.weight.item() == pytest.approx(before - 0.1 * 2 - 0.1 * (0.9 * 2 + 3))


def model_of(digits: Prepared, **knobs: Any) -> Network:
    return build(Model.model_validate(knobs), digits.schema)


@pytest.mark.parametrize(
    ("knobs", "gains"),
    [({"name": "cnn", "depth": 2}, True), ({"hidden": [512, 512]}, True), ({"hidden": [128, 64]}, False)],
)
def test_auto_takes_bf16_where_the_processor_has_it_and_the_model_gains(
    digits: Prepared, knobs: dict[str, Any], gains: bool
) -> None:
    assert Precision("auto", model_of(digits, **knobs), CPU).name == ("bf16" if gains and HAS_BF16 else "fp32")
