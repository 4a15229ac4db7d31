"""What of a training is validated and kept: the trained model itself, or what follows it; with snapshots, these too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.average import Follower, followers
from trainer.checkpoint import below, prefixed
from trainer.config import Model, TrainConfig
from trainer.data.prepared import Prepared
from trainer.models.layers import Network
from trainer.schedule import falls_end
from trainer.snapshots import SnapshotEnsemble, assemble


class Judged:
    """The followers of a trained model, and what it was at the ends of earlier falls of its learning rate."""

    def __init__(self, config: TrainConfig, prepared: Prepared) -> None:
        self.followers: list[Follower] = []
        self.snapshots: list[Network] = []  # oldest first
        self._config, self._prepared = config, prepared
        self._kept_snapshots = max(0, config.regularization.snapshots - 1)  # the newest is the model itself
        self._falls_end = frozenset(falls_end(config.schedule, config.epochs))

    def begin(self, trained: Network, config: Model) -> None:
        """Follow a model, which was built of `config`, from here on; of another one nothing counts any more."""
        self._trained, self._model_config = trained, config
        self.end()
        self.followers = followers(self._config, self._prepared.train, self._copy)

    def end(self) -> None:
        """Leave the trained model to itself."""
        self.followers, self.snapshots = [], []

    def before_epoch(self, epoch: int) -> None:
        """Take a snapshot, if the learning rate has fallen after so many epochs."""
        if self._kept_snapshots and epoch in self._falls_end:
            self.snapshots = [*self.snapshots, self._copy()][-self._kept_snapshots :]

    def after_epoch(self, epoch: int) -> None:
        """Take in the trained weights after so many epochs."""
        for follower in self.followers:
            follower.after_epoch(self._trained, epoch)

    @property
    def model(self) -> Network:
        """The one that is judged: with snapshots, these and the present one together."""
        return SnapshotEnsemble([*self.snapshots, self._present]) if self.snapshots else self._present

    def weights(self) -> dict[str, Tensor]:
        """A copy of its own, which further steps leave alone."""
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep, beside how many epochs each follower has taken in."""
        tensors: dict[str, Tensor] = {}
        for follower in self.followers:
            tensors |= prefixed(follower.name, follower.model.state_dict())
        for place, snapshot in enumerate(self.snapshots):
            tensors |= prefixed(f"snapshot.{place}", snapshot.state_dict())
        return tensors

    def taken(self) -> dict[str, int]:
        return {follower.name: follower.taken for follower in self.followers}

    def restore(self, tensors: Mapping[str, Tensor], taken: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, after `begin`."""
        for follower in self.followers:
            follower.model.load_state_dict(below(follower.name, tensors))
            follower.taken = taken[follower.name]
        snapshots = below("snapshot", tensors)
        places = sorted({int(path.split(".", 1)[0]) for path in snapshots})
        self.snapshots = [self._assembled(below(str(place), snapshots)) for place in places]

    @property
    def _present(self) -> Network:
        return next((follower.model for follower in reversed(self.followers) if follower.leads), self._trained)

    def _copy(self) -> Network:
        """Another model with the weights that would be kept if the training ended here."""
        return self._assembled(self._present.state_dict())

    def _assembled(self, weights: Mapping[str, Tensor]) -> Network:
        return placed(assemble(self._model_config, self._prepared.schema, weights), self._prepared.device)


def placed(model: Network, device: torch.device) -> Network:
    # Channels last, a processor's convolutions take two thirds of the time.
    on_device: Network = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return on_device
