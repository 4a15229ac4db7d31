"""The names of what a study may search over and what a training reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel

from trainer.config.base import Section
from trainer.config.train import TrainConfig

CLASSIFICATION_METRICS = ("loss", "accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "ece")
REGRESSION_METRICS = ("loss", "rmse", "mae", "r2", "pinball")
COST_METRICS = ("params", "flops", "seconds", "device_memory", "nonzero", "bytes", "latency")
WITH_COMPRESSION = ("nonzero", "bytes", "latency")  # those that are measured only where there is such a section
PINBALL = "val/pinball"  # measured only with the loss `quantile`


def metric_names(task: Literal["auto", "classification", "regression"]) -> frozenset[str]:
    """What a training reports each epoch: `train/…`, `val/…` and what it costs. `test/…` comes once, at its end, and is
    no objective.

    For `auto` the names of both tasks: the preflight knows which it is.
    """
    names = {
        "classification": CLASSIFICATION_METRICS,
        "regression": REGRESSION_METRICS,
        "auto": tuple(dict.fromkeys(CLASSIFICATION_METRICS + REGRESSION_METRICS)),
    }[task]
    return frozenset({"train/loss", *COST_METRICS} | {f"val/{name}" for name in names})


def knob_paths() -> list[str]:
    """The dotted paths of all knobs, in the order of the models.

    What names and divides the data is none, nor the quantile: trials that were measured on other rows, or by another
    measure, could not be compared.
    """
    return [path for path in _leaves(TrainConfig, "") if not path.startswith(_NOT_SEARCHED)]


def fixed_paths() -> list[str]:
    """The dotted paths of what is the same for all trials of a study: every leaf that is no knob."""
    return [path for path in _leaves(TrainConfig, "") if path.startswith(_NOT_SEARCHED)]


def schedule_knobs() -> list[str]:
    """The knobs that a training may be told anew between two epochs: none of them shapes a tensor, divides the rows or
    says which parts a model is trained by. Those of the augmentation are all among them.
    """
    return [path for path in knob_paths() if path.startswith("data.augment.") or path in _SCHEDULE]


def but_schedule(section: Mapping[str, Any]) -> dict[str, Any]:
    """What is left of a whole section `trial`, as JSON, without these."""
    left = {name: dict(value) if isinstance(value, dict) else value for name, value in section.items()}
    for path in _SCHEDULE:
        part, knob = path.split(".")
        left.get(part, {}).pop(knob, None)
    left.get("data", {}).pop("augment", None)
    return left


_SCHEDULE = frozenset({
    "optimizer.lr", "optimizer.weight_decay", "optimizer.momentum", "optimizer.nesterov", "optimizer.beta1",
    "optimizer.beta2", "optimizer.alpha", "optimizer.eps",
    "schedule.warmup_epochs", "schedule.step_epochs", "schedule.milestones", "schedule.factor", "schedule.min_factor",
    "schedule.power", "schedule.plateau_epochs",
    "loss.gamma", "loss.delta",
    "regularization.l1", "regularization.l2", "regularization.dropout", "regularization.dropout_shape",
    "regularization.stochastic_depth", "regularization.shake_drop", "regularization.label_smoothing",
    "regularization.max_grad_norm", "regularization.max_grad_value", "regularization.swa_lr",
})  # fmt: skip

_NOT_SEARCHED = (
    "kind", "checkpoint.", "data.source", "data.test_source", "data.task", "data.target", "data.drop",
    "data.missing_values", "data.delimiter", "data.split.", "data.labels", "data.test_labels",
    "data.decimal", "data.quoting", "data.text", "data.categorical", "data.dates", "data.find_dates", "data.channels",
    "cross_validation.", "seeds", "model.architecture", "loss.quantile",
)  # fmt: skip


def _leaves(model: type[BaseModel], prefix: str) -> list[str]:
    paths = []
    for name, field in model.model_fields.items():
        section = _section_of(field.annotation)
        paths += _leaves(section, f"{prefix}{name}.") if section else [f"{prefix}{name}"]
    return paths


def _section_of(annotation: Any) -> type[Section] | None:
    """The section that a field holds, also where it may be left out (`Section | None`)."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None
