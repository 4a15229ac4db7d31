"""What keeps a model from learning its training rows by heart, apart from dropout (in the model) and weight decay
(beside the optimizer)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def task_loss(outputs: Tensor, y: Tensor, *, label_smoothing: float, class_weight: Tensor | None) -> Tensor:
    """What a step goes down, before the penalties: the mean over the batch.

    Args:
        outputs: (batch, classes) logits, or (batch,) of a regression in units of the target's deviation.
        y: (batch,), int64 classes or float32.
        label_smoothing: the share of the target spread evenly over the classes (Szegedy et al. 2016, section 7).
        class_weight: (classes,); the mean is then the weighted one.
    """
    if y.is_floating_point():
        return functional.mse_loss(outputs, y)
    return functional.cross_entropy(outputs, y, weight=class_weight, label_smoothing=label_smoothing)


def add_penalty_gradients(weights: Sequence[nn.Parameter], l1: float, l2: float) -> None:
    """Add the gradient of l1 * sum |w| + l2 * sum w^2, which is l1 * sign(w) + 2 * l2 * w.

    The same as adding the penalties to the loss, without a pass through autograd for a derivative that is known.
    """
    with torch.no_grad():
        for weight in weights:
            if weight.grad is None:
                continue
            if l1:
                weight.grad.add_(weight.sign(), alpha=l1)
            if l2:
                weight.grad.add_(weight, alpha=2 * l2)


def clip_gradients(parameters: Sequence[nn.Parameter], max_norm: float | None) -> None:
    """Scale all gradients together so that their norm is at most `max_norm` (Pascanu et al. 2013, algorithm 1)."""
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm)
