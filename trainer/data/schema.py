"""What a training part says about its columns: how each becomes numbers. Fitted once, and kept with the model.

The same schema encodes the other parts and, later, the rows to predict for; it is a plain document in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types
from pydantic import BaseModel, ConfigDict

from trainer.config import Data, TaskName
from trainer.errors import DataError

# A text column with more distinct values than both of these is an id or prose: each value would be seen hardly twice.
ID_DISTINCT = 20
ID_SHARE = 0.5
# What pandas finds in columns whose values may turn out to be numbers; booleans with gaps are not among them.
MAYBE_NUMBERS = frozenset(
    {"string", "mixed", "mixed-integer", "integer", "floating", "mixed-integer-float", "decimal", "categorical"}
)


class Document(BaseModel):
    """A part of what is kept with a model, as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Numeric(Document):
    """A column of numbers. It is encoded as (x - shift) / scale, with `fill` in place of a missing x."""

    name: str
    fill: float
    shift: float
    scale: float


class Categorical(Document):
    """A column of names. Category i is encoded as i + 1; 0 stands for missing ones and for those never seen."""

    name: str
    categories: tuple[str, ...]


class Excluded(Document):
    """A column that is not trained on, and why."""

    name: str
    why: str


class Target(Document):
    """The column to predict: its classes, or the mean and the deviation by which it is standardized."""

    name: str
    task: TaskName
    classes: tuple[str, ...] = ()
    mean: float = 0.0
    deviation: float = 1.0


class Schema(Document):
    """Everything fitted on the training part of a table."""

    kind: Literal["table"] = "table"
    numeric: tuple[Numeric, ...]
    categorical: tuple[Categorical, ...]
    excluded: tuple[Excluded, ...]
    target: Target
    missing_values: tuple[str, ...]

    def encode(self, table: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Numbers for the model: (rows, numeric) float32 and (rows, categorical) int64.

        Raises:
            KeyError: the table lacks a column.
        """
        table = mark_missing(table[self.columns], self.missing_values)
        x_num = np.empty((len(table), len(self.numeric)), np.float32)
        for place, number in enumerate(self.numeric):
            x_num[:, place] = _encode_numeric(table[number.name], number)
        x_cat = np.empty((len(table), len(self.categorical)), np.int64)
        for place, category in enumerate(self.categorical):
            x_cat[:, place] = index_of(table[category.name], category.categories) + 1
        return x_num, x_cat

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.numeric] + [column.name for column in self.categorical]

    def facts(self, missing: Mapping[str, int]) -> dict[str, Any]:
        """The columns, for people; `missing` are the values that were not there, by column."""
        columns: list[dict[str, Any]] = [{"name": column.name, "kind": "numeric"} for column in self.numeric]
        columns += [
            {"name": column.name, "kind": "categorical", "categories": len(column.categories)}
            for column in self.categorical
        ]
        return {
            "columns": [column | {"missing": missing[column["name"]]} for column in columns],
            "excluded": [column.model_dump() for column in self.excluded],
        }


def fit_schema(train: pd.DataFrame, data: Data, target: Target) -> Schema:
    """Learn the columns from the training part.

    Strings, booleans and categories are categorical, numbers are numeric. Left out are dates, and columns of strings
    with so many distinct values that they are ids or prose.

    Raises:
        DataError: a column has no value at all, or no column is left.
    """
    features = train.drop(columns=target.name)
    _refuse_empty(features)
    excluded = [Excluded(name=name, why=why) for name in features if (why := _why_not(features[name]))]
    left = features.drop(columns=[column.name for column in excluded])
    if left.columns.empty:
        reasons = "; ".join(f"{column.name}: {column.why}" for column in excluded)
        raise DataError("trial.data.source", "no column is left to learn from", reasons)
    return Schema(
        numeric=tuple(_fit_numeric(left[name], data) for name in left if is_number(left[name])),
        categorical=tuple(
            Categorical(name=name, categories=tuple(sorted(as_text(left[name]).dropna().unique())))
            for name in left
            if not is_number(left[name])
        ),
        excluded=tuple(excluded),
        target=target,
        missing_values=tuple(data.missing_values),
    )


def mark_missing(table: pd.DataFrame, markers: Sequence[str]) -> pd.DataFrame:
    """Put NaN where a value is a marker or infinite, and make numbers of columns that then hold nothing else."""
    return pd.DataFrame({name: _mark_missing(table[name], markers) for name in table}, index=table.index)


def is_number(column: pd.Series) -> bool:
    return types.is_numeric_dtype(column) and not types.is_bool_dtype(column)


def as_text(column: pd.Series) -> pd.Series:
    """The values as the names they have in a schema; a missing one stays missing."""
    return column.astype(object).map(str, na_action="ignore")


def index_of(column: pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """Where in `names` each value stands; -1 for a missing one and for one that is not there."""
    return pd.Index(list(names)).get_indexer(pd.Index(as_text(column))).astype(np.int64)


def _mark_missing(column: pd.Series, markers: Sequence[str]) -> pd.Series:
    if is_number(column):
        numbers = pd.to_numeric(pd.Series(markers, dtype=object), errors="coerce").dropna()
        return column.mask(column.isin(numbers) | column.isin([np.inf, -np.inf]))
    if types.infer_dtype(column, skipna=True) not in MAYBE_NUMBERS:
        return column
    column = column.astype(object).mask(column.isin(markers))
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if numbers.notna().sum() == column.notna().sum() > 0 else column


def _refuse_empty(features: pd.DataFrame) -> None:
    empty = [str(name) for name in features if features[name].isna().all()]
    if empty:
        message = f"no row of the training part has a value of {', '.join(empty)}"
        raise DataError("trial.data.drop", message, "drop it" if len(empty) == 1 else "drop them")


def _why_not(column: pd.Series) -> str | None:
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return "a date or a duration: give its year, month … as columns of their own"
    if is_number(column) or types.is_bool_dtype(column):
        return None
    distinct = as_text(column).nunique()
    if distinct > max(ID_DISTINCT, ID_SHARE * len(column)):
        return f"{distinct} distinct values in {len(column)} rows: an id or text, not a category"
    return None


def _fit_numeric(column: pd.Series, data: Data) -> Numeric:
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    there = values[~np.isnan(values)]
    fill = _fill(there, data.impute)
    shift, scale = _scale(np.where(np.isnan(values), fill, values), data.normalize)
    return Numeric(name=str(column.name), fill=fill, shift=shift, scale=scale)


def _fill(values: NDArray[np.float64], impute: str) -> float:
    if impute == "most_frequent":
        distinct, counts = np.unique(values, return_counts=True)
        return float(distinct[counts.argmax()])  # of several the smallest, as scikit-learn's SimpleImputer has it
    return float(np.median(values) if impute == "median" else values.mean())


def _scale(values: NDArray[np.float64], normalize: str) -> tuple[float, float]:
    """Shift and scale; a column that is the same in all rows is shifted to 0 and not scaled."""
    if normalize == "none":
        return 0.0, 1.0
    span = float(np.ptp(values))
    if normalize == "minmax":
        return float(values.min()), span or 1.0
    return float(values.mean()), float(values.std()) if span else 1.0


def _encode_numeric(column: pd.Series, fitted: Numeric) -> NDArray[np.float64]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return (np.where(np.isnan(values), fitted.fill, values) - fitted.shift) / fitted.scale
