"""The metrics of a part, each computed once over all of its rows, on the device. One transfer brings them all."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

MAXIMIZED = frozenset({"accuracy", "balanced_accuracy", "f1", "auc", "r2"})
CALIBRATION_BINS = 15
RANKED_AT_ONCE = 2**22  # numbers; of many classes together they would be many times the model


def measure(outputs: Tensor, y: Tensor, deviation: float, quantile: float | None = None) -> dict[str, float]:
    """All metrics of the task.

    The losses are the plain ones: neither smoothed labels nor class weights nor penalties enter, so that trials that
    differ in those can be compared. The loss of a regression is the mean squared error of the standardized target;
    rmse, mae and pinball are in the target's own unit.

    Args:
        outputs: (rows, classes) logits, or (rows,) of a regression in units of the target's deviation.
        y: (rows,), int64 classes or the standardized target.
        deviation: the target's, in its own unit; unused for classes.
        quantile: what a regression was told to predict in place of the mean: `pinball` is measured at it.
    """
    metrics = _regression(outputs, y, deviation, quantile) if y.is_floating_point() else _classification(outputs, y)
    values = torch.stack([value.double() for value in metrics.values()]).tolist()
    return dict(zip(metrics, values, strict=True))


def direction_of(metric: str) -> Literal["minimize", "maximize"]:
    """Which way is better, for `val/accuracy` as for `accuracy`."""
    return "maximize" if metric.rpartition("/")[2] in MAXIMIZED else "minimize"


def _classification(logits: Tensor, y: Tensor) -> dict[str, Tensor]:
    guessed = logits.argmax(1)
    classes = logits.shape[1]
    hit = guessed == y  # (rows,)
    rows = y.bincount(minlength=classes)  # (classes,)
    hits = y[hit].bincount(minlength=classes)
    there = rows > 0  # a class without rows has no recall, and does not count
    log_loss = functional.cross_entropy(logits.double(), y)
    probabilities = logits.double().softmax(1)
    return {
        "loss": log_loss,
        "accuracy": hit.double().mean(),
        "balanced_accuracy": (hits[there].double() / rows[there]).mean(),
        "f1": _f1(hits, rows, guessed.bincount(minlength=classes)),
        "auc": _auc(probabilities, y, rows),
        "log_loss": log_loss,
        "ece": _calibration_error(probabilities.amax(1), hit),
    }


def _f1(hits: Tensor, rows: Tensor, guesses: Tensor) -> Tensor:
    """Of two classes the second's; of more the mean over those that are there or are guessed. All (classes,)."""
    f1 = 2 * hits.double() / (rows + guesses).clamp(min=1)
    return f1[1] if len(f1) == 2 else f1[rows + guesses > 0].mean()


def _auc(probabilities: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """The mean, over the classes, of the share of pairs of a row of the class and one of the rest that are in order;
    from mean ranks (Mann and Whitney 1947). One half where there is no such pair.
    """
    own = _rows_of_classes(y, rows)
    classes = max(1, RANKED_AT_ONCE // len(y))
    blocks = zip(*(torch.split(each, classes) for each in (probabilities.T, own, rows)), strict=True)
    ranks = torch.cat([_rank_sums(block.contiguous(), *of_block) for block, *of_block in blocks])
    pairs = rows * (len(y) - rows)
    area = (ranks - rows * (rows + 1) / 2) / pairs.clamp(min=1)
    return area[pairs > 0].mean() if bool((pairs > 0).any()) else torch.full_like(area[0], 0.5)


def _rows_of_classes(y: Tensor, rows: Tensor) -> Tensor:
    """(classes, rows of the largest): of each class the numbers of its rows, and then any."""
    places = torch.arange(int(rows.max()), device=y.device)
    starts = rows.cumsum(0) - rows
    return y.argsort()[(starts[:, None] + places).clamp(max=len(y) - 1)]


def _rank_sums(scores: Tensor, own: Tensor, rows: Tensor) -> Tensor:
    """(classes,): the sum of the mean ranks, among all rows, of each class's own.

    Args:
        scores: (classes, rows).
        own: (classes, at most): the numbers of its rows, of which the first `rows` count.
    """
    ordered, scores = scores.sort(1).values, scores.gather(1, own)
    below, up_to = torch.searchsorted(ordered, scores), torch.searchsorted(ordered, scores, right=True)
    counts = torch.arange(own.shape[1], device=own.device) < rows[:, None]
    return ((below + up_to + 1).double() / 2 * counts).sum(1)


def _calibration_error(confidence: Tensor, hit: Tensor) -> Tensor:
    """How far confidence and accuracy are apart, over bins of equal width (Guo et al. 2017, eq. 3); (rows,) both."""
    bins = (confidence * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    gaps = torch.zeros(CALIBRATION_BINS, dtype=torch.double, device=hit.device)
    return gaps.index_add(0, bins, confidence - hit.double()).abs().sum() / len(hit)


def _regression(outputs: Tensor, y: Tensor, deviation: float, quantile: float | None) -> dict[str, Tensor]:
    y = y.double()
    error = outputs.double() - y
    squared = error.square()
    total = (y - y.mean()).square().sum()
    # As scikit-learn: where all rows have one target there is nothing to explain; 1 if it is met exactly, else 0.
    r2 = torch.where(total > 0, 1 - squared.sum() / total, (squared.sum() == 0).double())
    measured = {
        "loss": squared.mean(),
        "rmse": deviation * squared.mean().sqrt(),
        "mae": deviation * error.abs().mean(),
        "r2": r2,
    }
    if quantile is not None:  # Koenker and Bassett 1978: what is too low weighs the quantile, what is too high the rest
        measured["pinball"] = deviation * torch.maximum(-quantile * error, (1 - quantile) * error).mean()
    return measured
