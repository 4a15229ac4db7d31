"""The learning rate at a moment of the training."""

from __future__ import annotations

import math

from trainer.config import Schedule

RISING = 0.3
CYCLE_START, CYCLE_END = 1 / 25, 1e-4


def learning_rate(schedule: Schedule, lr: float, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """The learning rate of a step, counted from 0.

    The warm-up rises linearly from lr / n in its first of n steps to lr in its last. What follows is the schedule over
    the rest. `step`, `multi_step` and `exponential` multiply by `factor`: every `step_epochs` epochs, after each of the
    `milestones`, or little by little over each epoch. `linear`, `polynomial` and `cosine` fall, step by step, to
    `min_factor` * lr at the end; `cosine_restarts` does so again and again (Loshchilov and Hutter 2017, equation 5).
    `one_cycle` rises from lr / 25 for three tenths of the time and falls to nearly nothing (Smith and Topin 2019).
    What `plateau` multiplies by depends on the validation, and is not in here.
    """
    warmup = math.ceil(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    elapsed, rest = step - warmup, max(1, epochs * steps_per_epoch - warmup)
    return lr * _factor(schedule, elapsed / steps_per_epoch, elapsed / rest, rest)


def falls_end(schedule: Schedule, epochs: int) -> list[int]:
    """The epochs, as many as are then finished, at whose ends cosine_restarts has fallen and begins anew.

    Where the warm-up takes a part of an epoch, a fall ends within one: the one before is then the last that fell only.
    """
    ends: list[int] = []
    end, length = schedule.warmup_epochs, schedule.restart_epochs
    while schedule.name == "cosine_restarts" and (end := end + length) <= epochs:
        ends.append(int(end))
        length *= schedule.restart_growth
    return ends


def _factor(schedule: Schedule, epoch: float, share: float, steps: int) -> float:
    """The share of lr after so many epochs, which are this share of all the steps."""
    match schedule.name:
        case "step":
            return float(schedule.factor ** (epoch // schedule.step_epochs))
        case "multi_step":
            return float(schedule.factor ** sum(epoch >= milestone for milestone in schedule.milestones))
        case "exponential":
            return float(schedule.factor**epoch)
        case "linear":
            return _between(1 - share, schedule.min_factor)
        case "polynomial":
            return _between((1 - share) ** schedule.power, schedule.min_factor)
        case "cosine":
            return _between(_cosine(share), schedule.min_factor)
        case "cosine_restarts":
            return _between(_cosine(_share_of_fall(schedule, epoch)), schedule.min_factor)
        case "one_cycle":
            return _one_cycle(share * steps, steps)
    return 1.0


def _between(fraction: float, least: float) -> float:
    return least + (1 - least) * fraction


def _cosine(share: float) -> float:
    """From 1 to 0 in half a wave."""
    return (1 + math.cos(math.pi * share)) / 2


def _share_of_fall(schedule: Schedule, epoch: float) -> float:
    """How much of the fall between two restarts is over."""
    length = schedule.restart_epochs
    if schedule.restart_growth == 1:
        return epoch % length / length
    while epoch >= length:
        epoch -= length
        length *= schedule.restart_growth
    return epoch / length


def _one_cycle(step: float, steps: int) -> float:
    """PyTorch's OneCycleLR with what it takes if told nothing: the last step has the least rate."""
    peak, last = RISING * steps - 1, steps - 1
    if step <= peak:
        return _between(1 - _cosine(step / peak), CYCLE_START)
    return _between(_cosine((step - peak) / (last - peak)), CYCLE_START * CYCLE_END)
