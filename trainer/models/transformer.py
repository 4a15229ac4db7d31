"""Transformer encoders: what a table's, an image's and a text's have in common."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional, init

from trainer.config import Model
from trainer.models.layers import ACTIVATIONS, Dropout
from trainer.models.residual import Residual


class Vectors(nn.Module):
    """So many learned vectors, drawn evenly from ± 1 / sqrt(width) (Gorishniy et al. 2021, in their code)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(count, width))

    def draw(self, generator: Generator) -> None:
        bound = 1 / math.sqrt(self.weight.shape[1])
        init.uniform_(self.weight, -bound, bound, generator=generator)


class Encoder(nn.Module):
    """Blocks of self-attention and a feed-forward layer, each normalized before and added to what came in (Vaswani et
    al. 2017; norms first as in Xiong et al. 2020), behind a token of the model's own that gathers what it wants.
    """

    def __init__(self, config: Model, noise: Generator | None) -> None:
        super().__init__()
        self.own = Vectors(1, config.width)
        self.blocks = nn.ModuleList(EncoderBlock(config, noise) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, there: Tensor | None = None) -> Tensor:
        """(batch, tokens, width) to (batch, 1 + tokens, width), the model's own token first.

        Args:
            there: (batch, tokens), whether a token is one, or only fills its row up.
        """
        x = torch.cat([self.own.weight.expand(tokens.shape[0], 1, -1), tokens], 1)
        mask = (
            None if there is None else functional.pad(there, (1, 0), value=True)[:, None, None]
        )  # (batch, 1, 1, keys)
        for block in self.blocks:
            x = block(x, mask)
        normalized: Tensor = self.norm(x)
        return normalized


class EncoderBlock(nn.Module):
    def __init__(self, config: Model, noise: Generator | None) -> None:
        super().__init__()
        inner = max(1, round(config.expansion * config.width))
        feed_forward = nn.Sequential(
            nn.LayerNorm(config.width),
            nn.Linear(config.width, inner),
            ACTIVATIONS[config.activation](),
            Dropout(noise),
            nn.Linear(inner, config.width),
        )
        self.attention = Residual([Attention(config, noise)], nn.Identity(), noise)
        self.feed_forward = Residual([feed_forward], nn.Identity(), noise)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        mixed: Tensor = self.feed_forward(self.attention(x, mask))
        return mixed


class Attention(nn.Module):
    """Every token takes from the others what it looks for, in `heads` parts of its width."""

    def __init__(self, config: Model, noise: Generator | None) -> None:
        super().__init__()
        self._heads = config.heads
        self.norm = nn.LayerNorm(config.width)
        self.asked = nn.Linear(config.width, 3 * config.width)
        self.dropout = Dropout(noise)
        self.answer = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, tokens, width) to the same; `mask` (batch, 1, 1, tokens), whether a token may be looked at."""
        asked = self.asked(self.norm(x)).unflatten(2, (3, self._heads, -1))  # (batch, tokens, 3, heads, width / heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4)  # (batch, heads, tokens, width / heads) each
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        answer: Tensor = self.answer(self.dropout(found.transpose(1, 2).flatten(2)))
        return answer
