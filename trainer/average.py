"""A second model whose weights are the moving average of the trained one's."""

from __future__ import annotations

import torch

from trainer.models.layers import Network


class MovingAverage:
    """w' <- d * w' + (1 - d) * w after each step (Polyak and Juditsky 1992, weighed exponentially).

    The decay d begins lower, min(decay, (1 + step) / (10 + step)), so that the weights a training begins with are soon
    forgotten.
    """

    def __init__(self, model: Network, decay: float) -> None:
        """`model` takes the averages; it has the weights the training begins with."""
        self.model = model
        self._decay = decay
        self._averages = list(model.parameters())

    def update(self, trained: Network, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for average, weight in zip(self._averages, trained.parameters(), strict=True):
                average.lerp_(weight, share)
            for statistic, newest in zip(self.model.buffers(), trained.buffers(), strict=True):
                statistic.copy_(newest)
