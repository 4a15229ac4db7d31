"""Which rows are the same, and which come before others: what a split may have to heed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from trainer.data.dates import leaves_order_open
from trainer.data.images import Pixels
from trainer.data.schema import as_text
from trainer.errors import DataError


def keys_of(features: pd.DataFrame | Pixels, target: str) -> NDArray[np.object_]:
    """(rows,): equal where rows are the same in all but the target."""
    if isinstance(features, pd.DataFrame):
        hashed: pd.Series = pd.util.hash_pandas_object(features.drop(columns=target), index=False)
        return np.asarray(hashed, dtype=object)
    return np.array([row.tobytes() for row in features], dtype=object)


def first_of_each(keys: NDArray[np.object_], target: pd.Series) -> NDArray[np.int64]:
    """The row numbers, in their order, without those that repeat another's key and target."""
    repeated = pd.DataFrame({"key": keys, "target": as_text(target).to_numpy()}).duplicated()
    return np.flatnonzero(~repeated.to_numpy())


def times_of(column: pd.Series, *, guess: bool = False) -> NDArray[np.generic]:
    """(rows,), numbers as they are, or dates.

    Args:
        guess: takes of 03/04/2023 the month to come first, and of 13/04/2023 the day, as was done once.

    Raises:
        DataError: the column holds neither.
    """
    if types.is_numeric_dtype(column):
        return column.to_numpy()
    if not guess and (ambiguous := next(filter(leaves_order_open, column), None)) is not None:
        message = f"{column.name} holds {ambiguous!r}, whose day and month could be either way round"
        raise DataError("trial.data.split.time", message, f"data.dates says it: {{{column.name}: '%d/%m/%Y'}}")
    try:
        return pd.to_datetime(column, format="mixed", utc=True).to_numpy(dtype="datetime64[ns]")
    except (ValueError, TypeError) as error:
        hint = "write it as 2026-11-21 or 2026-11-21T13:00:00, or as a number"
        raise DataError("trial.data.split.time", f"{column.name} holds what is no time: {error}"[:300], hint) from error
