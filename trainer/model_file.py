"""The model that a training leaves behind: `model.safetensors` with its weights, and `model.json` with everything else
that is needed to predict: configuration, columns and their preprocessing, class names. A training on folds or from
several seeds leaves all of its models in the same two files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor

from trainer.checkpoint import below, prefixed
from trainer.config import TrainConfig
from trainer.data.images import ImageSchema
from trainer.data.prepared import AnySchema, Part
from trainer.errors import Damaged, DataError
from trainer.folder import Folder
from trainer.int8 import quantized
from trainer.loop import evaluate
from trainer.members import Member, mean_outputs
from trainer.snapshots import assemble

TENSORS = "model.safetensors"
DOCUMENT = "model.json"
FORMAT = 1


class Predictor:
    """A trained model that takes rows as they come from their source: a table, or the pixels of images as an array of
    (rows, height, width), with a further axis where there are several channels.
    """

    def __init__(self, members: Sequence[Member], document: Mapping[str, Any]) -> None:
        """Of several members the prediction is the mean; `schema` is then the first one's."""
        self.schema = members[0].schema
        self.metrics: dict[str, float] = document["metrics"]
        self.best_epoch: int = document["best_epoch"]
        self.config = TrainConfig.model_validate(document["config"])
        self.members = members

    @property
    def schemas(self) -> list[AnySchema]:
        """Of each of its models."""
        return [member.schema for member in self.members]

    def make_small(self) -> None:
        """From here on, predict with models in eight bits."""
        self.members = [Member(quantized(member.model), member.schema) for member in self.members]

    def predict(self, rows: pd.DataFrame | NDArray[np.uint8]) -> NDArray[Any]:
        """(rows,): the names of the likeliest classes, or the target in its own unit.

        Raises:
            DataError: the table lacks a column.
        """
        target = self.schema.target
        outputs = self._outputs(rows)
        if target.task == "classification":
            names: NDArray[Any] = np.array(target.classes, dtype=object)[outputs.argmax(1)]
            return names
        return outputs.astype(np.float64) * target.deviation + target.mean

    def probabilities(self, rows: pd.DataFrame | NDArray[np.uint8]) -> NDArray[np.float64]:
        """(rows, classes), in the order of `schema.target.classes`.

        Raises:
            DataError: the table lacks a column, or the model is of a regression.
        """
        if self.schema.target.task != "classification":
            raise DataError("rows", "a regression has no classes", "ask for its predictions")
        return torch.from_numpy(self._outputs(rows)).double().softmax(1).numpy()

    def scores(self, rows: pd.DataFrame | NDArray[np.uint8]) -> NDArray[np.float64]:
        """The probabilities of a classification, or the predictions of a regression."""
        if self.schema.target.task == "classification":
            return self.probabilities(rows)
        return self.predict(rows)

    def _outputs(self, rows: pd.DataFrame | NDArray[np.uint8]) -> NDArray[np.float32]:
        if isinstance(rows, pd.DataFrame) == isinstance(self.schema, ImageSchema):
            takes = "pixels of images" if isinstance(self.schema, ImageSchema) else "a table"
            raise DataError("rows", f"the model takes {takes}", "give it rows like those it was trained on")
        columns = dict.fromkeys(name for schema in self.schemas for name in schema.columns)
        lacking = [name for name in columns if name not in rows]
        if lacking:
            raise DataError("rows", f"column {', '.join(lacking)} is missing", "give all columns that were trained on")
        outputs = [evaluate(member.model, _part(member.schema, rows)) for member in self.members]
        return mean_outputs(outputs, [member.schema.target for member in self.members]).numpy()


def _part(schema: AnySchema, rows: pd.DataFrame | NDArray[np.uint8]) -> Part:
    encoded: tuple[NDArray[Any], ...] = schema.encode(rows)  # type: ignore[arg-type]  # _outputs has looked
    return Part(tuple(map(torch.from_numpy, encoded)), y=torch.zeros(len(rows)))


def save(
    folder: Folder,
    members: Sequence[Member],
    config: TrainConfig,
    *,
    metrics: Mapping[str, float],
    best_epoch: int,
) -> None:
    """Write the tensors, then the document that names them by their checksum: a document never lacks its tensors."""
    tensors = packed(members)
    document = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "schema": members[0].schema.model_dump(mode="json"),
        "members": [member.schema.model_dump(mode="json") for member in members] if len(members) > 1 else None,
        "metrics": dict(metrics),
        "best_epoch": best_epoch,
        "sha256": hashlib.sha256(tensors).hexdigest(),
    }
    folder.write(TENSORS, tensors)
    folder.write(DOCUMENT, json.dumps(document).encode())  # indented, a vocabulary takes ten times as long


def packed(members: Sequence[Member]) -> bytes:
    """The tensors of models as a file."""
    return safetensors.torch.save(_tensors(members))


def load(folder: Folder, tensors_in: str = TENSORS) -> Predictor:
    """The model of a finished training, on the CPU.

    Args:
        tensors_in: `model.int8.safetensors` for the same in eight bits, where it has been converted.

    Raises:
        FileNotFoundError: the training has left none.
        Damaged: the tensors are not those that the document names.
    """
    document = json.loads(folder.read(DOCUMENT))
    tensors = folder.read(tensors_in)
    if tensors_in == TENSORS and hashlib.sha256(tensors).hexdigest() != document["sha256"]:
        raise Damaged(f"{TENSORS} is not the file that {DOCUMENT} names")
    config, weights = TrainConfig.model_validate(document["config"]), safetensors.torch.load(tensors)
    schemas = document.get("members")
    if not schemas:
        return Predictor([_member(config, document["schema"], weights)], document)
    named = ((schema, below(f"member.{index}", weights)) for index, schema in enumerate(schemas))
    return Predictor([_member(config, schema, own) for schema, own in named], document)


def _member(config: TrainConfig, document: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Member:
    schema: AnySchema = TypeAdapter(AnySchema).validate_python({"kind": "table"} | dict(document))
    return Member(assemble(config.model, schema, weights), schema)


def _tensors(members: Sequence[Member]) -> dict[str, Tensor]:
    """The weights by name; those of several members below `member.<index>`."""
    named = [member.model.state_dict() for member in members]
    if len(named) > 1:
        named = [prefixed(f"member.{index}", weights) for index, weights in enumerate(named)]
    return {name: tensor.cpu().contiguous() for weights in named for name, tensor in weights.items()}
