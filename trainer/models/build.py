"""From a configuration and a schema to the model that fits both."""

from __future__ import annotations

import torch
from torch import Generator

from trainer.config import MODELS, Model
from trainer.data.images import ImageSchema
from trainer.data.prepared import AnySchema
from trainer.data.subwords import SubwordSchema
from trainer.data.texts import TextSchema
from trainer.errors import ModelError
from trainer.models.image import CNN, ImageMLP, ResNet
from trainer.models.layers import Network
from trainer.models.mlp import MLP
from trainer.models.pretrained import add_lora, build_pretrained
from trainer.models.table import FTTransformer, TableResNet
from trainer.models.text import EmbeddingBag, TextCNN, TextTransformer
from trainer.models.vit import ViT

OF_TABLES = {"linear": MLP, "mlp": MLP, "resnet": TableResNet, "ft_transformer": FTTransformer}
OF_IMAGES = {"linear": ImageMLP, "mlp": ImageMLP, "cnn": CNN, "resnet": ResNet, "vit": ViT}
OF_TEXTS = {"embedding_bag": EmbeddingBag, "text_cnn": TextCNN, "transformer": TextTransformer}


def build(config: Model, schema: AnySchema, noise: Generator | None = None) -> Network:
    """The model that fits a schema, with weights yet to be initialized, on PyTorch's default device.

    Raises:
        ModelError: the named model cannot take such data.
    """
    outputs = schema.target.outputs
    if config.name == "pretrained":
        return _pretrained(config, schema, outputs, noise)
    if isinstance(schema, SubwordSchema):
        raise ModelError("trial.model.name", f"{config.name} has no use for another model's tokens")
    if config.name not in MODELS[schema.kind]:
        takes = " or ".join(f"{kind}s" for kind in MODELS if config.name in MODELS[kind])
        hint = f"take one of {', '.join(sorted(MODELS[schema.kind]))}"
        raise ModelError("trial.model.name", f"{config.name} takes {takes}, and the source holds {schema.kind}s", hint)
    if config.name == "linear":
        config = config.model_copy(update={"hidden": []})
    with torch.random.fork_rng(devices=()):  # the layers draw weights of their own, from the global generator
        if isinstance(schema, ImageSchema):
            return OF_IMAGES[config.name](config, schema, outputs, noise)
        if isinstance(schema, TextSchema):
            return OF_TEXTS[config.name](config, schema, outputs, noise)
        return OF_TABLES[config.name](
            config,
            numeric=schema.numbers,
            categories=[column.count for column in schema.categorical],
            outputs=outputs,
            noise=noise,
        )


def _pretrained(config: Model, schema: AnySchema, outputs: int, noise: Generator | None) -> Network:
    """The source's model with a head for these data; what it takes from the source comes later."""
    architecture = config.architecture
    if architecture is None:
        raise ModelError("trial.model.source", "the source has not been opened")
    with torch.random.fork_rng(devices=()):
        torch.default_generator.manual_seed(0)
        if "model_type" in architecture:
            model = build_pretrained(architecture, schema, outputs, noise, config.pooling)
        else:
            model = build(Model.model_validate(architecture), schema, noise)
        if config.lora_rank:
            add_lora(model, config)
    return model
