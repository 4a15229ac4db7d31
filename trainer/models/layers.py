"""What the models are made of, and what the loop may ask of every one of them."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn

from trainer.config import Model

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
NORMS: dict[str, type[nn.Module]] = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Network(nn.Module):
    """A model whose `forward` takes the inputs of a part, and gives (batch, outputs), or (batch,) for one output."""

    cpu_rows: ClassVar[int] = 1024  # so many rows' activations stay in a processor's cache during evaluation

    @property
    def needs_two_rows(self) -> bool:
        """Whether a batch of one row cannot be trained on: it has no variance to normalize by."""
        return any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in self.modules())

    def set_dropout(self, rate: float) -> None:
        for module in self.modules():
            if isinstance(module, Dropout):
                module.rate = rate


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


def hidden_layers(config: Model, inputs: int, noise: Generator | None) -> nn.Sequential:
    """Blocks of linear, norm, activation and dropout, one for each width in `hidden`."""
    blocks = nn.Sequential()
    for before, width in pairwise([inputs, *config.hidden]):
        blocks.append(nn.Linear(before, width))
        if config.norm != "none":
            blocks.append(NORMS[config.norm](width))
        blocks.append(ACTIVATIONS[config.activation]())
        blocks.append(Dropout(noise))
    return blocks


def one_a_row(outputs: Tensor) -> Tensor:
    """(batch, outputs) as it is, but (batch,) for a single output."""
    return outputs.squeeze(1) if outputs.shape[1] == 1 else outputs
