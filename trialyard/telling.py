"""Columns that tell the target all by themselves: what is often known only once the target is, and then is no help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from trainer.data.prepared import Part, Prepared
from trainer.data.schema import Schema

LEAST_ROWS = 50  # to validate on: of fewer a good column may get all right by chance
MOST_ROWS = 2_000  # to learn from: enough to see what is there to be seen
MOST_LEAVES = 32
SUSPICIOUS = 0.98

Values = NDArray[np.generic]


def telling_columns(prepared: Prepared) -> Iterator[tuple[str, float]]:
    """The columns of a table from which alone a small tree foretells the validation part's target, with its score: the
    mean share of each class that it gets right, or the share of the variance that it explains.
    """
    schema = prepared.schema
    if not isinstance(schema, Schema) or prepared.validation.rows < LEAST_ROWS:
        return
    known = prepared.train.y[:MOST_ROWS].numpy()
    parts = (_columns(part, schema.widths) for part in (prepared.train, prepared.validation))
    for name, train, validation in zip(schema.columns, *parts, strict=True):
        score = _score(train[:MOST_ROWS], known, validation, prepared)
        if score > SUSPICIOUS:
            yield name, score


def _columns(part: Part, widths: Sequence[int]) -> Iterator[Values]:
    """Each (rows, width), in the schema's order: the numbers, of a date all that are made of it; the categories."""
    place = 0
    together = np.hstack([table.numpy() for table in part.inputs])
    for width in widths:
        yield together[:, place : (place := place + width)]


def _score(x: Values, y: Values, validation: Values, prepared: Prepared) -> float:
    truth = prepared.validation.y.numpy()
    if prepared.task == "regression":
        told = DecisionTreeRegressor(max_leaf_nodes=MOST_LEAVES).fit(x, y).predict(validation)
        return float(r2_score(truth, told))
    if len(np.unique(truth)) == 1:
        return 0.0
    leaves = max(MOST_LEAVES, 2 * len(prepared.classes))
    told = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced").fit(x, y).predict(validation)
    return float(balanced_accuracy_score(truth, told))
