"""Ensembles of one configuration, trained again on other rows or for other targets: bagging and boosting.

The validation rows decide how many of the trainings are kept, the test rows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.compress import model_in
from trainer.config import TrainConfig
from trainer.data.prepared import Part, Prepared
from trainer.ensemble.candidates import Rows
from trainer.ensemble.combine import Combination, Scores, Stacked, Voted, Weighted
from trainer.ensemble.select import cost_of
from trainer.loop import evaluate
from trainer.members import Member
from trainer.progress import Monitor
from trainer.training import Training

LEAST = 1e-6  # error of a model of the sequence, so that its weight is finite
SHRINKAGE = 0.3  # of each step down the residuals (Friedman 2001, section 5)


@dataclass(frozen=True)
class Workshop:
    """What it takes to train a configuration again. `check` is called after every epoch, and may raise to stop."""

    config: TrainConfig
    prepared: Prepared
    monitor: Monitor
    check: Callable[[], None]

    @property
    def trained(self) -> TrainConfig:
        """What builds the models at the end of their training: narrower ones, where units are taken out on the way."""
        return self.config.model_copy(update={"model": model_in(self.config, self.config.epochs - 1)})

    def train(self, part: Part, seed: int, validation: Part | None = None) -> Member:
        """The model of a training on other rows, at its best epoch."""
        prepared = replace(self.prepared, train=part, validation=validation or self.prepared.validation)
        config = self.config.model_copy(update={"seed": seed})
        training = Training(config, prepared, self.monitor)
        while not training.over:
            training.run_epoch()
            self.check()
        training.restore_best()
        return Member(training.model.eval(), prepared.schema)


def bag(shop: Workshop, rounds: int, seed: int) -> tuple[list[Member], Combination]:
    """The mean of trainings on bootstrap samples, each with a seed of its own (Breiman 1996)."""
    rng = np.random.default_rng(seed)
    rows = shop.prepared.train.rows
    members = [shop.train(_take(shop.prepared.train, rng.integers(rows, size=rows)), seed + k) for k in range(rounds)]
    return members, Weighted(weights=(1 / rounds,) * rounds)


def boost(shop: Workshop, rounds: int, seed: int) -> tuple[list[Member], Combination]:
    """AdaBoost of classifications, gradient boosting of regressions; as many steps as the validation rows want."""
    steps = list((_samme if shop.prepared.task == "classification" else _residuals)(shop, rounds, seed))
    y = _truth(shop)
    costs = []
    for count in range(1, len(steps) + 1):
        scores = np.stack([step.validation for step in steps[:count]])
        costs.append(_cost(shop, _combined(shop, steps[:count]).apply(scores), y))
    kept = steps[: int(np.argmin(costs)) + 1]  # of equals the fewest
    return [step.member for step in kept], _combined(shop, kept)


@dataclass(frozen=True)
class _Step:
    """A model of the sequence, its weight, and what it says of the validation rows."""

    member: Member
    weight: float
    validation: Scores


def _samme(shop: Workshop, rounds: int, seed: int) -> Iterator[_Step]:
    """SAMME (Zhu et al. 2009, algorithm 2): rows that were missed weigh more in the next training, which draws its rows
    by their weights."""
    rng = np.random.default_rng(seed)
    part, classes = shop.prepared.train, len(shop.prepared.classes)
    y = part.y.cpu().numpy()
    weights = np.full(len(y), 1 / len(y))
    for k in range(rounds):
        member = shop.train(_take(part, rng.choice(len(y), len(y), p=weights)) if k else part, seed + k)
        missed = evaluate(member.model, part).argmax(1).cpu().numpy() != y
        error = float(np.clip(weights[missed].sum(), LEAST, 1 - LEAST))
        weight = max(math.log((1 - error) / error) + math.log(classes - 1), LEAST)
        if error >= 1 - 1 / classes and k:
            return  # no better than chance on what is left
        yield _Step(member, weight, _probabilities(evaluate(member.model, shop.prepared.validation)))
        weights *= np.exp(weight * missed)
        weights /= weights.sum()


def _residuals(shop: Workshop, rounds: int, seed: int) -> Iterator[_Step]:
    """Gradient boosting of the squared error (Friedman 2001, algorithm 2): after the configuration's own model each
    training learns what is left, in units of its deviation, and is added with a shrunken weight."""
    train, validation = shop.prepared.train, shop.prepared.validation
    left, left_validation = train.y.clone(), validation.y.clone()
    for k in range(rounds):
        scale = 1.0 if k == 0 else float(left.std()) or 1.0
        part, held = Part(train.inputs, left / scale), Part(validation.inputs, left_validation / scale)
        member = shop.train(part, seed + k, held)
        weight = scale if k == 0 else SHRINKAGE * scale
        says = evaluate(member.model, validation)
        left = left - weight * evaluate(member.model, train)
        left_validation = left_validation - weight * says
        yield _Step(member, weight, _in_own_unit(shop, says))


def _combined(shop: Workshop, steps: list[_Step]) -> Combination:
    weights = tuple(step.weight for step in steps)
    if shop.prepared.task == "classification":
        return Voted(weights=weights)
    # The models speak in the target's own unit, and each adds its mean; the sum shall have it once.
    return Stacked(weights=weights, intercept=(shop.prepared.schema.target.mean * (1 - sum(weights)),))


def _truth(shop: Workshop) -> NDArray[Any]:
    y = shop.prepared.validation.y
    return y.cpu().numpy() if shop.prepared.task == "classification" else _in_own_unit(shop, y)


def _in_own_unit(shop: Workshop, values: Tensor) -> Scores:
    target = shop.prepared.schema.target
    return _array(values) * target.deviation + target.mean


def _cost(shop: Workshop, combined: Scores, y: NDArray[Any]) -> float:
    """The share of rows that are missed; of a regression what its objective wants low."""
    if combined.ndim == 2:
        return float((combined.argmax(1) != y).mean())
    rows = Rows(combined[np.newaxis], y, shop.config.loss.predicted)
    return float(cost_of(rows, shop.monitor.metric)(rows.scores)[0])


def _take(part: Part, rows: NDArray[np.int64]) -> Part:
    places = torch.from_numpy(rows).to(part.y.device)
    return Part(tuple(tensor[places.to(part.home)] for tensor in part.inputs), part.y[places])


def _probabilities(logits: Tensor) -> Scores:
    return _array(logits.double().softmax(1))


def _array(tensor: Tensor) -> Scores:
    array: Scores = tensor.double().cpu().numpy()
    return array
