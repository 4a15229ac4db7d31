"""The names of what a study may search over and what a training reports."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel

from trainer.config.base import Section
from trainer.config.train import TrainConfig

CLASSIFICATION_METRICS = ("loss", "accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "ece")
REGRESSION_METRICS = ("loss", "rmse", "mae", "r2")
COST_METRICS = ("params", "flops", "seconds", "device_memory", "nonzero", "bytes", "latency")
WITH_COMPRESSION = ("nonzero", "bytes", "latency")  # those that are measured only where there is such a section


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

    What names and divides the data is none: trials that were measured on other rows could not be compared.
    """
    return [path for path in _leaves(TrainConfig, "") if not path.startswith(_NOT_SEARCHED)]


_NOT_SEARCHED = (
    "kind", "checkpoint.", "data.source", "data.test_source", "data.task", "data.target", "data.drop",
    "data.missing_values", "data.delimiter", "data.split.", "data.labels", "data.test_labels",
    "data.quoting", "data.text", "data.categorical", "cross_validation.", "seeds", "model.architecture",
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
