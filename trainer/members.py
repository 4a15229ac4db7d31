"""The models of one trial: a single one, or those of its folds or seeds, whose mean is the trial's prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.data.prepared import AnySchema
from trainer.data.schema import Target
from trainer.models.layers import Network
from trainer.snapshots import SnapshotEnsemble


@dataclass(frozen=True)
class Member:
    """A model, and how rows become its inputs."""

    model: Network
    schema: AnySchema


def together(members: Sequence[Member]) -> Member:
    """Models of rows that are prepared alike, as one whose outputs are their mean."""
    if len(members) == 1:
        return members[0]
    return Member(SnapshotEnsemble([member.model for member in members]), members[0].schema)


def mean_outputs(outputs: Sequence[Tensor], targets: Sequence[Target]) -> Tensor:
    """What the members predict together, in the form of the first one's outputs.

    Args:
        outputs: of each member (rows, classes) logits, or (rows,) in deviations of its own target.

    Returns:
        The logarithms of the mean probabilities, or the mean value in deviations of the first member's target.
    """
    if len(outputs) == 1:
        return outputs[0]
    if outputs[0].ndim == 2:
        return torch.stack([each.double().log_softmax(1) for each in outputs]).logsumexp(0) - math.log(len(outputs))
    values = [each.double() * target.deviation + target.mean for each, target in zip(outputs, targets, strict=True)]
    return (torch.stack(values).mean(0) - targets[0].mean) / targets[0].deviation
