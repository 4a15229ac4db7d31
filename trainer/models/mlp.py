"""A multilayer perceptron over numeric columns and embedded categorical ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from trainer.config import Model
from trainer.models.layers import Network, hidden_layers, one_a_row
from trainer.models.numbers import Numbers

MAX_EMBEDDING = 32


class MLP(Network):
    """Blocks of linear, norm, activation and dropout, and a linear head.

    Args:
        numeric: how many numeric columns there are.
        categories: of each categorical column, how many categories; index 0 (missing, unseen) comes on top.
        outputs: one a class, or 1 for a regression.
        noise: the generator that dropout draws from; a model that is only evaluated needs none.
    """

    def __init__(
        self, config: Model, *, numeric: int, categories: Sequence[int], outputs: int, noise: Generator | None = None
    ) -> None:
        super().__init__()
        self.embedding = Embeddings(categories) if categories else None
        self.numbers = Numbers(config, numeric)
        inputs = self.numbers.width + (self.embedding.width if self.embedding else 0)
        self.blocks = hidden_layers(config, inputs, noise)
        self.head = nn.Linear([inputs, *config.hidden][-1], outputs)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """(batch, numeric) float32 and (batch, categorical) int64 to (batch, outputs); (batch,) for a single output."""
        x = self.numbers(x_num)
        if self.embedding is not None:
            x = torch.cat([x, self.embedding(x_cat)], dim=1)
        return one_a_row(self.head(self.blocks(x)))


class Embeddings(nn.Module):
    """All categorical columns in one table, so that a batch is one look-up however many columns there are.

    Every column has the dimension ceil(sqrt(n)) of the column with the most categories n, 32 at most.
    """

    offsets: Tensor

    def __init__(self, categories: Sequence[int]) -> None:
        super().__init__()
        sizes = [count + 1 for count in categories]
        dimension = min(MAX_EMBEDDING, math.ceil(math.sqrt(max(sizes))))
        self.table = nn.Embedding(sum(sizes), dimension)
        self.register_buffer("offsets", offsets_of(sizes).to(self.table.weight.device))
        self.width = dimension * len(sizes)

    def forward(self, x_cat: Tensor) -> Tensor:
        """(batch, columns) to (batch, columns * dimension)."""
        embedded: Tensor = self.table(x_cat + self.offsets)
        return embedded.flatten(1)


def offsets_of(sizes: Sequence[int]) -> Tensor:
    """Where each column's categories begin in one table of all; (columns,)."""
    return torch.tensor([0, *sizes[:-1]] if sizes else [], dtype=torch.int64, device="cpu").cumsum(0)
