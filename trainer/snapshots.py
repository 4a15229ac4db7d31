"""Snapshot ensembles: what one training was at the ends of several falls of its learning rate, predicting together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainer.config import Model
from trainer.data.prepared import AnySchema
from trainer.int8 import shaped_as
from trainer.models.build import build
from trainer.models.layers import Network

_MEMBER = "members."


class SnapshotEnsemble(Network):
    """The mean of the members' probabilities, as logits; of regressions the mean (Huang et al. 2017, section 3)."""

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.cpu_rows, self.pad = members[0].cpu_rows, members[0].pad

    def forward(self, *inputs: Tensor) -> Tensor:
        outputs = torch.stack([member(*inputs) for member in self.members])  # (members, batch, …)
        if outputs.ndim == 2:
            return outputs.mean(0)
        return outputs.log_softmax(2).logsumexp(0) - math.log(len(outputs))


def assemble(config: Model, schema: AnySchema, weights: Mapping[str, Tensor]) -> Network:
    """The model that has these weights: a single one, or an ensemble of as many as there are."""
    members = {name.split(".")[1] for name in weights if name.startswith(_MEMBER)}
    models = [build(config, schema) for _ in members or (0,)]
    model = shaped_as(SnapshotEnsemble(models) if members else models[0], weights)
    model.load_state_dict(dict(weights))
    return model
