"""From a `data` section to tensors on a device: read, split, fit on the training part, encode, all once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from trainer.config import Data, TaskName
from trainer.data.schema import Schema, as_text, fit_schema, is_number, mark_missing
from trainer.data.sources import read
from trainer.data.split import split_rows
from trainer.data.target import encode_target, find_target, scaled
from trainer.errors import DataError


@dataclass(frozen=True, eq=False)
class Part:
    """Rows as the model takes them. Never written to: trials share them."""

    x_num: Tensor  # (rows, numeric), float32
    x_cat: Tensor  # (rows, categorical), int64; 0 is missing or unseen
    y: Tensor  # (rows,), the class as int64, or the standardized target as float32

    @property
    def rows(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A data set on a device, and the schema that made it. Depends on nothing but the `data` section."""

    schema: Schema
    train: Part
    validation: Part
    test: Part | None
    class_weight: Tensor | None  # (classes,), float32
    missing: Mapping[str, int]  # values that were not there, over all parts, by column

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

    def facts(self) -> dict[str, Any]:
        """What was found, for people, as JSON."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {
            "task": self.task,
            "target": self.schema.target.name,
            "classes": list(self.classes),
            "rows": {name: part.rows if part else 0 for name, part in parts.items()},
            "columns": [self._column(column.name, "numeric") for column in self.schema.numeric]
            + [
                self._column(column.name, "categorical") | {"categories": len(column.categories)}
                for column in self.schema.categorical
            ],
            "excluded": [column.model_dump() for column in self.schema.excluded],
        }

    def _column(self, name: str, kind: str) -> dict[str, Any]:
        return {"name": name, "kind": kind, "missing": self.missing[name]}


def prepare(data: Data, *, device: torch.device, data_folders: Sequence[Path]) -> Prepared:
    """Read the source, split it, learn the preprocessing from the training part, and put all of it on the device.

    Raises:
        DataError: the source cannot be read, or cannot be trained on as told.
    """
    table = _table(data, data.source, "trial.data.source", data_folders)
    fixed_test = _table(data, data.test_source, "trial.data.test_source", data_folders) if data.test_source else None
    name = _target_name(table, data)
    target = find_target(table[name], data.task)

    stratify = data.split.stratify and target.task == "classification"
    parts = split_rows(
        len(table),
        data.split,
        hold_out_test=fixed_test is None,
        labels=as_text(table[name]).to_numpy(dtype=object) if stratify else None,
    )
    train = table.iloc[parts.train]
    schema = fit_schema(train, data, scaled(target, train[name]))
    test = table.iloc[parts.test] if fixed_test is None else _like_source(fixed_test, schema)
    encoded = _encode(train, schema, device)
    return Prepared(
        schema=schema,
        train=encoded,
        validation=_encode(table.iloc[parts.validation], schema, device),
        test=_encode(test, schema, device, "trial.data.test_source") if len(test) else None,
        class_weight=_class_weight(encoded.y, schema) if data.class_weight == "balanced" else None,
        missing={name: int(table[name].isna().sum() + _missing(fixed_test, name)) for name in schema.columns},
    )


def _table(data: Data, source: str, path: str, data_folders: Sequence[Path]) -> pd.DataFrame:
    """The columns that are not dropped, with missing values as NaN."""
    table = read(source, path=path, delimiter=data.delimiter, data_folders=data_folders)
    if table.empty:
        raise DataError(path, f"{source} has no rows", "a header line and at least a few rows are needed")
    for name in data.drop:
        _refuse_unknown(name, table, "trial.data.drop")
    table = table.drop(columns=data.drop)
    for column in table.columns:
        _refuse_nested(table[column])
    return mark_missing(table, data.missing_values)


def _target_name(table: pd.DataFrame, data: Data) -> str:
    """The column to predict: the named one, or the last that is not dropped."""
    if data.target is None:
        if table.columns.empty:
            raise DataError("trial.data.drop", "no column is left", "drop fewer")
        return str(table.columns[-1])
    _refuse_unknown(data.target, table, "trial.data.target")
    return data.target


def _refuse_unknown(name: str, table: pd.DataFrame, path: str) -> None:
    if name not in table:
        nearest = get_close_matches(name, list(table.columns), n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(table.columns[:20])}"
        raise DataError(path, f"there is no column {name!r}", hint)


def _refuse_nested(column: pd.Series) -> None:
    if column.dtype == object and column.map(lambda value: isinstance(value, list | dict | np.ndarray)).any():
        raise DataError("trial.data.drop", f"column {column.name} holds lists or objects, not values", "drop it")


def _like_source(test: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The fixed test set, once it is sure to have the columns of the source."""
    for name in (*schema.columns, schema.target.name):
        _refuse_unknown(name, test, "trial.data.test_source")
    for column in schema.numeric:
        if not is_number(test[column.name]):
            raise DataError(
                "trial.data.test_source",
                f"column {column.name} holds strings, and numbers in the source",
                "list its markers of missing values in missing_values",
            )
    return test


def _encode(table: pd.DataFrame, schema: Schema, device: torch.device, path: str = "trial.data.target") -> Part:
    x_num, x_cat = schema.encode(table)
    y = encode_target(table[schema.target.name], schema.target, path)
    return Part(*(torch.from_numpy(array).to(device) for array in (x_num, x_cat, y)))


def _class_weight(y: Tensor, schema: Schema) -> Tensor | None:
    """n / (classes * n_c), as scikit-learn's `balanced` has it; 1 for a class that the training part lacks."""
    if schema.target.task == "regression":
        return None
    counts = y.bincount(minlength=len(schema.target.classes))
    return torch.where(counts > 0, len(y) / (len(counts) * counts), 1.0)


def _missing(table: pd.DataFrame | None, name: str) -> int:
    return 0 if table is None else int(table[name].isna().sum())
