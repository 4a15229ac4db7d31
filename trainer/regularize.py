"""What keeps a model from learning its training rows by heart, apart from weight decay (beside the optimizer)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import DropoutShape, Loss

PLAIN = Loss()


def task_loss(
    outputs: Tensor, y: Tensor, *, label_smoothing: float, class_weight: Tensor | None, loss: Loss = PLAIN
) -> Tensor:
    """What a step goes down, before the penalties: the mean over the batch.

    Args:
        outputs: (batch, classes) logits, or (batch,) of a regression in units of the target's deviation.
        y: (batch,), int64 classes or float32.
        label_smoothing: the share of the target spread evenly over the classes (Szegedy et al. 2016, section 7).
        class_weight: (classes,); the mean is then the weighted one.
        loss: focal multiplies a row's loss by (1 - p) ** gamma, with p what its class is given (Lin et al. 2017); bce
            takes each class against the rest (Wightman et al. 2021), which for two classes is cross-entropy; quantile
            weighs what is too low by the quantile and what is too high by the rest (Koenker and Bassett 1978).
    """
    if y.is_floating_point():
        return _distance(outputs, y, loss)
    if loss.name == "focal":
        rows = functional.cross_entropy(
            outputs, y, weight=class_weight, label_smoothing=label_smoothing, reduction="none"
        )
        given = outputs.softmax(1).gather(1, y[:, None]).squeeze(1)  # (batch,)
        weighed = len(y) if class_weight is None else class_weight[y].sum()
        return ((1 - given) ** loss.gamma * rows).sum() / weighed
    if loss.name == "bce" and outputs.shape[1] > 2:
        return _one_against_rest(outputs, y, label_smoothing, class_weight)
    return functional.cross_entropy(outputs, y, weight=class_weight, label_smoothing=label_smoothing)


def _one_against_rest(outputs: Tensor, y: Tensor, smoothing: float, class_weight: Tensor | None) -> Tensor:
    classes = outputs.shape[1]
    target = functional.one_hot(y, classes).to(outputs.dtype) * (1 - smoothing) + smoothing / classes
    rows = functional.binary_cross_entropy_with_logits(outputs, target, reduction="none").sum(1)  # (batch,)
    if class_weight is None:
        return rows.mean()
    return (class_weight[y] * rows).sum() / class_weight[y].sum()


def _distance(outputs: Tensor, y: Tensor, loss: Loss) -> Tensor:
    match loss.name:
        case "mae":
            return functional.l1_loss(outputs, y)
        case "huber":
            return functional.huber_loss(outputs, y, delta=loss.delta)
        case "quantile":
            error = y - outputs
            return torch.maximum(loss.quantile * error, (loss.quantile - 1) * error).mean()
    return functional.mse_loss(outputs, y)


def add_penalty_gradients(weights: Sequence[nn.Parameter], l1: float, l2: float) -> None:
    """Add the gradient of l1 * sum |w| + l2 * sum w^2, which is l1 * sign(w) + 2 * l2 * w.

    The same as adding the penalties to the loss, without a pass through autograd for a derivative that is known.
    """
    if not l1 and not l2:
        return
    with torch.no_grad():
        for weight in weights:
            if weight.grad is None:
                continue
            if l1:
                weight.grad.add_(weight.sign(), alpha=l1)
            if l2:
                weight.grad.add_(weight, alpha=2 * l2)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float | None, max_value: float | None = None) -> None:
    """Cut each number of the gradients at ± `max_value`, then scale all together so that their norm is at most
    `max_norm` (Pascanu et al. 2013, algorithm 1).
    """
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm)


def dropout_rates(shape: DropoutShape, rate: float, layers: int) -> list[float]:
    """The rate of each of so many dropout layers, first to last, `rate` being the highest: the shapes in which Kadra et
    al. 2021 (table 1) and Auto-PyTorch let it change with the depth.

    A brick, or even, is the same everywhere; a funnel falls to the last layer, a long funnel only from its middle on,
    and stairs fall every second layer; a triangle rises; a diamond rises to the middle and falls; a hexagon rises over
    a third, stays and falls.
    """
    return [rate * _height(shape, layer, layers) for layer in range(layers)]


def _height(shape: DropoutShape, layer: int, layers: int) -> float:
    """The share of the highest rate, above 0 and at most 1."""
    rising, falling = layer + 1, layers - layer
    match shape:
        case "funnel":
            return falling / layers
        case "long_funnel":
            return min(1.0, falling / math.ceil(layers / 2))
        case "stairs":
            return (layers - layer // 2 * 2) / layers
        case "triangle":
            return rising / layers
        case "diamond":
            return min(rising, falling) / math.ceil(layers / 2)
        case "hexagon":
            return min(1.0, min(rising, falling) / math.ceil(layers / 3))
    return 1.0
