"""Models of tables from Gorishniy et al. 2021, "Revisiting deep learning models for tabular data"."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainer.config import Model
from trainer.models.layers import ACTIVATIONS, Dropout, Network, norm_of, one_a_row
from trainer.models.mlp import Embeddings, offsets_of
from trainer.models.numbers import Numbers
from trainer.models.residual import Residual
from trainer.models.transformer import Encoder, Vectors


class TableResNet(Network):
    """A linear layer to `width`, `depth` blocks of norm, linear, activation and linear that are added to what came in,
    and a head of norm, activation and linear (section 3.2, equation 2; there with batch norm).
    """

    def __init__(
        self, config: Model, *, numeric: int, categories: Sequence[int], outputs: int, noise: Generator | None = None
    ) -> None:
        """As of `MLP`."""
        super().__init__()
        self.embedding = Embeddings(categories) if categories else None
        self.numbers = Numbers(config, numeric)
        inputs = self.numbers.width + (self.embedding.width if self.embedding else 0)
        self.stem = nn.Linear(inputs, config.width)
        self.blocks = nn.Sequential(*(_residual_block(config, noise) for _ in range(config.depth)))
        self.blocks.append(norm_of(config, config.width))
        self.blocks.append(ACTIVATIONS[config.activation]())
        self.head = nn.Linear(config.width, outputs)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """(batch, numeric) float32 and (batch, categorical) int64 to (batch, outputs); (batch,) for a single output."""
        x = self.numbers(x_num)
        if self.embedding is not None:
            x = torch.cat([x, self.embedding(x_cat)], dim=1)
        return one_a_row(self.head(self.blocks(self.stem(x))))


class FTTransformer(Network):
    """Every column becomes a token: a number times a vector of its column, or the vector of a category, each plus a
    bias of the column; an encoder mixes them, and the head reads the encoder's own token (section 3.3).
    """

    cpu_rows = 256
    offsets: Tensor

    def __init__(
        self, config: Model, *, numeric: int, categories: Sequence[int], outputs: int, noise: Generator | None = None
    ) -> None:
        """As of `MLP`."""
        super().__init__()
        sizes = [count + 1 for count in categories]
        self.numbers = Vectors(numeric, config.width)
        self.categories = Vectors(sum(sizes), config.width)
        self.biases = Vectors(numeric + len(sizes), config.width)
        self.register_buffer("offsets", offsets_of(sizes).to(self.categories.weight.device), persistent=False)
        self.encoder = Encoder(config, noise)
        self.activation = ACTIVATIONS[config.activation]()
        self.head = nn.Linear(config.width, outputs)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """(batch, numeric) float32 and (batch, categorical) int64 to (batch, outputs); (batch,) for a single output."""
        numbers = x_num.unsqueeze(2) * self.numbers.weight  # (batch, numeric, width)
        categories = functional.embedding(x_cat + self.offsets, self.categories.weight)  # (batch, categorical, width)
        columns = torch.cat([numbers, categories], 1) + self.biases.weight
        return one_a_row(self.head(self.activation(self.encoder(columns)[:, 0])))


def _residual_block(config: Model, noise: Generator | None) -> Residual:
    inner = max(1, round(config.expansion * config.width))
    branch = nn.Sequential(
        norm_of(config, config.width),
        nn.Linear(config.width, inner),
        ACTIVATIONS[config.activation](),
        Dropout(noise),
        nn.Linear(inner, config.width),
        Dropout(noise),
    )
    return Residual([branch], nn.Identity(), noise)
