"""What the models are made of, and what the loop may ask of every one of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import torch
from torch import Generator, Tensor, nn

from trainer.config import Model, Regularization
from trainer.errors import ModelError
from trainer.models.residual import Branched, Residual
from trainer.regularize import dropout_rates

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)


class Network(nn.Module):
    """A model whose `forward` takes the inputs of a part, and gives (batch, outputs), or (batch,) for one output."""

    cpu_rows = 1024  # so many rows' activations stay in a processor's cache during evaluation
    may_leave_out = False  # whether a pass may do without some of its parameters
    frozen: Sequence[nn.Module] = ()  # parts that do not learn: their statistics stay as they are, too

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    pad: int | None = None  # the token that stands for nothing: of a column of these, the model sees nothing

    @property
    def needs_two_rows(self) -> bool:
        """Whether a batch of one row cannot be trained on: it has no variance to normalize by."""
        return any(isinstance(module, BATCH_NORMS) for module in self.modules())

    def set_rates(self, knobs: Regularization) -> None:
        """Let dropout, and what is done to residual branches, act as told from the next step on."""
        dropouts = [module for module in self.modules() if isinstance(module, Dropout)]
        rates = dropout_rates(knobs.dropout_shape, knobs.dropout, len(dropouts))
        for dropout, rate in zip(dropouts, rates, strict=True):
            dropout.rate = rate
        residuals = [module for module in self.modules() if isinstance(module, Residual)]
        for depth, residual in enumerate(residuals, start=1):
            residual.drop_rate = knobs.stochastic_depth * depth / len(residuals)
            residual.shake_rate = knobs.shake_drop * depth / len(residuals)


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
    """Blocks of linear, norm, activation and dropout, one for each width in `hidden`.

    With a skip connection, the layers after the first are taken two by two as residual blocks; a last one may be alone.
    """
    widths = [inputs, *config.hidden]
    plain = widths if config.skip == "none" else widths[:2]
    blocks = nn.Sequential()
    for before, width in pairwise(plain):
        _add_layer(blocks, config, before, width)
        blocks.append(Dropout(noise))
    for start in range(len(plain) - 1, len(config.hidden), 2):
        blocks.append(_residual_block(config, widths[start : start + 3], noise))
        blocks.append(ACTIVATIONS[config.activation]())
        blocks.append(Dropout(noise))
    return blocks


def _residual_block(config: Model, widths: Sequence[int], noise: Generator | None) -> Residual:
    """One or two layers beside a shortcut, from the first of the widths to the last."""
    branches = 2 if config.skip == "shake_shake" else 1
    before, after = widths[0], widths[-1]
    shortcut = nn.Identity() if before == after else nn.Linear(before, after, bias=False)
    branched: Branched = "standard" if config.skip == "none" else config.skip
    return Residual([_branch(config, widths, noise) for _ in range(branches)], shortcut, noise, branched)


def _branch(config: Model, widths: Sequence[int], noise: Generator | None) -> nn.Sequential:
    """The last layer's activation comes after the sum (He et al. 2016, figure 2)."""
    branch = nn.Sequential()
    for before, width in pairwise(widths[:-1]):
        _add_layer(branch, config, before, width)
        branch.append(Dropout(noise))
    branch.append(nn.Linear(widths[-2], widths[-1]))
    if config.norm != "none":
        branch.append(norm_of(config, widths[-1]))
    return branch


def _add_layer(blocks: nn.Sequential, config: Model, before: int, width: int) -> None:
    blocks.append(nn.Linear(before, width))
    if config.norm != "none":
        blocks.append(norm_of(config, width))
    blocks.append(ACTIVATIONS[config.activation]())


def norm_of(config: Model, width: int) -> nn.Module:
    """The normalization of (batch, width). `group` normalizes each of `groups` equal shares of a row by itself (Wu and
    He 2018).

    Raises:
        ModelError: shares of one number each, of which nothing would be left.
    """
    match config.norm:
        case "batch":
            return nn.BatchNorm1d(width)
        case "layer":
            return nn.LayerNorm(width)
        case "group":
            if width == config.groups:
                message = f"in {width} groups of a width of {width} each number is normalized by itself, to 0"
                raise ModelError("trial.model.groups", message, f"at most {width // 2}")
            return _group_norm(config, width)
    return nn.Identity()


def image_norm(config: Model, channels: int) -> nn.Module:
    """The normalization of (batch, channels, height, width). `layer` normalizes each image over all of its channels and
    places, `group` over shares of the channels.
    """
    match config.norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "layer":
            return nn.GroupNorm(1, channels)
        case "group":
            return _group_norm(config, channels)
    return nn.Identity()


def _group_norm(config: Model, width: int) -> nn.Module:
    """Raises: ModelError: as the configuration refuses it, but for widths that come to be as a training goes on."""
    if width % config.groups:
        message = f"{config.groups} groups do not divide a width of {width}"
        raise ModelError("trial.model.groups", message, "take a number that does")
    return nn.GroupNorm(config.groups, width)


def one_a_row(outputs: Tensor) -> Tensor:
    """(batch, outputs) as it is, but (batch,) for a single output."""
    return outputs.squeeze(1) if outputs.shape[1] == 1 else outputs
