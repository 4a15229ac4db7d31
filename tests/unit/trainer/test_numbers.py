"""Numbers as vectors: what they are by hand, what they are for, and that they go wherever a model goes."""

from __future__ import annotations

import math

import pytest
import torch

from tests.unit.trainer.conftest import CPU
from trainer.config import Data, Model
from trainer.convert import convert
from trainer.data.prepare import prepare
from trainer.init import initialize
from trainer.models.build import build
from trainer.models.mlp import MLP
from trainer.models.numbers import Numbers

PERIODIC = Model(numbers="periodic", frequencies=4, number_width=3, hidden=[8], width=8)


def test_a_periodic_number_is_its_waves_through_a_layer_of_its_column() -> None:
    numbers = Numbers(Model(numbers="periodic", frequencies=1, number_width=1), 2)
    with torch.no_grad():
        numbers.frequencies.copy_(torch.tensor([[0.5], [0.25]]))
        numbers.weight.copy_(torch.tensor([[[-2.0], [1.0]], [[3.0], [4.0]]]))  # of the cosine, of the sine
        numbers.bias.copy_(torch.tensor([[0.5], [-1.0]]))

    # the first column's angle is π, the second's π / 2: -2 · -1 + 1 · 0 + 0.5, and 3 · 0 + 4 · 1 - 1
    torch.testing.assert_close(numbers(torch.tensor([[1.0, 1.0]])), torch.tensor([[2.5, 3.0]]))
    # of 0 the cosines are 1: -2 + 0.5 is rectified
    torch.testing.assert_close(numbers(torch.zeros(1, 2)), torch.tensor([[0.0, 2.0]]))


def test_a_linear_number_is_a_vector_of_its_column_times_itself() -> None:
    numbers = Numbers(Model(numbers="linear", number_width=2), 1)
    with torch.no_grad():
        numbers.weight.copy_(torch.tensor([[[2.0, -1.0]]]))
        numbers.bias.copy_(torch.tensor([[1.0, 0.5]]))

    torch.testing.assert_close(numbers(torch.tensor([[3.0], [-1.0]])), torch.tensor([[7.0, 0.0], [0.0, 1.5]]))


def test_frequencies_begin_as_wide_as_they_are_told() -> None:
    numbers = Numbers(Model(numbers="periodic", frequencies=1000, frequency_scale=0.3), 20)
    numbers.draw(torch.Generator().manual_seed(0))

    assert numbers.frequencies.std().item() == pytest.approx(0.3, rel=0.02)
    assert numbers.weight.abs().max().item() == pytest.approx(1 / math.sqrt(2000), rel=0.01)


@pytest.mark.parametrize("name", ["mlp", "resnet"])
@pytest.mark.parametrize("numbers", ["linear", "periodic"])
def test_every_column_has_weights_that_learn(name: str, numbers: str) -> None:
    config = Model.model_validate(PERIODIC.model_dump() | {"name": name, "numbers": numbers})
    iris = prepare(Data(source="sklearn:iris"), device=CPU, data_folders=())
    model = build(config, iris.schema)
    initialize(model, "default", "relu", torch.Generator().manual_seed(0))

    model(*(tensor[:16] for tensor in iris.train.inputs)).square().sum().backward()

    assert all(weight.grad is not None for weight in model.parameters())
    slopes = model.get_parameter("numbers.weight").grad
    assert slopes is not None
    assert (slopes.flatten(1).abs().sum(1) > 0).all()


def test_a_table_without_numbers_needs_no_vectors() -> None:
    model = MLP(PERIODIC, numeric=0, categories=[3], outputs=2)

    assert model(torch.empty(5, 0), torch.zeros(5, 1, dtype=torch.long)).shape == (5, 2)


def test_waves_learn_a_target_that_oscillates_and_plain_numbers_do_not() -> None:
    """Figure 1 of Tancik et al. 2020: a perceptron of plain numbers learns low frequencies first."""
    x = torch.linspace(-1, 1, 400)[:, None]
    y = (20 * x[:, 0]).sin()

    assert _error_after_training("periodic", x, y) < 0.1
    assert _error_after_training("plain", x, y) > 0.3


def _error_after_training(numbers: str, x: torch.Tensor, y: torch.Tensor) -> float:
    config = Model.model_validate({"numbers": numbers, "frequency_scale": 2.0, "frequencies": 16, "hidden": [32]})
    model = MLP(config, numeric=1, categories=[], outputs=1)
    initialize(model, "default", "relu", torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    categories = torch.empty(len(x), 0, dtype=torch.long)
    for _ in range(150):
        loss = (model(x, categories) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_it_is_exported(form: str) -> None:
    iris = prepare(Data(source="sklearn:iris"), device=CPU, data_folders=())
    model = build(PERIODIC, iris.schema)
    initialize(model, "default", "relu", torch.Generator().manual_seed(0))

    assert len(convert(model, iris.validation, form)) > 1000
