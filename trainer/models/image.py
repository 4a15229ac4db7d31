"""Models of images: convolutions, residual ones, and a perceptron over the pixels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Generator, Tensor, nn

from trainer.config import Model
from trainer.data.images import ImageSchema
from trainer.errors import ModelError
from trainer.models.cells import cell_of
from trainer.models.layers import ACTIVATIONS, Dropout, Network, hidden_layers, image_norm, one_a_row
from trainer.models.residual import Residual

RESNET_STAGES = 3
NEVER_FALLING = frozenset({"relu", "tanh", "elu", "leaky_relu"})  # of the activations


class Pixels(nn.Module):
    """Raw pixels, 0 to 255, as floats on each channel's own scale.

    They are laid out channels last, in which a processor's convolutions take two thirds of the time.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, schema: ImageSchema) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(schema.shift).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(schema.scale).view(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, channels, height, width), uint8 or float32, to float32."""
        return (pixels.to(torch.float32, memory_format=torch.channels_last) - self.shift) / self.scale


class ImageMLP(Network):
    """A perceptron that knows nothing of neighbours: every pixel is a number like any other."""

    def __init__(self, config: Model, schema: ImageSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        inputs = schema.channels * schema.height * schema.width
        self.pixels = Pixels(schema)
        self.blocks = hidden_layers(config, inputs, noise)
        self.head = nn.Linear([inputs, *config.hidden][-1], outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        return one_a_row(self.head(self.blocks(self.pixels(pixels).flatten(1))))


class CNN(Network):
    """Stages of a cell and 2 × 2 max pooling, each with twice the channels of the one before; then dropout and a linear
    head over what is left of the image (LeCun et al. 1998). The cell `conv` is a convolution, norm and activation.

    Raises:
        ModelError: the image cannot be halved `depth` times.
    """

    cpu_rows = 128

    def __init__(self, config: Model, schema: ImageSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        side = min(schema.height, schema.width)
        stages = config.stage_channels
        if side >> len(stages) < 1:
            message = f"{len(stages)} stages halve an image of {schema.height} × {schema.width} to nothing"
            raise ModelError("trial.model.depth", message, f"at most {side.bit_length() - 1}")
        channels = [schema.channels, *stages]
        self.stages = nn.Sequential(Pixels(schema))
        height, width = schema.height, schema.width
        for cell, (before, after) in zip(config.stage_cells, pairwise(channels), strict=True):
            grown = 0
            if cell == "conv":
                self.stages.append(nn.Conv2d(before, after, config.kernel, padding=config.kernel // 2))
                self.stages.append(image_norm(config, after))
                self.stages.extend(_pooled(config))
                grown = 1 - config.kernel % 2  # an even kernel, padded on both sides, sees one place more
            else:
                self.stages.append(cell_of(config, cell, before, after, noise))
                self.stages.append(nn.MaxPool2d(2))
            height, width = (height + grown) // 2, (width + grown) // 2
        self.dropout = Dropout(noise)
        self.head = nn.Linear(channels[-1] * height * width, outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        return one_a_row(self.head(self.dropout(self.stages(pixels).flatten(1))))


def _pooled(config: Model) -> list[nn.Module]:
    """An activation and 2 × 2 max pooling. One that never falls leaves the greatest of four the greatest: after the
    pooling it gives the same, for a quarter of the work.
    """
    activation, pooling = ACTIVATIONS[config.activation](), nn.MaxPool2d(2)
    return [pooling, activation] if config.activation in NEVER_FALLING else [activation, pooling]


class ResNet(Network):
    """A stem, three stages of `depth` residual blocks, of which each but the first halves the image and doubles the
    channels, and a linear head over the mean of all places (He et al. 2016, section 4.2: 6 * depth + 2 layers).
    """

    cpu_rows = 128

    def __init__(self, config: Model, schema: ImageSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        stem = nn.Conv2d(schema.channels, config.width, 3, padding=1, bias=False)
        norm, activation = image_norm(config, config.width), ACTIVATIONS[config.activation]()
        self.stages = nn.Sequential(Pixels(schema), stem, norm, activation)
        channels = config.width
        for stage in range(RESNET_STAGES):
            for block in range(config.depth):
                halves = stage > 0 and block == 0
                self.stages.append(_residual_block(config, channels, halves=halves, noise=noise))
                self.stages.append(ACTIVATIONS[config.activation]())
                channels *= 2 if halves else 1
        self.dropout = Dropout(noise)
        self.head = nn.Linear(channels, outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        return one_a_row(self.head(self.dropout(self.stages(pixels).mean((2, 3)))))


def _residual_block(config: Model, channels: int, *, halves: bool, noise: Generator | None) -> Residual:
    """Two convolutions whose result is added to what came in; a 1 × 1 convolution brings that to shape where needed."""
    stride, after = (2, 2 * channels) if halves else (1, channels)
    branch = nn.Sequential(
        nn.Conv2d(channels, after, 3, stride=stride, padding=1, bias=False),
        image_norm(config, after),
        ACTIVATIONS[config.activation](),
        nn.Conv2d(after, after, 3, padding=1, bias=False),
        image_norm(config, after),
    )
    shortcut = nn.Conv2d(channels, after, 1, stride=2, bias=False) if halves else nn.Identity()
    return Residual([branch], shortcut, noise)
