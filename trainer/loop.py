"""The training loop: epochs of steps over tensors that lie on the device. No loader, no hooks, no trainer class.

Whatever may differ between trials without changing a tensor's shape (learning rate, decay, penalties, dropout,
smoothing, clipping) is read from the configuration at every step, and baked into nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from trainer.config import TrainConfig
from trainer.data.prepared import Part
from trainer.models.layers import Network
from trainer.optim import decay, set_lr, weights_of
from trainer.regularize import add_penalty_gradients, clip_gradients, task_loss
from trainer.schedule import learning_rate

# Gathering rows for many batches in one go costs a fraction of doing so for each; so many still fit the cache.
GATHERED_BATCHES = 16
# A GPU wants as many rows as it can get; on a CPU the activations should stay in the cache: the model says how many.
EVALUATED_ON_GPU = 8192


def train_epoch(
    model: Network,
    optimizer: torch.optim.Optimizer,
    part: Part,
    config: TrainConfig,
    *,
    epoch: int,
    generator: Generator,
    class_weight: Tensor | None,
) -> float:
    """Train on every row once, in an order drawn anew.

    Args:
        epoch: counted from 0.

    Returns:
        The mean of the batches' losses over the rows, without the penalties.
    """
    knobs, steps = config.regularization, steps_per_epoch(part.rows, config.batch_size)
    parameters, weights = list(model.parameters()), weights_of(model)
    total = torch.zeros((), device=part.y.device)  # on the device: reading it at each step would wait for the step
    model.train()
    model.set_dropout(knobs.dropout)
    for step, (*inputs, y) in enumerate(_shuffled(part, config.batch_size, generator), start=epoch * steps):
        lr = learning_rate(config.schedule, config.optimizer.lr, step=step, steps_per_epoch=steps, epochs=config.epochs)
        if len(y) == 1 and model.needs_two_rows:
            continue
        outputs = model(*inputs)
        loss = task_loss(outputs, y, label_smoothing=knobs.label_smoothing, class_weight=class_weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        add_penalty_gradients(weights, knobs.l1, knobs.l2)
        clip_gradients(parameters, knobs.max_grad_norm)
        decay(weights, lr, config.optimizer.weight_decay)
        set_lr(optimizer, lr)
        optimizer.step()
        total += loss.detach() * len(y)
    return total.item() / part.rows


def evaluate(model: Network, part: Part) -> Tensor:
    """The model's outputs for all rows of a part, in their order: (rows, classes) or (rows,)."""
    rows = model.cpu_rows if part.y.device.type == "cpu" else EVALUATED_ON_GPU
    model.eval()
    with torch.inference_mode():
        batches = zip(*(torch.split(tensor, rows) for tensor in part.inputs), strict=True)
        return torch.cat([model(*inputs) for inputs in batches])


def steps_per_epoch(rows: int, batch_size: int) -> int:
    return math.ceil(rows / batch_size)


def _shuffled(part: Part, batch_size: int, generator: Generator) -> Iterator[tuple[Tensor, ...]]:
    """Batches of (*inputs, y) in random order; the last one may be short."""
    order = torch.randperm(part.rows, generator=generator, device=generator.device)
    for rows in torch.split(order, GATHERED_BATCHES * batch_size):
        gathered = [tensor[rows] for tensor in (*part.inputs, part.y)]
        yield from zip(*(torch.split(tensor, batch_size) for tensor in gathered), strict=True)
