"""The training loop: epochs of steps over tensors. No loader, no hooks, no trainer class.

Whatever may differ between trials without changing a tensor's shape (learning rate, decay, penalties, dropout,
smoothing, clipping) is read from the configuration at every step, and baked into nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Protocol

import torch
from torch import Generator, Tensor

from trainer.augment import Mixed, augment, uphill
from trainer.config import TrainConfig
from trainer.data.prepared import Part
from trainer.models.layers import Network
from trainer.optim import decay_all, set_lr, weights_of
from trainer.precision import Precision
from trainer.ranks import ALONE, Forward, Ranks
from trainer.regularize import add_penalty_gradients, clip_gradients, task_loss
from trainer.schedule import learning_rate

# Gathering rows for many batches in one go costs a fraction of doing so for each; so many still fit the cache.
GATHERED_BATCHES = 16
# A GPU wants as many rows as it can get; on a CPU the activations should stay in the cache: the model says how many.
EVALUATED_ON_GPU = 8192


class AfterStep(Protocol):
    """What looks at the weights, or changes them, after each step."""

    def after_step(self, trained: Network, step: int) -> None: ...


def train_epoch(
    model: Network,
    optimizer: torch.optim.Optimizer,
    part: Part,
    config: TrainConfig,
    *,
    epoch: int,
    generator: Generator,
    noise: Generator,
    class_weight: Tensor | None,
    lr_scale: float = 1.0,
    precision: Precision,
    followers: Sequence[AfterStep] = (),
    ranks: Ranks = ALONE,
) -> float:
    """Train on as many rows as there are, in an order drawn anew.

    Args:
        epoch: counted from 0.
        generator: draws the order, alike on all ranks.
        noise: draws what is done to rows; of a training that is alone, the same one.
        lr_scale: what the schedule's learning rate is multiplied by.
        precision: what the passes compute in.
        followers: are called after each step, in this order.

    Returns:
        The mean of the batches' losses over the rows, without the penalties.
    """
    order = _order(model, part, config, generator, ranks.size)
    split = ranks.split(order, config.batch_size, None if class_weight is None else class_weight[part.y[order]])
    ranks.begin_epoch(generator, noise)
    accumulate, rows_a_step = config.accumulate, config.accumulate * config.batch_size
    steps = math.ceil(len(order) / rows_a_step)
    parameters, weights = list(model.parameters()), weights_of(model)
    losses: list[Tensor] = []  # on the device: reading one at each step would wait for the step
    model.train()
    model.set_rates(config.regularization)
    optimizer.zero_grad()
    changes, changed = config.data.augment.acting, bool(config.data.augment.chosen)
    with ranks.stepping(model) as forward:
        for batch, (*inputs, y) in enumerate(_batches(part, split.order, split.rows, model.pad)):
            rows = augment(tuple(inputs), y, changes, noise) if changed else Mixed(tuple(inputs))
            of_step = batch // accumulate  # of this epoch, from 0
            ends_step = (batch + 1) % accumulate == 0 or batch + 1 == len(split.counts)
            share = ranks.size * split.counts[batch] / min(rows_a_step, len(order) - of_step * rows_a_step)
            with nullcontext() if ends_step else ranks.apart(forward):
                with precision.forward():
                    loss = _loss(forward, rows, y, config, class_weight)
                    if changes.fgsm:  # by the model itself: those gradients join the others
                        loss = (loss + _loss(model, uphill(rows, loss, changes.fgsm), y, config, class_weight)) / 2
                precision.backward(loss if share == 1 else share * loss)
            losses.append(loss.detach())
            if not ends_step:
                continue
            step = epoch * steps + of_step
            lr = lr_scale * _learning_rate(config, step, steps)
            _step(optimizer, parameters, weights, config, lr, precision)
            for follower in followers:
                follower.after_step(model, step)
    of_rank = torch.stack(losses) @ torch.tensor(split.counts, device=losses[0].device)
    return float(ranks.sum(of_rank)) / len(order)


def _learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The schedule's, or while the epochs' weights are averaged the one that is set for this."""
    knobs = config.regularization
    if knobs.swa and knobs.swa_lr and step >= knobs.swa_start * config.epochs * steps_per_epoch:
        return knobs.swa_lr
    lr, epochs = config.optimizer.lr, config.epochs
    return learning_rate(config.schedule, lr, step=step, steps_per_epoch=steps_per_epoch, epochs=epochs)


def _step(
    optimizer: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    weights: list[torch.nn.Parameter],
    config: TrainConfig,
    lr: float,
    precision: Precision,
) -> None:
    """Follow the gradients that have gathered: penalties join them, then they are clipped; decay is decoupled."""
    knobs = config.regularization
    precision.unscale(optimizer)
    add_penalty_gradients(weights, knobs.l1, knobs.l2)
    clip_gradients(parameters, knobs.max_grad_norm, knobs.max_grad_value)
    set_lr(optimizer, lr)
    decay_all(optimizer, config.optimizer.weight_decay)
    precision.step(optimizer)
    for parameter in parameters:
        parameter.grad = None


def _loss(model: Forward, rows: Mixed, y: Tensor, config: TrainConfig, class_weight: Tensor | None) -> Tensor:
    """The loss against the targets, or against the two that each row is mixed of, by their shares."""
    outputs, smoothing = model(*rows.inputs).float(), config.regularization.label_smoothing
    loss = task_loss(outputs, y, loss=config.loss, label_smoothing=smoothing, class_weight=class_weight)
    if rows.other is None or rows.share is None:
        return loss
    other = task_loss(outputs, rows.other, loss=config.loss, label_smoothing=smoothing, class_weight=class_weight)
    return rows.share * loss + (1 - rows.share) * other


def evaluate(model: Network, part: Part, ranks: Ranks = ALONE) -> Tensor:
    """The model's outputs for all rows of a part, in their order: (rows, classes) or (rows,). Ranks share the rows, and
    each gets all outputs.
    """
    rows, own = model.cpu_rows if part.y.device.type == "cpu" else EVALUATED_ON_GPU, ranks.share(part)
    model.eval()
    with torch.inference_mode():
        if model.pad is not None:
            return ranks.gathered(_by_length(model, own, model.pad, rows), part.rows)
        return ranks.gathered(torch.cat([model(*inputs) for inputs in own.batches(rows)]), part.rows)


def _by_length(model: Network, part: Part, pad: int, rows: int) -> Tensor:
    """The outputs for texts, each in a batch with others of its length: a long one beside short ones makes all of them
    as long.
    """
    lengths = _ends(part.inputs[0] != pad)
    order = lengths.argsort(stable=True)
    batches = ((part.take(chosen)[0], max(1, int(lengths[chosen[-1]]))) for chosen in torch.split(order, rows))
    outputs = torch.cat([model(tokens[:, :longest]) for tokens, longest in batches])
    return torch.empty_like(outputs).index_copy_(0, order.to(outputs.device), outputs)


def _order(model: Network, part: Part, config: TrainConfig, generator: Generator, ranks: int) -> Tensor:
    """The rows of an epoch: each once, or with balanced sampling any of a class as likely as one of another. Where a
    batch needs two rows on each rank, a last batch with fewer is left out.
    """
    if config.sampling == "balanced":
        likely = 1 / part.y.bincount()[part.y].float()
        order = torch.multinomial(likely, part.rows, replacement=True, generator=generator)
    else:
        order = torch.randperm(part.rows, generator=generator, device=generator.device)
    rest = part.rows % config.batch_size
    if 0 < rest < 2 * ranks and rest < part.rows and model.needs_two_rows:
        return order[: part.rows - rest]
    return order


def _batches(part: Part, order: Tensor, batch_size: int, pad: int | None = None) -> Iterator[tuple[Tensor, ...]]:
    """Batches of (*inputs, y); the last one may be short. Where `pad` stands for nothing, without what all texts of a
    batch are padded with.
    """
    for rows in torch.split(order.to(part.home), GATHERED_BATCHES * batch_size):
        gathered = [*part.take(rows), part.y[rows.to(part.y.device)]]
        batches = zip(*(torch.split(tensor, batch_size) for tensor in gathered), strict=True)
        if pad is None:
            yield from batches
            continue
        for (tokens, y), length in zip(batches, _lengths(gathered[0] != pad, batch_size), strict=True):
            yield tokens[:, :length], y


def _lengths(there: Tensor, batch_size: int) -> list[int]:
    """Of each batch, where its longest text ends, at least 1; `there` are the (rows, length) that are no padding."""
    longest = torch.stack([batch.amax() for batch in torch.split(_ends(there), batch_size)])
    return [int(length) for length in longest.clamp(min=1).tolist()]


def _ends(there: Tensor) -> Tensor:
    """Where each text ends, (rows,); `there` are the (rows, length) that are no padding."""
    places = torch.arange(1, there.shape[1] + 1, device=there.device, dtype=torch.int16)  # of 4,096 at most
    return (there * places).amax(1)
