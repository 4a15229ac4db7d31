"""The learning rate at a moment of the training."""

from __future__ import annotations

import math

from trainer.config import Schedule


def learning_rate(schedule: Schedule, lr: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step, counted from 0.

    The warm-up rises linearly from lr / n in its first of n steps to lr in its last. What follows is the schedule over
    the rest: `step` multiplies by `factor` every `step_epochs` epochs; `cosine` falls, step by step, to
    `min_factor` * lr at the end (Loshchilov and Hutter 2017, equation 5, without restarts).
    """
    warmup = math.ceil(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    elapsed = step - warmup
    if schedule.name == "step":
        return lr * float(schedule.factor ** (elapsed // (schedule.step_epochs * steps_per_epoch)))
    if schedule.name == "cosine":
        share = elapsed / (epochs * steps_per_epoch - warmup)
        return lr * (schedule.min_factor + (1 - schedule.min_factor) * (1 + math.cos(math.pi * share)) / 2)
    return lr
