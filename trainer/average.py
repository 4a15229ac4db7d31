"""Second models, whose weights follow those of the trained one: they are what is validated and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from trainer.config import TrainConfig
from trainer.data.prepared import Part
from trainer.models.layers import Network

STATISTICS_ROWS = 512
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def followers(config: TrainConfig, part: Part, copy: Callable[[], Network]) -> list[Follower]:
    """Those that a configuration asks for; the last that leads is judged.

    Args:
        part: what is trained on.
        copy: makes a model with the weights that the training begins with.
    """
    knobs, optimizer = config.regularization, config.optimizer
    found: list[Follower] = []
    if optimizer.lookahead_steps:
        found.append(Lookahead(copy(), optimizer.lookahead_steps, optimizer.lookahead_size))
    if knobs.ema:
        found.append(MovingAverage(copy(), knobs.ema))
    if knobs.swa:
        found.append(EpochAverage(copy(), part, knobs.swa_start * config.epochs))
    return found


class Follower:
    """A second model. It begins as the trained one does."""

    name: str

    def __init__(self, model: Network) -> None:
        self.model = model
        self.taken = 0  # epochs whose weights have gone into it
        self._weights = list(model.parameters())

    @property
    def leads(self) -> bool:
        """Whether it is to be judged in place of the trained one."""
        return True

    def after_step(self, trained: Network, step: int) -> None:
        """Take in the weights after a step, counted from 0."""

    def after_epoch(self, trained: Network, epoch: int) -> None:
        """Take in the weights after so many epochs."""


class MovingAverage(Follower):
    """w' <- d * w' + (1 - d) * w after each step (Polyak and Juditsky 1992, weighed exponentially).

    The decay d begins lower, min(decay, (1 + step) / (10 + step)), so that the weights a training begins with are soon
    forgotten.
    """

    name = "ema"

    def __init__(self, model: Network, decay: float) -> None:
        super().__init__(model)
        self._decay = decay

    def after_step(self, trained: Network, step: int) -> None:
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, weight in zip(self._weights, trained.parameters(), strict=True):
                average.lerp_(weight, share)
            _copy_buffers(trained, self.model)


class EpochAverage(Follower):
    """The mean of the weights that the last epochs end with (Izmailov et al. 2018, algorithm 1, a cycle being an
    epoch), with batch statistics measured anew: those of none of the epochs are the mean's.
    """

    name = "swa"

    def __init__(self, model: Network, part: Part, after: float) -> None:
        """Args:
        part: what is trained on.
        after: epochs before the first that is taken in.
        """
        super().__init__(model)
        self._part, self._after = part, after

    @property
    def leads(self) -> bool:
        return self.taken > 0

    def after_epoch(self, trained: Network, epoch: int) -> None:
        if epoch <= self._after:
            return
        self.taken += 1
        with torch.no_grad():
            for average, weight in zip(self._weights, trained.parameters(), strict=True):
                average.lerp_(weight, 1 / self.taken)
        frozen = {id(module) for part in trained.frozen for module in part.modules()}
        pairs = zip(self.model.modules(), trained.modules(), strict=True)
        norms = [own for own, its in pairs if isinstance(own, BatchNorm) and id(its) not in frozen]
        measure_statistics(self.model, norms, self._part)


class Lookahead(Follower):
    """Slow weights that go a share of the way to the fast ones every few steps, where those begin anew (Zhang et al.
    2019, algorithm 1). The optimizer keeps its state.
    """

    name = "lookahead"

    def __init__(self, model: Network, steps: int, size: float) -> None:
        super().__init__(model)
        self._steps, self._size = steps, size

    def after_step(self, trained: Network, step: int) -> None:
        with torch.no_grad():
            _copy_buffers(trained, self.model)
            if (step + 1) % self._steps:
                return
            for slow, fast in zip(self._weights, trained.parameters(), strict=True):
                slow.lerp_(fast, self._size)
                fast.copy_(slow)


def measure_statistics(model: Network, norms: Sequence[BatchNorm], part: Part) -> None:
    """Set the means and variances of a model's batch norms to those over the part, each batch of 512 rows counting the
    same.
    """
    if not norms:
        return
    model.eval()  # dropout and its like stay quiet
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all batches alike
        norm.train()
    # Mixed, because a part may be sorted by class; always in the same way, because a seed decides all.
    mixed = torch.randperm(part.rows, generator=torch.Generator(part.y.device).manual_seed(0), device=part.y.device)
    with torch.no_grad():
        for rows in torch.split(mixed.to(part.home), STATISTICS_ROWS):
            if len(rows) > 1:
                model(*part.take(rows))


def _copy_buffers(source: Network, target: Network) -> None:
    for buffer, newest in zip(target.buffers(), source.buffers(), strict=True):
        buffer.copy_(newest)
