"""The model: its shapes, its embeddings, its dropout, and how its weights begin."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from trainer.config import Model
from trainer.init import initialize
from trainer.models.layers import Dropout
from trainer.models.mlp import MLP

CONFIG = Model(hidden=[8, 4])
INITS = get_args(Model.model_fields["init"].annotation)
ACTIVATIONS = get_args(Model.model_fields["activation"].annotation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("hidden", [[], [8], [8, 4, 4]])
def test_every_way_to_build_it_gives_one_output_a_class(activation: str, norm: str, hidden: list[int]) -> None:
    config = Model.model_validate({"activation": activation, "norm": norm, "hidden": hidden})
    model = MLP(config, numeric=3, categories=[2, 5], outputs=4)

    assert model(torch.randn(6, 3), torch.tensor([[0, 5]] * 6)).shape == (6, 4)


def test_a_single_output_comes_without_its_axis() -> None:
    assert MLP(CONFIG, numeric=3, categories=[], outputs=1)(torch.randn(6, 3), torch.empty(6, 0)).shape == (6,)


def test_a_table_without_numbers_is_embedded_alone() -> None:
    model = MLP(CONFIG, numeric=0, categories=[3], outputs=2)

    assert model(torch.empty(5, 0), torch.zeros(5, 1, dtype=torch.long)).shape == (5, 2)


def test_each_column_has_its_own_embedding_for_each_category_and_for_none() -> None:
    # columns of 2 and 8 categories, with index 0 on top: 3 + 9 rows of dimension ceil(sqrt(9)) = 3
    embeddings = MLP(CONFIG, numeric=0, categories=[2, 8], outputs=2).embedding
    assert embeddings is not None
    assert embeddings.table.weight.shape == (12, 3)

    x_cat = torch.tensor([[0, 0], [2, 8]])
    rows = embeddings.table.weight.detach()
    expected = torch.stack([torch.cat([rows[0], rows[3]]), torch.cat([rows[2], rows[11]])])
    assert torch.equal(embeddings(x_cat), expected)


def test_dropout_keeps_the_mean_and_the_stated_share() -> None:
    dropout = Dropout(torch.Generator().manual_seed(0))
    dropout.rate = 0.3

    out = dropout(torch.ones(200, 500))

    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert out.max().item() == pytest.approx(1 / 0.7)
    dropout.eval()
    assert torch.equal(dropout(torch.ones(3)), torch.ones(3))


@pytest.mark.parametrize(
    ("name", "hidden_std", "head_std"),
    [
        # 400 inputs, 300 outputs, rectifier: gain sqrt(2); the head has 300 inputs, 200 outputs and gain 1
        ("default", 1 / math.sqrt(3 * 400), 1 / math.sqrt(3 * 300)),  # uniform in ±1/sqrt(n): deviation 1/sqrt(3 n)
        ("kaiming_normal", math.sqrt(2 / 400), math.sqrt(1 / 300)),
        ("kaiming_uniform", math.sqrt(2 / 400), math.sqrt(1 / 300)),
        ("xavier_normal", math.sqrt(2 * 2 / 700), math.sqrt(2 / 500)),
        ("xavier_uniform", math.sqrt(2 * 2 / 700), math.sqrt(2 / 500)),
        ("lecun_normal", math.sqrt(1 / 400), math.sqrt(1 / 300)),
        ("orthogonal", math.sqrt(2 / 400), math.sqrt(1 / 300)),  # rows of norm gain
    ],
)
def test_an_initialization_has_the_deviation_that_its_paper_gives(
    name: str, hidden_std: float, head_std: float
) -> None:
    model = MLP(Model(hidden=[300]), numeric=400, categories=[], outputs=200)

    initialize(model, name, "relu", torch.Generator().manual_seed(0))

    layer = model.blocks[0]
    assert isinstance(layer, torch.nn.Linear)
    assert layer.weight.std().item() == pytest.approx(hidden_std, rel=0.02)
    assert model.head.weight.std().item() == pytest.approx(head_std, rel=0.02)
    if name != "default":
        assert not layer.bias.any()


def test_orthogonal_weights_are_orthogonal() -> None:
    model = MLP(Model(hidden=[30]), numeric=40, categories=[], outputs=20)

    initialize(model, "orthogonal", "relu", torch.Generator().manual_seed(0))

    torch.testing.assert_close(model.head.weight @ model.head.weight.T, torch.eye(20))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", INITS)
def test_the_generator_alone_decides_how_weights_begin(name: str, activation: str) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        model = MLP(CONFIG, numeric=3, categories=[4], outputs=2)
        initialize(model, name, activation, torch.Generator().manual_seed(seed))
        return [parameter.detach() for parameter in model.parameters()]

    assert all(map(torch.equal, drawn(1), drawn(1)))
    assert not torch.equal(drawn(1)[0], drawn(2)[0])
