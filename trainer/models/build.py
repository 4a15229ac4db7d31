"""From a configuration and a schema to the model that fits both."""

from __future__ import annotations

import torch
from torch import Generator

from trainer.config import IMAGE_MODELS, Model
from trainer.data.images import ImageSchema
from trainer.data.prepared import AnySchema
from trainer.data.texts import TextSchema
from trainer.errors import ModelError
from trainer.models.image import CNN, ImageMLP, ResNet
from trainer.models.layers import Network
from trainer.models.mlp import MLP
from trainer.models.text import EmbeddingBag, TextCNN


def build(config: Model, schema: AnySchema, noise: Generator | None = None) -> Network:
    """The model that fits a schema, with weights yet to be initialized, on PyTorch's default device.

    Raises:
        ModelError: the named model cannot take such data.
    """
    outputs = len(schema.target.classes) or 1
    with torch.random.fork_rng(devices=()):  # the layers draw weights of their own, from the global generator
        if isinstance(schema, ImageSchema):
            return {"mlp": ImageMLP, "cnn": CNN, "resnet": ResNet}[config.name](config, schema, outputs, noise)
        if isinstance(schema, TextSchema):
            return {"embedding_bag": EmbeddingBag, "text_cnn": TextCNN}[config.name](
                config, schema.tokens, outputs, noise
            )
        if config.name in IMAGE_MODELS:
            raise ModelError("trial.model.name", f"{config.name} takes images, and the source is a table", "take mlp")
        return MLP(
            config,
            numeric=len(schema.numeric),
            categories=[column.count for column in schema.categorical],
            outputs=outputs,
            noise=noise,
        )
