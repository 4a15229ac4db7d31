"""Models of texts: the mean of their tokens, convolutions over them, and a transformer."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainer.config import Model
from trainer.data.texts import PAD, TextSchema
from trainer.models.layers import ACTIVATIONS, Dropout, Network, hidden_layers, one_a_row
from trainer.models.transformer import Encoder, Vectors

WINDOWS = 3
MEAN = 1  # among the modes of torch.embedding_bag


class TokenBag(nn.EmbeddingBag):
    """The mean of the embeddings of what is no padding, 0 where nothing is. On a processor padding is left out before
    anything is looked up: PyTorch goes through all of it, and sorts it for the gradient, which differs by rounding.
    """

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__(tokens, width, mode="mean", padding_idx=PAD)

    def forward(self, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, length), int, to (batch, width)."""
        if torch.compiler.is_exporting():  # a program that takes a single row, too, which the one below would refuse
            there = (tokens != PAD).unsqueeze(2)  # (batch, length, 1)
            summed = (functional.embedding(tokens, self.weight) * there).sum(1)
            return summed / there.sum(1).clamp(min=1)
        if tokens.device.type != "cpu" or torch.compiler.is_compiling():  # how many are there is not known beforehand
            return super().forward(tokens)
        there = tokens != PAD
        counts = there.sum(1, dtype=tokens.dtype)
        starts = counts.cumsum(0, dtype=tokens.dtype) - counts
        # Without the checks of its wrapper, which take as long as a small product.
        means: Tensor = torch.embedding_bag(self.weight, tokens.masked_select(there), starts, False, MEAN)[0]
        return means


class EmbeddingBag(Network):
    """The mean of the tokens' embeddings, then hidden layers as in a perceptron (Joulin et al. 2017)."""

    pad = PAD

    def __init__(self, config: Model, schema: TextSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        self.bag = TokenBag(schema.tokens, config.width)
        self.dropout = Dropout(noise)
        self.blocks = hidden_layers(config, config.width, noise)
        self.head = nn.Linear([config.width, *config.hidden][-1], outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int32 to (batch, outputs); (batch,) for a single output."""
        return one_a_row(self.head(self.blocks(self.dropout(self.bag(tokens)))))


class TextCNN(Network):
    """Filters over windows of `kernel`, `kernel` + 1 and `kernel` + 2 tokens, the strongest answer of each, dropout and
    a linear head (Kim 2014); as many filters a window as the embedding has dimensions.
    """

    cpu_rows = 256
    pad = PAD

    def __init__(self, config: Model, schema: TextSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(schema.tokens, config.width, padding_idx=PAD)
        # Padded by a whole window, so that one over nothing is among them however much padding the text has.
        sizes = range(config.kernel, config.kernel + WINDOWS)
        self.windows = nn.ModuleList(nn.Conv1d(config.width, config.width, size, padding=size) for size in sizes)
        self.activation = ACTIVATIONS[config.activation]()
        self.dropout = Dropout(noise)
        self.head = nn.Linear(WINDOWS * config.width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int32 to (batch, outputs); (batch,) for a single output."""
        x = self.embedding(tokens).transpose(1, 2)  # (batch, width, length)
        strongest = [self.activation(window(x)).amax(2) for window in self.windows]
        return one_a_row(self.head(self.dropout(torch.cat(strongest, 1))))


class TextTransformer(Network):
    """Tokens, to which a vector of their place is added, go through an encoder; the head reads the mean of those that
    are there and the encoder's own (Vaswani et al. 2017, the encoder alone).
    """

    cpu_rows = 128
    pad = PAD

    def __init__(self, config: Model, schema: TextSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(schema.tokens, config.width, padding_idx=PAD)
        self.places = Vectors(schema.max_tokens, config.width)
        self.dropout = Dropout(noise)
        self.encoder = Encoder(config, noise)
        self.head = nn.Linear(config.width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int32 to (batch, outputs); (batch,) for a single output."""
        there = tokens != PAD
        placed = self.dropout(self.embedding(tokens) + self._places()[: tokens.shape[1]])  # (batch, length, width)
        mixed = self.encoder(placed, there)  # (batch, 1 + length, width)
        counted = functional.pad(there, (1, 0), value=True).unsqueeze(2)  # the encoder's own token is always there
        return one_a_row(self.head((mixed * counted).sum(1) / counted.sum(1)))

    def _places(self) -> Tensor:
        """(max_tokens, width), or one row more."""
        weight: Tensor = self.places.weight
        # torch.export takes lengths from 2 on for free ones, and refuses a slice of which only 2 is left.
        return functional.pad(weight, (0, 0, 0, 1)) if len(weight) == 2 else weight
