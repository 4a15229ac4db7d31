"""What is said of knobs that act only beside others is true of the models, and names what there is."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from trainer.config import MODELS, ONLY_WITH, Model, Regularization, TrainConfig, Way, allows
from trainer.data.images import ImageSchema
from trainer.data.numeric import Numeric
from trainer.data.prepared import AnySchema
from trainer.data.schema import Categorical, Schema, Target
from trainer.data.texts import TextSchema
from trainer.init import initialize
from trainer.models.build import build

TARGET = Target(name="y", task="classification", classes=("a", "b"))
NUMBER, NAME = Numeric(name="x", fill=0.0, shift=0.0, scale=1.0), Categorical(name="z", categories=("p", "q"))
SCHEMAS: dict[str, AnySchema] = {
    "table": Schema(numeric=(NUMBER,) * 2, categorical=(NAME,), excluded=(), target=TARGET, missing_values=()),
    "image": ImageSchema(channels=1, height=8, width=8, shift=(0.0,), scale=(255.0,), target=TARGET),
    "text": TextSchema(
        column="t", vocabulary=("a", "b", "c"), lower_case=True, subwords=False, max_tokens=4, target=TARGET
    ),
}  # fmt: skip
ROWS: dict[str, tuple[Tensor, ...]] = {
    "table": (torch.tensor([[0.3, -1.0], [2.0, 0.1]]), torch.tensor([[1], [2]])),
    "image": (torch.arange(128, dtype=torch.uint8).view(2, 1, 8, 8),),
    "text": (torch.tensor([[2, 3, 0, 0], [4, 2, 2, 3]], dtype=torch.int32),),
}
PLAIN = {"hidden": [4, 4, 4], "width": 4, "depth": 2}
SETTINGS: list[dict[str, Any]] = [
    *({"name": name} for name in sorted(set().union(*MODELS.values()))),
    *({"name": name, "skip": "standard"} for name in ("mlp", "embedding_bag")),
    *({"name": "cnn", "cell": cell} for cell in ("residual", "separable")),
    {"name": "cnn", "cell": "inverted", "channels": [1, 1]},
    {"name": "cnn", "cells": ["residual", "inverted"], "channels": [4, 8]},
    {"name": "mlp", "norm": "group", "groups": 2},
    {"name": "resnet", "numbers": "linear"},
]
OTHERWISE: dict[str, Any] = {
    "hidden": [8], "activation": "tanh", "numbers": "periodic", "number_width": 3, "norm": "layer", "groups": 1,
    "skip": "shake_shake", "zero_residual": True, "depth": 1, "width": 8, "expansion": 1.0, "heads": 2, "patch": 2,
    "channels": [3, 5], "cell": "conv", "cells": ["separable", "conv"], "kernel": 1,
}  # fmt: skip


def outputs(model: Model, told: Regularization = Regularization()) -> list[list[float]]:  # noqa: B008 - it is frozen
    """Of one row or another of each kind that the model takes; with a technique of training, while it is trained."""
    found = []
    for kind, schema in SCHEMAS.items():
        if model.name not in MODELS[kind]:
            continue
        noise = torch.Generator().manual_seed(1)
        network = build(model, schema, noise)
        generator = torch.Generator().manual_seed(0)
        initialize(network, model.init, model.activation, generator, zero_residual=model.zero_residual)
        network.train(told != Regularization())
        network.set_rates(told)
        found += network(*ROWS[kind]).tolist()
    return found


def said_to_act(knob: str, model: Model) -> bool:
    def holds(way: Way) -> bool:
        return all(allows(allowed, getattr(model, partner.partition(".")[2])) for partner, allowed in way.items())

    return knob not in ONLY_WITH or any(holds(way) for way in ONLY_WITH[knob])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_knob_of_the_model_changes_what_it_says_where_it_is_said_to_act(settings: dict[str, Any]) -> None:
    model = Model(**{**PLAIN, "heads": 1, **settings})
    others = {knob: value for knob, value in OTHERWISE.items() if getattr(model, knob) != value}

    acting = {
        knob for knob, value in others.items() if outputs(model.model_copy(update={knob: value})) != outputs(model)
    }

    assert acting == {knob for knob in others if said_to_act(f"model.{knob}", model)}


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("knob", ["dropout", "stochastic_depth"])
def test_noise_in_the_model_acts_where_it_is_said_to(settings: dict[str, Any], knob: str) -> None:
    model = Model(**{**PLAIN, "heads": 1, **settings})

    acts = outputs(model, Regularization(**{knob: 0.7})) != outputs(model)

    assert acts == said_to_act(f"regularization.{knob}", model)


@pytest.mark.parametrize("knob", ONLY_WITH)
def test_a_rule_names_knobs_and_what_they_can_be(knob: str) -> None:
    field_of(knob)
    for way in ONLY_WITH[knob]:
        for partner, allowed in way.items():
            field = field_of(partner)
            if not isinstance(allowed, str):
                assert allowed <= choices_of(field.annotation), partner


def field_of(path: str) -> Any:
    """The field at a dotted path, wherever sections may be left out on the way."""
    model: Any = TrainConfig
    *sections, key = path.split(".")
    for section in sections:
        annotation = model.model_fields[section].annotation
        model = next(iter(get_args(annotation)), annotation)
    return model.model_fields[key]


def choices_of(annotation: Any) -> set[str]:
    return {annotation} if isinstance(annotation, str) else set().union(*map(choices_of, get_args(annotation)))
