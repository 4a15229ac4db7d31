"""Weights that a training takes from another one of the same study, as far as the two models overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from trainer.checkpoint import below
from trainer.errors import ModelError
from trainer.folder import Folder
from trainer.int8 import as_floats
from trainer.model_file import TENSORS
from trainer.models.layers import Network

PATH = "trial.transfer.inherit"


@dataclass(frozen=True, eq=False)
class Heritage:
    """What a finished trial has left: the weights of its model, or of those of its folds or seeds, in their order."""

    name: str
    members: Sequence[Mapping[str, Tensor]]

    def of_member(self, place: int) -> Mapping[str, Tensor]:
        """A fold takes from the same fold: any other one has seen the rows that it validates on."""
        return self.members[place] if place < len(self.members) else {}


def read(name: str, folder: Folder) -> Heritage:
    """The weights that a finished trial has left.

    Raises:
        ModelError: they are gone.
    """
    try:
        weights = as_floats(safetensors.torch.load(folder.read(TENSORS)))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ModelError(PATH, f"the model of {name} cannot be read ({error})", "run the trial again") from error
    places = {int(path.split(".")[1]) for path in weights if path.startswith("member.")}
    members = [below(f"member.{place}", weights) for place in sorted(places)] or [weights]
    return Heritage(name, [below("members.0", each) or each for each in members])  # of snapshots the oldest


def take_over(model: Network, weights: Mapping[str, Tensor]) -> float:
    """Copy into a model what it has by the same name, of another size as far as both reach.

    Tables of whole numbers, such as where categories begin, belong to the data and stay.

    Returns:
        The share of the model's numbers that were taken.
    """
    taken, total = 0, 0
    with torch.no_grad():
        for name, own in model.state_dict().items():
            if not own.is_floating_point():
                continue
            total += own.numel()
            given = weights.get(name)
            if given is None or given.ndim != own.ndim or not given.is_floating_point():
                continue
            shared = tuple(slice(0, min(a, b)) for a, b in zip(own.shape, given.shape, strict=True))
            own[shared] = given[shared].to(own)
            taken += own[shared].numel()
    return taken / total if total else 0.0
