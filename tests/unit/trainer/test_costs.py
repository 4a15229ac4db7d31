"""What a training costs: counted by hand where it can be, and beside the curve, never in it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.trainer.conftest import Killed, MemoryFolder, Recorder
from trainer.config import Data, Model, TrainConfig
from trainer.costs import size_of, size_of_model
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.models.build import build

CONFIG = TrainConfig(data=Data(source="sklearn:iris"), epochs=4, model=Model(hidden=[8, 5]))


def test_parameters_and_operations_are_those_that_one_counts_by_hand(iris: Prepared) -> None:
    # 4 columns to 8, to 5, to 3 classes: weights 32 + 40 + 15, biases 8 + 5 + 3; a product and a sum for each weight
    assert size_of(CONFIG.model, iris.schema, iris.train.inputs) == (87 + 16, 2 * 87)


def test_operations_of_convolutions_are_counted_at_every_place() -> None:
    digits = prepare(Data(source="sklearn:digits"), device=torch.device("cpu"), data_folders=(), as_images=True)
    size = size_of(Model(name="cnn", depth=1, width=4), digits.schema, digits.train.inputs)

    # 3 × 3 over 8 × 8 pixels into 4 channels; then 4 × 4 × 4 numbers into 10 classes
    assert size == (4 * 9 + 4 + 64 * 10 + 10, 2 * (64 * 4 * 9 + 640))


@pytest.mark.parametrize(
    ("source", "name"),
    [("sklearn:iris", "ft_transformer"), ("sklearn:digits", "vit"), ("synthetic:texts", "transformer")],
)
def test_the_attention_of_a_model_that_is_there_counts_as_that_of_one_without_numbers(source: str, name: Any) -> None:
    data = Data(source=source, text="text" if name == "transformer" else None)
    prepared = prepare(data, device=torch.device("cpu"), data_folders=(), as_images=name == "vit")
    config, inputs = Model(name=name), prepared.train.inputs

    there = size_of_model(build(config, prepared.schema), prepared.train.first(1))

    assert there == size_of(config, prepared.schema, inputs)  # on the meta device


def test_every_report_and_the_end_carry_the_costs_so_far(iris: Prepared) -> None:
    recorder, ticks = Recorder(), itertools.count()

    fitted = fit(
        CONFIG,
        iris,
        monitor=Monitor("val/loss", "minimize"),
        reporter=recorder,
        folder=MemoryFolder(),
        clock=lambda: float(next(ticks)),
    )

    assert [recorder.costs[epoch]["seconds"] for epoch in (1, 2, 3, 4)] == [1, 2, 3, 4]  # one look to the next
    assert (fitted.costs["params"], fitted.costs["flops"], fitted.costs["seconds"]) == (103, 174, 4)
    assert not set(fitted.costs) & set(fitted.metrics)


def test_the_seconds_of_a_killed_attempt_count(iris: Prepared) -> None:
    config = CONFIG.model_copy(update={"checkpoint": CONFIG.checkpoint.model_copy(update={"every_seconds": 0.0})})
    monitor, killed, ticks = Monitor("val/loss", "minimize"), MemoryFolder(), itertools.count()
    with pytest.raises(Killed):
        fit(config, iris, monitor=monitor, reporter=Recorder(killed_at=3), folder=killed,
            clock=lambda: float(next(ticks)))  # fmt: skip

    fitted = fit(config, iris, monitor=monitor, reporter=Recorder(), folder=MemoryFolder(), resume_from=[killed],
                 clock=lambda: float(next(ticks)))  # fmt: skip

    assert fitted.costs["seconds"] == 4


def test_the_memory_is_the_most_of_this_training_and_not_of_an_earlier_one(iris: Prepared) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux forgets a peak")

    def peak() -> float:
        return fit(CONFIG, iris, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(),
                   folder=MemoryFolder()).costs["device_memory"]  # fmt: skip

    before = peak()
    wasted = torch.ones(64 * 2**20)  # 256 MiB, touched
    during = peak()
    del wasted

    assert during > before + 200 * 2**20
    assert peak() < before + 100 * 2**20


def test_where_a_cost_is_the_objective_the_best_epoch_is_that_of_the_lowest_loss() -> None:
    cheap = Monitor("seconds", "minimize")
    first, second = {"val/loss": 0.5}, {"val/loss": 0.4}

    assert cheap.prefers(second, to=first)
    assert not cheap.prefers(first, to=second)
