"""Which column of a table is to be predicted, where nobody says so."""

from __future__ import annotations

import pandas as pd

from trainer.data.dates import is_date
from trainer.data.schema import is_number, names_rows
from trialyard.errors import BadInput

NAMES = frozenset({"target", "label", "labels", "class", "y", "outcome"})


def guess_target(table: pd.DataFrame, columns: list[str], data: str) -> str:
    """The last of these columns that is called as targets are, or else the last that can be predicted.

    Raises:
        BadInput: none can be; `data` is what they are called.
    """
    able = [name for name in columns if can_be_target(table[name])]
    if not able:
        raise BadInput(f"{data}: no column looks like one to predict; --target names it")
    called = [name for name in able if name.strip().lower() in NAMES]
    return (called or able)[-1]


def can_be_target(column: pd.Series) -> bool:
    """Whether its values are classes or numbers: not one for all rows, nor names of rows, nor dates."""
    return column.nunique() > 1 and (is_number(column) or not (is_date(column) or names_rows(column)))
