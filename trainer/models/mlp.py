"""A multilayer perceptron over numeric columns and embedded categorical ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from trainer.config import Model
from trainer.data.schema import Schema

MAX_EMBEDDING = 32

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
NORMS: dict[str, type[nn.Module]] = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def build(config: Model, schema: Schema, noise: Generator | None = None) -> MLP:
    """The model that fits a schema, with weights yet to be initialized, on PyTorch's default device."""
    with torch.random.fork_rng(devices=()):  # the layers draw weights of their own, from the global generator
        return MLP(
            config,
            numeric=len(schema.numeric),
            categories=[len(column.categories) for column in schema.categorical],
            outputs=len(schema.target.classes) or 1,
            noise=noise,
        )


class MLP(nn.Module):
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
        widths = [numeric + (self.embedding.width if self.embedding else 0), *config.hidden]
        self.blocks = nn.Sequential()
        for inputs, width in pairwise(widths):
            self.blocks.append(nn.Linear(inputs, width))
            if config.norm != "none":
                self.blocks.append(NORMS[config.norm](width))
            self.blocks.append(ACTIVATIONS[config.activation]())
            self.blocks.append(Dropout(noise))
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, x_num: Tensor, x_cat: Tensor) -> Tensor:
        """(batch, numeric) float32 and (batch, categorical) int64 to (batch, outputs); (batch,) for a single output."""
        x = x_num if self.embedding is None else torch.cat([x_num, self.embedding(x_cat)], dim=1)
        outputs: Tensor = self.head(self.blocks(x))
        return outputs.squeeze(1) if outputs.shape[1] == 1 else outputs

    @property
    def needs_two_rows(self) -> bool:
        """Whether a batch of one row cannot be trained on: it has no variance to normalize by."""
        return any(isinstance(module, nn.BatchNorm1d) for module in self.modules())

    def set_dropout(self, rate: float) -> None:
        for module in self.modules():
            if isinstance(module, Dropout):
                module.rate = rate


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
        starts = torch.tensor([0, *sizes[:-1]], device="cpu").cumsum(0)
        self.register_buffer("offsets", starts.to(self.table.weight.device))
        self.width = dimension * len(sizes)

    def forward(self, x_cat: Tensor) -> Tensor:
        """(batch, columns) to (batch, columns * dimension)."""
        embedded: Tensor = self.table(x_cat + self.offsets)
        return embedded.flatten(1)


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) that draws from the training's own generator, so that neither another
    training nor the caller's use of PyTorch's global one changes it. Its rate may change between steps.
    """

    def __init__(self, noise: Generator | None) -> None:
        super().__init__()
        self.rate = 0.0
        self._noise = noise

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        # Uniform numbers and a comparison take two thirds of the time of bernoulli_, on a CPU.
        kept = torch.rand(x.shape, generator=self._noise, device=x.device) >= self.rate
        return x * (kept * (1 / (1 - self.rate)))
