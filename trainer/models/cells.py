"""What a stage of a convolutional network may be made of: one cell, which leaves the size of the image alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Generator, Tensor, nn
from torch.nn import functional

from trainer.config import Model
from trainer.models.layers import ACTIVATIONS, image_norm
from trainer.models.residual import Residual

REDUCTION = 4  # of the channels, within what weighs them


def cell_of(config: Model, name: str, before: int, after: int, noise: Generator | None) -> nn.Module:
    """The cell of a name, from `before` channels to `after`: (batch, before, height, width) to (batch, after, …)."""
    return _CELLS[name](config, before, after, noise)


class Squeeze(nn.Module):
    """Weighs each channel by what all channels are in the mean over the image (Hu et al. 2018, section 3)."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        inner = max(1, channels // REDUCTION)
        self.weigh = nn.Sequential(nn.Linear(channels, inner), activation, nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.weigh(x.mean((2, 3)))
        return x * weights[:, :, None, None]


class Identity(nn.Module):
    """What came in, with channels of zeros on top, or without the last ones (He et al. 2016, option A)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self._before, self._after = before, after

    def forward(self, x: Tensor) -> Tensor:
        if self._after <= self._before:
            return x[:, : self._after]
        return functional.pad(x, (0, 0, 0, 0, 0, self._after - self._before))


def _residual(config: Model, before: int, after: int, noise: Generator | None) -> nn.Module:
    """Two convolutions beside a shortcut (He et al. 2016)."""
    branch = nn.Sequential(*_convolution(config, before, after), _activation(config))
    branch.extend(_convolution(config, after, after))
    return nn.Sequential(Residual([branch], _shortcut(before, after), noise), _activation(config))


def _separable(config: Model, before: int, after: int, _noise: Generator | None) -> nn.Module:
    """A convolution of each channel by itself, then one over the channels of each place (Howard et al. 2017)."""
    layers = [*_convolution(config, before, before, groups=before), _activation(config)]
    return nn.Sequential(*layers, *_convolution(config, before, after, kernel=1), _activation(config))


def _inverted(config: Model, before: int, after: int, noise: Generator | None) -> nn.Module:
    """More channels, a convolution of each by itself, and fewer again, beside a shortcut where as many come out as went
    in (Sandler et al. 2018).
    """
    inner = max(1, round(config.expansion * before))
    branch = nn.Sequential(*_convolution(config, before, inner, kernel=1), _activation(config))
    branch.extend([*_convolution(config, inner, inner, groups=inner), _activation(config)])
    branch.extend(_convolution(config, inner, after, kernel=1))
    return Residual([branch], nn.Identity(), noise) if before == after else branch


def _squeeze(config: Model, before: int, after: int, _noise: Generator | None) -> nn.Module:
    """A convolution whose channels are weighed."""
    weighing = Squeeze(after, _activation(config))
    return nn.Sequential(*_convolution(config, before, after), _activation(config), weighing)


_CELLS: dict[str, Callable[[Model, int, int, Generator | None], nn.Module]] = {
    "residual": _residual,
    "separable": _separable,
    "inverted": _inverted,
    "squeeze": _squeeze,
    "identity": lambda _config, before, after, _noise: Identity(before, after),
}


def _convolution(
    config: Model, before: int, after: int, *, kernel: int | None = None, groups: int = 1
) -> list[nn.Module]:
    """One that leaves the size alone, and its norm; without a norm it has a bias."""
    side, bias = kernel or config.kernel, config.norm == "none"
    conv: list[nn.Module] = [nn.Conv2d(before, after, side, padding=side // 2, groups=groups, bias=bias)]
    if side % 2 == 0:  # padded by one less at the other end, so that as many places come out
        conv = [nn.ZeroPad2d((side // 2, side // 2 - 1) * 2), nn.Conv2d(before, after, side, groups=groups, bias=bias)]
    # Inner layers have as many channels as follow from others: as many groups as divide them.
    own = config.model_copy(update={"groups": math.gcd(config.groups, after)})
    return conv if bias else [*conv, image_norm(own, after)]


def _shortcut(before: int, after: int) -> nn.Module:
    return nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)


def _activation(config: Model) -> nn.Module:
    return ACTIVATIONS[config.activation]()
