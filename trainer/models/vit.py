"""A transformer over the patches of an image."""

from __future__ import annotations

from torch import Generator, Tensor, nn

from trainer.config import Model
from trainer.data.images import ImageSchema
from trainer.errors import ModelError
from trainer.models.image import Pixels
from trainer.models.layers import Network, one_a_row
from trainer.models.transformer import Encoder, Vectors


class ViT(Network):
    """Squares of `patch` pixels become tokens, to which a vector of their place is added; the head reads the encoder's
    own token (Dosovitskiy et al. 2021, section 3.1).

    Raises:
        ModelError: the patches do not tile the image.
    """

    cpu_rows = 128

    def __init__(self, config: Model, schema: ImageSchema, outputs: int, noise: Generator | None) -> None:
        super().__init__()
        height, width, side = schema.height, schema.width, config.patch
        if height % side or width % side:
            fitting = [str(n) for n in range(1, min(height, width) + 1) if height % n == width % n == 0]
            message = f"squares of {side} pixels do not tile images of {height} × {width}"
            raise ModelError("trial.model.patch", message, f"one of {', '.join(fitting)}")
        self.patches = nn.Sequential(Pixels(schema), nn.Conv2d(schema.channels, config.width, side, stride=side))
        self.places = Vectors((height // side) * (width // side), config.width)
        self.encoder = Encoder(config, noise)
        self.head = nn.Linear(config.width, outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, outputs); (batch,) for a single output."""
        tokens = self.patches(pixels).flatten(2).transpose(1, 2) + self.places.weight  # (batch, places, width)
        return one_a_row(self.head(self.encoder(tokens)[:, 0]))
