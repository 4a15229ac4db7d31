"""The training loop: epochs of steps over tensors. No loader, no hooks, no trainer class.

Whatever may differ between trials without changing a tensor's shape (learning rate, decay, penalties, dropout,
smoothing, clipping) is read from the configuration at every step, and baked into nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Generator, Tensor

from trainer.augment import Mixed, augment, uphill
from trainer.compiled import Passes
from trainer.config import Augment, TrainConfig
from trainer.data.prepared import Part
from trainer.models.layers import Network
from trainer.optim import decay_all, set_lr, weights_of
from trainer.precision import Precision
from trainer.ranks import ALONE, Forward, Ranks, Split
from trainer.regularize import add_penalty_gradients, clip_gradients, task_loss
from trainer.schedule import learning_rate

# Gathering rows for many batches in one go costs a fraction of doing so for each; so many still fit the cache.
GATHERED_BATCHES = 16
# A GPU wants as many rows as it can get; on a CPU the activations should stay in the cache: the model says how many.
EVALUATED_ON_GPU = 8192


class AfterStep(Protocol):
    """What looks at the weights, or changes them, after each step."""

    def after_step(self, trained: Network, step: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Learner:
    """What takes the steps of a training: a model, its optimizer, and what both are told.

    Attributes:
        noise: draws what is done to rows; of a training that is alone, the generator of the order, too.
        class_weight: (classes,), or None for all the same.
    """

    model: Network
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    noise: Generator
    class_weight: Tensor | None
    precision: Precision
    passes: Passes
    ranks: Ranks = ALONE

    def train_epoch(
        self, part: Part, epoch: int, generator: Generator, lr_scale: float = 1.0, followers: Sequence[AfterStep] = ()
    ) -> float:
        """Train on as many rows as there are, in an order that `generator` draws anew, alike on all ranks.

        Args:
            epoch: counted from 0.
            lr_scale: what the schedule's learning rate is multiplied by.
            followers: are called after each step, in this order.

        Returns:
            The mean loss of the rows, by their weights and without the penalties.
        """
        config, model, ranks = self.config, self.model, self.ranks
        order = _order(model, part, config, generator, ranks.size)
        split = ranks.split(order, config.batch_size, self._weight(part.y[order]))
        ranks.begin_epoch(generator, self.noise)
        batches, changes = _batches(part, split.order, split.rows, model.pad), _changes(config)
        shares = _shares(split, config.accumulate, ranks.size)
        parameters, weights = list(model.parameters()), weights_of(model)
        losses: list[Tensor] = []  # on the device: reading one at each step would wait for the step
        model.train()
        model.set_rates(config.regularization)
        self.optimizer.zero_grad()
        with ranks.stepping(model) as joined:
            forward = self.passes.of(model, joined)
            for step, of_step in enumerate(shares, start=epoch * len(shares)):
                for place, share in enumerate(of_step, start=1):
                    with nullcontext() if place == len(of_step) else ranks.apart(joined):
                        losses.append(self._learn(forward, *next(batches), share, changes))
                lr = _learning_rate(config, step, len(shares), lr_scale)
                self._step(parameters, weights, lr)
                for follower in followers:
                    follower.after_step(model, step)
        of_rank = torch.stack(losses) @ torch.tensor(split.counts, device=losses[0].device)
        return float(ranks.sum(of_rank)) / sum(split.totals)

    def _weight(self, y: Tensor) -> Tensor | None:
        return None if self.class_weight is None else self.class_weight[y]

    def _learn(
        self, forward: Forward, inputs: tuple[Tensor, ...], y: Tensor, share: float, changes: Augment | None
    ) -> Tensor:
        """Forward and backward: the batch's loss, whose gradients enter the step's by this share."""
        rows = augment(inputs, y, changes, self.noise) if changes else Mixed(inputs)
        with self.precision.forward():
            loss = self._loss(forward, rows, y)
            if changes and changes.fgsm:  # by the model itself: those gradients join the others
                loss = (loss + self._loss(self.model, uphill(rows, loss, changes.fgsm), y)) / 2
        self.precision.backward(loss if share == 1 else share * loss)
        return loss.detach()

    def _loss(self, forward: Forward, rows: Mixed, y: Tensor) -> Tensor:
        """The loss against the targets, or against the two that each row is mixed of, by their shares."""
        outputs, smoothing = forward(*rows.inputs).float(), self.config.regularization.label_smoothing
        against = partial(task_loss, label_smoothing=smoothing, class_weight=self.class_weight, loss=self.config.loss)
        if rows.other is None or rows.share is None:
            return against(outputs, y)
        return rows.share * against(outputs, y) + (1 - rows.share) * against(outputs, rows.other)

    def _step(self, parameters: list[torch.nn.Parameter], weights: list[torch.nn.Parameter], lr: float) -> None:
        """Follow the gradients that have gathered: penalties join them, then they are clipped; decay is decoupled."""
        knobs, optimizer = self.config.regularization, self.optimizer
        self.precision.unscale(optimizer)
        add_penalty_gradients(weights, knobs.l1, knobs.l2)
        clip_gradients(parameters, knobs.max_grad_norm, knobs.max_grad_value)
        set_lr(optimizer, lr)
        decay_all(optimizer, weights, self.config.optimizer.weight_decay)
        self.precision.step(optimizer)
        for parameter in parameters:
            parameter.grad = None


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


def _changes(config: TrainConfig) -> Augment | None:
    """What is done to the rows of each batch."""
    knobs = config.data.augment
    return knobs.acting if knobs.chosen else None


def _shares(split: Split, accumulate: int, ranks: int) -> list[list[float]]:
    """Of each step of an epoch, the shares that this rank's batches have in its gradients."""
    steps = (slice(first, first + accumulate) for first in range(0, len(split.counts), accumulate))
    return [[ranks * count / sum(split.totals[step]) for count in split.counts[step]] for step in steps]


def _learning_rate(config: TrainConfig, step: int, steps_per_epoch: int, scale: float) -> float:
    """The schedule's times a scale, or while the epochs' weights are averaged the one that is set for this."""
    knobs = config.regularization
    if knobs.swa and knobs.swa_lr and step >= knobs.swa_start * config.epochs * steps_per_epoch:
        return knobs.swa_lr
    lr, epochs = config.optimizer.lr, config.epochs
    return scale * learning_rate(config.schedule, lr, step=step, steps_per_epoch=steps_per_epoch, epochs=epochs)


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


def _batches(
    part: Part, order: Tensor, batch_size: int, pad: int | None = None
) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    """Batches of inputs and y; the last one may be short. Where `pad` stands for nothing, without what all texts of a
    batch are padded with.
    """
    for rows in torch.split(order.to(part.home), GATHERED_BATCHES * batch_size):
        inputs, y = part.take(rows), part.y[rows.to(part.y.device)]
        of_batches = zip(*(torch.split(each, batch_size) for each in inputs), strict=True)
        batches = zip(of_batches, torch.split(y, batch_size), strict=True)
        if pad is None:
            yield from batches
            continue
        for ((tokens,), y_of_batch), length in zip(batches, _lengths(inputs[0] != pad, batch_size), strict=True):
            yield (tokens[:, :length],), y_of_batch


def _lengths(there: Tensor, batch_size: int) -> list[int]:
    """Of each batch, where its longest text ends, at least 1; `there` are the (rows, length) that are no padding."""
    longest = torch.stack([batch.amax() for batch in torch.split(_ends(there), batch_size)])
    return [int(length) for length in longest.clamp(min=1).tolist()]


def _ends(there: Tensor) -> Tensor:
    """Where each text ends, (rows,); `there` are the (rows, length) that are no padding."""
    places = torch.arange(1, there.shape[1] + 1, device=there.device, dtype=torch.int16)  # of 4,096 at most
    return (there * places).amax(1)
