"""An ensemble that is kept: `ensemble.json` with how its members are combined, and where each lies."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainer import model_file
from trainer.config import TrainConfig
from trainer.data.images import ImageSchema
from trainer.data.prepared import AnySchema, Part
from trainer.data.schema import Schema
from trainer.data.subwords import SubwordSchema
from trainer.data.texts import TextSchema
from trainer.ensemble.candidates import Unlike
from trainer.ensemble.combine import COMBINATIONS, Combination, Scores
from trainer.folder import Folder
from trainer.int8 import learned_in
from trainer.loop import evaluate
from trainer.members import Member
from trainer.model_file import Predictor
from trainer.rows import Rows

DOCUMENT = "ensemble.json"
FORMAT = 1
TIMED = 20


@dataclass(frozen=True)
class Below:
    """The files of a folder whose names begin with a prefix, as a folder of their own."""

    folder: Folder
    prefix: str

    def write(self, name: str, data: bytes) -> None:
        self.folder.write(self.prefix + name, data)

    def read(self, name: str) -> bytes:
        return self.folder.read(self.prefix + name)

    def names(self) -> list[str]:
        return [name.removeprefix(self.prefix) for name in self.folder.names() if name.startswith(self.prefix)]

    def delete(self, name: str) -> None:
        self.folder.delete(self.prefix + name)


@dataclass(frozen=True)
class Ensemble:
    """Models that answer together; what can be asked like a single one."""

    members: Sequence[Predictor]
    combination: Combination

    @property
    def schema(self) -> AnySchema:
        return self.members[0].schema

    @property
    def schemas(self) -> list[AnySchema]:
        """Of each of its members' models."""
        return [schema for member in self.members for schema in member.schemas]

    def scores(self, rows: Rows) -> Scores:
        """(rows, classes), the classes' probabilities; or (rows,), the target in its own unit.

        Raises:
            DataError: the table lacks a column.
        """
        return self.combination.apply(np.stack([member.scores(rows) for member in self.members]))


def member_prefix(place: int) -> str:
    return f"member-{place:03}."


def save(folder: Folder, combination: Combination, members: Sequence[dict[str, int]]) -> None:
    """Write the document, last of all.

    Args:
        members: the trial and the attempt that each model lies with; none where all lie in this very folder, by
            `member_prefix`.
    """
    document = {"format": FORMAT, "combination": combination.model_dump(mode="json"), "members": list(members)}
    folder.write(DOCUMENT, json.dumps(document, indent=1).encode())


def save_member(folder: Folder, place: int, member: Member, config: TrainConfig) -> None:
    """A model that was trained for the ensemble alone."""
    model_file.save(Below(folder, member_prefix(place)), [member], config, metrics={}, best_epoch=0)


def load(folder: Folder, folder_of: Callable[[int, int], Folder] | None = None) -> Ensemble:
    """An ensemble with its members, on the CPU.

    Args:
        folder_of: where a trial's attempt has left its model; None where all lie in this very folder.

    Raises:
        FileNotFoundError: it, or one of its members, is not there.
        Damaged: a member's tensors are not those that its document names.
        Unlike: the members see images of several sizes.
    """
    document: dict[str, Any] = json.loads(folder.read(DOCUMENT))
    combination = COMBINATIONS.validate_python(document["combination"])
    count = len(combination.weights)
    if folder_of is None or f"{member_prefix(0)}{model_file.DOCUMENT}" in folder.names():
        folders: list[Folder] = [Below(folder, member_prefix(place)) for place in range(count)]
    else:
        folders = [folder_of(member["trial"], member["attempt"]) for member in document["members"]]
    members = [model_file.load(each) for each in folders]
    _refuse_unlike(members)
    return Ensemble(members, combination)


def _refuse_unlike(members: Sequence[Predictor]) -> None:
    """Raises: Unlike: an image would have to be read once for each size."""
    schemas = [member.schema for member in members]
    sizes = {(each.height, each.width): None for each in schemas if isinstance(each, ImageSchema)}
    if len(sizes) > 1:
        seen = " and ".join(f"{height} × {width}" for height, width in sizes)
        raise Unlike(
            f"the trials see images of {seen} pixels (data.image_size), and an ensemble takes them of one size"
        )


def parameters_of(predictors: Sequence[Predictor]) -> int:
    """How many numbers the models consist of, together."""
    return sum(each.numel() for one in predictors for member in one.members for each in learned_in(member.model))


def latency_ms(predictors: Sequence[Predictor]) -> float:
    """How long the models take for one row, one after another, on this processor: the shortest of 20 times."""
    members = [member for each in predictors for member in each.members]
    parts = [_blank(member.schema) for member in members]
    seconds = []
    for _ in range(TIMED + 3):
        began = time.perf_counter()
        for member, part in zip(members, parts, strict=True):
            evaluate(member.model, part)
        seconds.append(time.perf_counter() - began)
    return 1000 * min(seconds[3:])  # the first ones prepare what later ones find


def _blank(schema: AnySchema) -> Part:
    """One row of nothing: how long a model takes does not depend on what it reads."""
    arrays: tuple[NDArray[Any], ...]
    match schema:
        case ImageSchema():
            arrays = (np.zeros((1, schema.channels, schema.height, schema.width), np.uint8),)
        case TextSchema():
            arrays = (np.ones((1, schema.max_tokens), np.int32),)
        case SubwordSchema():
            arrays = (np.full((1, schema.max_tokens), int(schema.pad == 0), np.int32),)  # padding would be left out
        case Schema():
            arrays = (np.zeros((1, schema.numbers), np.float32), np.zeros((1, len(schema.categorical)), np.int64))
    return Part(tuple(map(torch.from_numpy, arrays)), torch.zeros(1))
