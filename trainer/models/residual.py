"""Residual connections, and the noise that regularizes their branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn

Branched = Literal["standard", "shake_shake", "shake_drop"]


class Residual(nn.Module):
    """What came in, through a shortcut, and on top what a branch makes of it (He et al. 2016).

    In training a branch may be left out for some rows (stochastic depth, Huang et al. 2016). `shake_shake` mixes two
    branches, for each row by one random share forward and by another backward (Gastaldi 2017). `shake_drop` multiplies
    some rows of a branch by numbers from -1 to 1 forward and from 0 to 1 backward (Yamada et al. 2019, equation 6).
    What is left counts for more, as with dropout, so that in evaluation nothing has to be scaled.

    The rates may change between steps.
    """

    def __init__(
        self,
        branches: Sequence[nn.Module],
        shortcut: nn.Module,
        noise: Generator | None,
        branched: Branched = "standard",
    ) -> None:
        """`branches` are two for shake_shake, and else one."""
        super().__init__()
        self.drop_rate = 0.0
        self.shake_rate = 0.0
        self.branches = nn.ModuleList(branches)
        self.shortcut = shortcut
        self._branched, self._noise = branched, noise

    def forward(self, x: Tensor, *more: Tensor | None) -> Tensor:
        """(batch, …) to (batch, …); the branches are given `more` besides."""
        added = self._together([branch(x, *more) for branch in self.branches])
        if self.training and self.drop_rate:
            added = added * (self._draw(added) >= self.drop_rate) / (1 - self.drop_rate)
        out: Tensor = self.shortcut(x) + added
        return out

    def _together(self, outputs: Sequence[Tensor]) -> Tensor:
        match self._branched:
            case "shake_shake":
                return self._shaken(*outputs)
            case "shake_drop":
                return self._shake_dropped(outputs[0])
        return outputs[0]

    def _shaken(self, one: Tensor, other: Tensor) -> Tensor:
        if not self.training:
            return (one + other) / 2
        forward, backward = self._draw(one), self._draw(one)
        return _scaled(one, forward, backward) + _scaled(other, 1 - forward, 1 - backward)

    def _shake_dropped(self, out: Tensor) -> Tensor:
        if not self.training or not self.shake_rate:
            return out
        left = self._draw(out) >= self.shake_rate
        forward, backward = 2 * self._draw(out) - 1, self._draw(out)
        kept = 1 - self.shake_rate  # the mean of what `forward` does, its own numbers having a mean of 0
        return _scaled(out, torch.where(left, 1.0, forward) / kept, torch.where(left, 1.0, backward) / kept)

    def _draw(self, like: Tensor) -> Tensor:
        """(batch, 1, …), uniform over [0, 1)."""
        shape = (len(like), *[1] * (like.ndim - 1))
        return torch.rand(shape, generator=self._noise, device=like.device)


def _scaled(x: Tensor, forward: Tensor, backward: Tensor) -> Tensor:
    """x * forward, whose derivative is `backward`."""
    return x * backward + (x * (forward - backward)).detach()


def last_weights(residual: Residual) -> list[nn.Parameter]:
    """Of each branch the weight and, where there is one, the bias of the last layer: at 0 the branch adds nothing."""
    found = []
    for branch in residual.branches:
        layers = [module for module in branch.modules() if isinstance(getattr(module, "weight", None), nn.Parameter)]
        found += list(layers[-1].parameters(recurse=False))
    return found
