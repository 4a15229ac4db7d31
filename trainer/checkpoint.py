"""Checkpoints: one safetensors file each, whose header carries the scalars as JSON and a checksum over everything.

One file, so that tensors and scalars can never be of different epochs; the folder's atomic writes do the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from trainer.config import TrainConfig
from trainer.errors import Damaged
from trainer.folder import Folder

KEPT = 2  # the newest, and the one before for the case that the newest turns out damaged
_NAME = re.compile(r"checkpoint-(\d{7})\.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """What a training goes on from after `epoch` finished epochs."""

    epoch: int
    tensors: dict[str, Tensor]
    scalars: dict[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """What its training was told; knobs that are newer than the checkpoint have their defaults."""
        stored: dict[str, Any] = self.scalars["config"]
        try:
            return identity(TrainConfig.model_validate(stored))
        except ValidationError:  # a knob of it is there no more: it equals nothing that is told now
            return stored


def identity(config: TrainConfig) -> dict[str, Any]:
    """What a training was told, as its checkpoints name it. When they are written changes nothing of its steps."""
    return config.model_dump(mode="json", exclude={"checkpoint"})


def write(folder: Folder, checkpoint: Checkpoint) -> None:
    """Add a checkpoint, then take away all but the newest two."""
    folder.write(f"checkpoint-{checkpoint.epoch:07}.safetensors", pack(checkpoint))
    for name in _newest_first(folder)[KEPT:]:
        folder.delete(name)


def read_newest(folders: Sequence[Folder], log: Callable[[str], None]) -> Iterator[Checkpoint]:
    """The undamaged checkpoints of all folders in order, each folder's newest first; damaged ones are logged."""
    for folder in folders:
        for name in _newest_first(folder):
            try:
                yield unpack(folder.read(name))
            except (Damaged, FileNotFoundError) as error:
                log(f"{name} cannot be used: {error}")


def clear(folder: Folder) -> None:
    """Take all checkpoints away, once none will be gone on from."""
    for name in _newest_first(folder):
        folder.delete(name)


def pack(checkpoint: Checkpoint) -> bytes:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    scalars = json.dumps({"epoch": checkpoint.epoch} | checkpoint.scalars, allow_nan=False)
    # One entry, because safetensors writes several in no particular order: equal checkpoints are equal files.
    return safetensors.torch.save(tensors, {"checkpoint": f"{_checksum(tensors, scalars)} {scalars}"})


def unpack(data: bytes) -> Checkpoint:
    """Raises: Damaged, if the file is not what was written, to the last bit that matters."""
    try:
        tensors = safetensors.torch.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        checksum, _, scalars = header["checkpoint"].partition(" ")
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise Damaged(f"it is no checkpoint, or cut short ({error})") from error
    if checksum != _checksum(tensors, scalars):
        raise Damaged("its checksum does not match")
    document = json.loads(scalars)
    return Checkpoint(document.pop("epoch"), tensors, document)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, named as part of something larger."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those that `prefixed` has put below a name, by their own."""
    return {
        name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")
    }


def _checksum(tensors: Mapping[str, Tensor], scalars: str) -> str:
    digest = hashlib.sha256(scalars.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _newest_first(folder: Folder) -> list[str]:
    return sorted((name for name in folder.names() if _NAME.fullmatch(name)), reverse=True)
