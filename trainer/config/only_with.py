"""Which knobs act only beside which others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Literal

from trainer.config.layered import LAYERED
from trainer.config.model import DEEP, NORMED, PRETRAINED, TEXT_MODELS, TRANSFORMERS

Word = Literal["above 0", "above 1", "true", "given", "left out"]
Allowed = AbstractSet[str] | Word  # one of some names, or as the word says
Way = Mapping[str, Allowed]  # what several knobs must be at once


def allows(allowed: Allowed, value: object) -> bool:
    """Whether a knob that has the value is what it must be."""
    if isinstance(allowed, str):
        return _MEANS[allowed](value)
    return isinstance(value, str) and value in allowed


def in_words(allowed: Allowed) -> str:
    """`above 0`; `adam, lion or sgd`."""
    if isinstance(allowed, str):
        return allowed
    *others, last = sorted(allowed)
    return f"{', '.join(others)} or {last}" if others else last


_MEANS: dict[Word, Callable[[object], bool]] = {
    "above 0": lambda value: isinstance(value, int | float) and value > 0,
    "above 1": lambda value: isinstance(value, int | float) and value > 1,
    "true": lambda value: value is True,
    "given": lambda value: value is not None and value != [],
    "left out": lambda value: value is None or value == [],
}

_PERCEPTRONS = LAYERED["model.hidden"]
_SKIPPING: Way = {"model.name": _PERCEPTRONS, "model.skip": {"standard", "shake_shake", "shake_drop"}}
_OWN_CELLS: Way = {"model.name": {"cnn"}, "model.cells": "given"}
_DOUBLING: Way = {"model.name": {"cnn"}, "model.channels": "left out"}
_BRANCHED: list[Way] = [  # models with residual branches
    {"model.name": TRANSFORMERS | {"resnet"}},
    _SKIPPING,
    {"model.name": {"cnn"}, "model.cell": {"residual", "inverted"}},
    _OWN_CELLS,
]
_COMPRESSING: list[Way] = [{"compression.name": {"magnitude", "units"}}]
_PRETRAINED: list[Way] = [{"model.name": PRETRAINED}]
_LORA: list[Way] = [{"model.name": PRETRAINED, "model.lora_rank": "above 0"}]
_MOMENTS: list[Way] = [{"optimizer.name": {"adam", "adamw", "nadam", "lion"}}]
_RESTARTING: list[Way] = [{"schedule.name": {"cosine_restarts"}}]
_AVERAGING: list[Way] = [{"regularization.swa": "true"}]
_NO_TEXT: list[Way] = [{"data.text": "left out"}]
_OF_TABLES: list[Way] = [{"data.text": "left out", "model.name": {"linear", "mlp", "resnet", "ft_transformer"}}]
_OF_TEXTS: list[Way] = [{"data.text": "given", "model.name": TEXT_MODELS}]
_OF_CLASSES: list[Way] = [{"data.task": {"auto", "classification"}}]
_MIXING = ("data.augment.mixup", "data.augment.cutmix", "data.augment.cutout")

# A knob acts only where everything holds that one of its ways asks of others.
ONLY_WITH: dict[str, Sequence[Way]] = {
    "data.test_labels": [{"data.test_source": "given"}],
    "data.vocabulary": _OF_TEXTS,
    "data.lower_case": _OF_TEXTS,
    "data.words": _OF_TEXTS,
    "data.tokens": _OF_TEXTS,
    "data.max_tokens": [{"data.text": "given"}],
    "data.channels": _NO_TEXT,
    "data.image_size": _NO_TEXT,
    "data.normalize": _NO_TEXT,
    "data.impute": _OF_TABLES,
    "data.categorical": _OF_TABLES,
    "data.max_categories": _OF_TABLES,
    "data.min_category_rows": _OF_TABLES,
    "data.class_weight": _OF_CLASSES,
    "data.synthetic.method": _OF_CLASSES,
    "data.synthetic.share": [
        {"data.synthetic.method": {
            "random", "smote", "borderline_smote", "adasyn", "gaussian_mixture", "gaussian_copula", "noise",
        }},
    ],
    "data.synthetic.noise": [{"data.synthetic.method": {"noise"}}],
    **{
        f"data.augment.{name}": [{"data.augment.only": "left out"}, {"data.augment.only": {name}}]
        for name in ("mixup", "cutmix", "cutout", "fgsm")
    },
    "data.augment.only": [{name: "above 0"} for name in (*_MIXING, "data.augment.fgsm")],
    "data.augment.probability": [{name: "above 0"} for name in _MIXING],
    "model.source": _PRETRAINED,
    "model.hidden": [{"model.name": _PERCEPTRONS}],
    "model.activation": [{"model.name": _PERCEPTRONS | DEEP | TEXT_MODELS}],
    "model.numbers": [{"model.name": {"linear", "mlp", "resnet"}}],
    "model.number_width": [{"model.numbers": {"linear", "periodic"}}],
    "model.frequencies": [{"model.numbers": {"periodic"}}],
    "model.frequency_scale": [{"model.numbers": {"periodic"}}],
    "model.norm": [{"model.name": NORMED}],
    "model.groups": [{"model.norm": {"group"}}],
    "model.skip": [{"model.name": _PERCEPTRONS}],
    "model.zero_residual": _BRANCHED,
    "model.depth": [{"model.name": DEEP - {"cnn"}}, _DOUBLING],
    "model.width": [{"model.name": DEEP - {"cnn"} | TEXT_MODELS}, _DOUBLING],
    "model.expansion": [
        {"model.name": TRANSFORMERS | {"resnet"}}, {"model.name": {"cnn"}, "model.cell": {"inverted"}}, _OWN_CELLS,
    ],
    "model.heads": [{"model.name": TRANSFORMERS}],
    "model.patch": [{"model.name": {"vit"}}],
    "model.channels": [{"model.name": LAYERED["model.channels"]}],
    "model.cells": [{"model.name": LAYERED["model.cells"]}],
    "model.cell": [{"model.name": {"cnn"}, "model.cells": "left out"}],
    "model.kernel": [{"model.name": {"cnn", "text_cnn"}}],
    "model.pooling": _PRETRAINED,
    "model.lora_rank": _PRETRAINED,
    "model.lora_alpha": _LORA,
    "model.lora_targets": _LORA,
    "transfer.freeze": _PRETRAINED,
    "transfer.frozen_blocks": [{"transfer.freeze": {"blocks"}}],
    "transfer.unfreeze_every": [{"transfer.freeze": {"all_but_head", "blocks"}}],
    "transfer.head_lr": _PRETRAINED,
    "transfer.lr_decay": _PRETRAINED,
    "compression.share": _COMPRESSING,
    "compression.steps": _COMPRESSING,
    "compression.begin": _COMPRESSING,
    "compression.end": [{"compression.name": {"magnitude", "units"}, "compression.steps": "above 1"}],
    "compression.rewind": [{"compression.name": {"magnitude"}}],
    "optimizer.momentum": [{"optimizer.name": {"sgd", "rmsprop"}}],
    "optimizer.nesterov": [{"optimizer.name": {"sgd"}, "optimizer.momentum": "above 0"}],
    "optimizer.beta1": _MOMENTS,
    "optimizer.beta2": _MOMENTS,
    "optimizer.alpha": [{"optimizer.name": {"rmsprop"}}],
    "optimizer.eps": [{"optimizer.name": {"adam", "adamw", "nadam", "rmsprop", "adagrad"}}],
    "optimizer.lookahead_size": [{"optimizer.lookahead_steps": "above 0"}],
    "schedule.step_epochs": [{"schedule.name": {"step"}}],
    "schedule.milestones": [{"schedule.name": {"multi_step"}}],
    "schedule.factor": [{"schedule.name": {"step", "multi_step", "exponential", "plateau"}}],
    "schedule.min_factor": [{"schedule.name": {"linear", "polynomial", "cosine", "cosine_restarts"}}],
    "schedule.power": [{"schedule.name": {"polynomial"}}],
    "schedule.restart_epochs": _RESTARTING,
    "schedule.restart_growth": _RESTARTING,
    "schedule.plateau_epochs": [{"schedule.name": {"plateau"}}],
    "loss.gamma": [{"loss.name": {"focal"}}],
    "loss.delta": [{"loss.name": {"huber"}}],
    "loss.quantile": [{"loss.name": {"quantile"}}],
    "regularization.dropout": [{"model.name": _PERCEPTRONS | DEEP | TEXT_MODELS | PRETRAINED}],
    "regularization.dropout_shape": [{"regularization.dropout": "above 0"}],
    "regularization.stochastic_depth": [*_BRANCHED, *_PRETRAINED],
    "regularization.shake_drop": [{"model.skip": {"shake_drop"}}],
    "regularization.swa_start": _AVERAGING,
    "regularization.swa_lr": _AVERAGING,
    "regularization.snapshots": _RESTARTING,
    "sampling": _OF_CLASSES,
}  # fmt: skip
