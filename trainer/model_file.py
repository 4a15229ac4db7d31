"""The model that a training leaves behind: `model.safetensors` with its weights, and `model.json` with everything else
that is needed to predict: configuration, columns and their preprocessing, class names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from trainer.config import TrainConfig
from trainer.data.images import ImageSchema
from trainer.data.prepared import AnySchema, Part
from trainer.errors import Damaged, DataError
from trainer.folder import Folder
from trainer.loop import evaluate
from trainer.models.layers import Network
from trainer.snapshots import assemble

TENSORS = "model.safetensors"
DOCUMENT = "model.json"
FORMAT = 1


class Predictor:
    """A trained model that takes rows as they come from their source: a table, or the pixels of images as an array of
    (rows, height, width), with a further axis where there are several channels.
    """

    def __init__(self, model: Network, schema: AnySchema, document: Mapping[str, Any]) -> None:
        self.schema = schema
        self.metrics: dict[str, float] = document["metrics"]
        self.best_epoch: int = document["best_epoch"]
        self._model = model

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
        lacking = [name for name in self.schema.columns if name not in rows]
        if lacking:
            raise DataError("rows", f"column {', '.join(lacking)} is missing", "give all columns that were trained on")
        encoded: tuple[NDArray[Any], ...] = self.schema.encode(rows)  # type: ignore[arg-type]  # checked above
        part = Part(tuple(map(torch.from_numpy, encoded)), y=torch.zeros(len(rows)))
        return evaluate(self._model, part).numpy()


def save(
    folder: Folder,
    model: Network,
    config: TrainConfig,
    schema: AnySchema,
    *,
    metrics: Mapping[str, float],
    best_epoch: int,
) -> None:
    """Write the tensors, then the document that names them by their checksum: a document never lacks its tensors."""
    tensors = safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})
    document = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "schema": schema.model_dump(mode="json"),
        "metrics": dict(metrics),
        "best_epoch": best_epoch,
        "sha256": hashlib.sha256(tensors).hexdigest(),
    }
    folder.write(TENSORS, tensors)
    folder.write(DOCUMENT, json.dumps(document, indent=1).encode())


def load(folder: Folder) -> Predictor:
    """The model of a finished training, on the CPU.

    Raises:
        FileNotFoundError: the training has left none.
        Damaged: the tensors are not those that the document names.
    """
    document = json.loads(folder.read(DOCUMENT))
    tensors = folder.read(TENSORS)
    if hashlib.sha256(tensors).hexdigest() != document["sha256"]:
        raise Damaged(f"{TENSORS} is not the file that {DOCUMENT} names")
    schema: AnySchema = TypeAdapter(AnySchema).validate_python({"kind": "table"} | document["schema"])
    model = assemble(TrainConfig.model_validate(document["config"]).model, schema, safetensors.torch.load(tensors))
    return Predictor(model, schema, document)
