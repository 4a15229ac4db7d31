"""The column to predict: which task it makes, its classes or its unit, and what is wrong with it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainer.config import TaskName
from trainer.data.schema import Target, as_text, index_of, is_number, names_rows
from trainer.errors import DataError

MAX_INTEGER_CLASSES = 20


def find_target(column: pd.Series, task: Literal["auto", "classification", "regression"]) -> Target:
    """The target as a task. `auto`: strings and booleans are classes, and so are integers of at most 20 distinct
    values; other integers and all columns of floats are numbers, for a regression.

    Mean and deviation of a regression are left to the training part.

    Raises:
        DataError: a value is missing, there is one class, or about one for each row; the numbers are none or all the
            same.
    """
    _refuse_missing(column)
    name = str(column.name)
    if (_guess(column) if task == "auto" else task) == "classification":
        return Target(name=name, task="classification", classes=_classes(column))
    _refuse_no_number(column)
    return Target(name=name, task="regression")


def scaled(target: Target, train: pd.Series) -> Target:
    """The target with the training part's mean and deviation; a classification as it is.

    Raises:
        DataError: the training part's target is the same in all rows.
    """
    if target.task == "classification":
        return target
    values = train.to_numpy(dtype=np.float64)
    deviation = float(values.std()) if np.ptp(values) else 0.0
    if not deviation:
        raise DataError(
            "trial.data.target",
            f"{target.name} is {values[0]:g} in all rows of the training part",
            "choose another column",
        )
    return target.model_copy(update={"mean": float(values.mean()), "deviation": deviation})


def encode_target(column: pd.Series, target: Target, path: str = "trial.data.target") -> NDArray[np.generic]:
    """Class indices as int64, or the standardized target as float32; (rows,).

    Raises:
        DataError: a value is missing, or a class is not among the target's.
    """
    _refuse_missing(column)
    if target.task == "regression":
        _refuse_no_number(column)
        return ((column.to_numpy(dtype=np.float64) - target.mean) / target.deviation).astype(np.float32)
    index = index_of(column, target.classes)
    if (index < 0).any():
        unknown = str(column[index < 0].iloc[0])
        raise DataError(path, f"its class {unknown!r} is not in the source", f"known are {', '.join(target.classes)}")
    return index


def _guess(column: pd.Series) -> TaskName:
    if not is_number(column):
        return "classification"
    whole = pd.api.types.is_integer_dtype(column)
    return "classification" if whole and column.nunique() <= MAX_INTEGER_CLASSES else "regression"


def _classes(column: pd.Series) -> tuple[str, ...]:
    """The classes' names: numbers in their order, else by the alphabet."""
    distinct = sorted(column.unique().tolist() if is_number(column) else as_text(column).unique())
    names = tuple(map(str, distinct))
    if len(names) < 2:
        raise DataError("trial.data.target", f"{column.name} has one class, {names[0]!r}", "choose another column")
    if names_rows(column):
        message = (
            f"{column.name} has {len(names)} distinct values in {len(column)} rows, first {names[0]!r:.60}: no classes"
        )
        raise DataError("trial.data.target", message, "choose another column")
    return names


def _refuse_missing(column: pd.Series) -> None:
    missing = column.isna().to_numpy()
    if missing.any():
        lacking = "no finite value" if is_number(column) else "no value"
        where = f"{missing.sum()} of {len(column)} rows, first in row {missing.argmax() + 1}"
        raise DataError(
            "trial.data.target",
            f"{column.name} has {lacking} in {where}",
            "take those rows out, or choose another column",
        )


def _refuse_no_number(column: pd.Series) -> None:
    if not is_number(column):
        raise DataError(
            "trial.data.target",
            f"{column.name} holds {str(column.iloc[0])!r}, which is no number to regress on",
            "set task: classification, or choose another column",
        )
