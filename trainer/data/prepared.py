"""A data set on a device, ready to be trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from trainer.config import TaskName
from trainer.data.images import ImageSchema
from trainer.data.schema import Schema
from trainer.data.split import Rows
from trainer.data.subwords import SubwordSchema
from trainer.data.texts import TextSchema

AnySchema = Annotated[Schema | ImageSchema | TextSchema | SubwordSchema, Field(discriminator="kind")]


@dataclass(frozen=True, eq=False)
class Part:
    """Rows as the model takes them. Never written to: trials share them.

    The targets lie on the device. The inputs do, too, if they fit; else they stay in the host's memory.

    The inputs are, of a table, its numbers (rows, numbers) float32 and its categories (rows, categorical) int64, where
    0 is missing or unseen; of images their pixels (rows, channels, height, width) uint8; of texts their tokens
    (rows, length) int32.
    """

    inputs: tuple[Tensor, ...]
    y: Tensor  # (rows,), the class as int64, or the standardized target as float32

    @property
    def rows(self) -> int:
        return len(self.y)

    @property
    def home(self) -> torch.device:
        """Where the inputs lie."""
        return self.inputs[0].device

    def take(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The inputs of some rows, on the device; `rows` may lie anywhere, and are best at home."""
        rows = rows.to(self.home)
        return tuple(_fetched(tensor.index_select(0, rows), self.y.device) for tensor in self.inputs)

    def first(self, rows: int) -> tuple[Tensor, ...]:
        """The inputs of the first rows, on the device."""
        return tuple(_fetched(tensor[:rows], self.y.device) for tensor in self.inputs)

    def batches(self, rows: int) -> Iterator[tuple[Tensor, ...]]:
        """All inputs in their order, so many rows at a time, on the device."""
        for inputs in zip(*(torch.split(tensor, rows) for tensor in self.inputs), strict=True):
            yield tuple(_fetched(tensor, self.y.device) for tensor in inputs)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set on a device, and the schema that made it."""

    schema: AnySchema
    train: Part
    validation: Part  # without rows where all are trained on
    test: Part | None
    class_weight: Tensor | None  # (classes,), float32
    missing: Mapping[str, int]  # values that were not there, over all parts, by column
    fingerprint: str  # of the data and their split

    @property
    def task(self) -> TaskName:
        return self.schema.target.task

    @property
    def classes(self) -> tuple[str, ...]:
        return self.schema.target.classes

    @property
    def columns(self) -> list[str]:
        return self.schema.columns

    @property
    def device(self) -> torch.device:
        return self.train.y.device

    @property
    def smallest(self) -> Prepared:
        """Itself; of folds, the one with the fewest rows to train on."""
        return self

    def facts(self) -> dict[str, Any]:
        """What was found, for people, as JSON."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "kind": self.schema.kind,
            "task": self.task,
            "target": self.schema.target.name,
            "classes": list(self.classes),
            "rows": {name: part.rows if part else 0 for name, part in parts.items()},
            **self.schema.facts(self.missing),
        }


@dataclass(frozen=True, eq=False)
class Folds:
    """A data set divided several ways, each with what it has learned from its own training part; the test part is the
    same rows in all, as each encodes them.
    """

    parts: tuple[Prepared, ...]
    validated: tuple[Rows, ...]  # of each part, the rows of its validation part in the source
    repeats: int
    fingerprint: str  # of the data and the rows that validate and test; not of which fold each is in

    @property
    def smallest(self) -> Prepared:
        """The fold with the fewest rows to train on."""
        return min(self.parts, key=lambda part: part.train.rows)

    def facts(self) -> dict[str, Any]:
        """Those of the first fold, and how many there are."""
        return self.parts[0].facts() | {"folds": len(self.parts)}


def _fetched(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; to a GPU it goes while the host gathers the next one."""
    if tensor.device == device:
        return tensor
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
