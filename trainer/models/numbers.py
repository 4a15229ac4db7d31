"""Numbers as vectors, so that a model can tell near values apart: Gorishniy et al. 2022 (arXiv 2203.05556)."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional, init

from trainer.config import Model


class Numbers(nn.Module):
    """What a model sees of the numeric columns: `width` numbers for a row.

    plain: the columns as they are. linear: each column times a vector of its own, plus another, rectified (LR in the
    paper). periodic: first sines and cosines of the column at frequencies that are learned, then the same (PLR, section
    3.3).
    """

    def __init__(self, config: Model, columns: int) -> None:
        super().__init__()
        self.kind = config.numbers if columns else "plain"
        if self.kind == "plain":
            self.width = columns
            return
        self._scale = config.frequency_scale
        features = 1
        if self.kind == "periodic":
            features = 2 * config.frequencies
            self.frequencies = nn.Parameter(torch.zeros(columns, config.frequencies))
        self.weight = nn.Parameter(torch.zeros(columns, features, config.number_width))
        self.bias = nn.Parameter(torch.zeros(columns, config.number_width))
        self.width = columns * config.number_width

    def forward(self, x_num: Tensor) -> Tensor:
        """(batch, columns) to (batch, width)."""
        if self.kind == "plain":
            return x_num
        features = x_num.unsqueeze(2)  # (batch, columns, 1)
        if self.kind == "periodic":
            angles = 2 * math.pi * self.frequencies * features  # (batch, columns, frequencies)
            features = torch.cat([angles.cos(), angles.sin()], dim=2)
        vectors = torch.einsum("bcf,cfw->bcw", features, self.weight) + self.bias
        return functional.relu(vectors).flatten(1)

    def draw(self, generator: Generator) -> None:
        """Frequencies from N(0, frequency_scale); the rest as PyTorch draws a linear layer of a column."""
        if self.kind == "plain":
            return
        if self.kind == "periodic":
            init.normal_(self.frequencies, std=self._scale, generator=generator)
        bound = 1 / math.sqrt(self.weight.shape[1])
        for drawn in (self.weight, self.bias):
            init.uniform_(drawn, -bound, bound, generator=generator)
