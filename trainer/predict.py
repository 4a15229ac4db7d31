"""Answers of a trained model, or of several together, for rows as people send them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.data.prepared import AnySchema
from trainer.data.schema import Target
from trainer.errors import Problem
from trainer.rows import Rows, WrongRows, in_common, read_rows

__all__ = ["Model", "WrongRows", "answer"]

_BEYOND = (
    "holds numbers so far from those of the training that the model comes to no answer",
    "look for one that cannot be right",
)


class Model(Protocol):
    """What can be asked: one trained model, or an ensemble."""

    @property
    def schema(self) -> AnySchema: ...

    @property
    def schemas(self) -> Sequence[AnySchema]:
        """Of each of its models, the first one's being `schema`."""

    def scores(self, rows: Rows) -> NDArray[np.float64]:
        """(rows, classes), the classes' probabilities; or (rows,), the target in its own unit."""


def answer(model: Model, rows: Sequence[Any]) -> dict[str, Any]:
    """Predictions for rows out of JSON, as JSON: a class with its probability, or a value, for each row in its order.

    Raises:
        WrongRows: they do not fit what the model was trained on; each problem names its row and column.
    """
    read, notes = read_rows(in_common(model.schemas), rows)
    target, scores = model.schema.target, model.scores(read)
    if lost := np.flatnonzero(~np.isfinite(scores.reshape(len(scores), -1)).all(1)).tolist():
        raise WrongRows([Problem(f"rows[{place}]", *_BEYOND) for place in lost])
    return {
        "task": target.task,
        "target": target.name,
        "classes": list(target.classes),
        "predictions": _predictions(scores, target),
        "notes": notes,
    }


def _predictions(scores: NDArray[np.float64], target: Target) -> list[dict[str, Any]]:
    if target.task == "regression":
        return [{"value": value} for value in scores.tolist()]
    likeliest = scores.argmax(1).tolist()
    return [
        {"class": target.classes[index], "probability": row[index], "probabilities": row}
        for index, row in zip(likeliest, scores.tolist(), strict=True)
    ]
