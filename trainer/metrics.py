"""The metrics of a part, each computed once over all of its rows, on the device. One transfer brings them all."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def measure(outputs: Tensor, y: Tensor, deviation: float) -> dict[str, float]:
    """All metrics of the task.

    The losses are the plain ones: neither smoothed labels nor class weights nor penalties enter, so that trials that
    differ in those can be compared. The loss of a regression is the mean squared error of the standardized target;
    rmse and mae are in the target's own unit.

    Args:
        outputs: (rows, classes) logits, or (rows,) of a regression in units of the target's deviation.
        y: (rows,), int64 classes or the standardized target.
        deviation: the target's, in its own unit; unused for classes.
    """
    metrics = _regression(outputs, y, deviation) if y.is_floating_point() else _classification(outputs, y)
    values = torch.stack([value.double() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


def direction_of(metric: str) -> Literal["minimize", "maximize"]:
    """Which way is better, for `val/accuracy` as for `accuracy`."""
    return "maximize" if metric.rpartition("/")[2] in ("accuracy", "balanced_accuracy", "r2") else "minimize"


def _classification(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    hit = logits.argmax(1) == y  # (rows,)
    rows = y.bincount(minlength=logits.shape[1])  # (classes,)
    hits = y[hit].bincount(minlength=logits.shape[1])
    there = rows > 0  # a class without rows has no recall, and does not count
    return {
        "loss": functional.cross_entropy(logits.double(), y),
        "accuracy": hit.double().mean(),
        "balanced_accuracy": (hits[there].double() / rows[there]).mean(),
    }


def _regression(outputs: Tensor, y: Tensor, deviation: float) -> dict[str, Tensor]:
    y = y.double()
    error = outputs.double() - y
    squared = error.square()
    total = (y - y.mean()).square().sum()
    # As scikit-learn: where all rows have one target there is nothing to explain; 1 if it is met exactly, else 0.
    r2 = torch.where(total > 0, 1 - squared.sum() / total, (squared.sum() == 0).double())
    return {
        "loss": squared.mean(),
        "rmse": deviation * squared.mean().sqrt(),
        "mae": deviation * error.abs().mean(),
        "r2": r2,
    }
