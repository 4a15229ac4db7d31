"""What a training part says about its columns: how each becomes numbers. Fitted once, and kept with the model.

The same schema encodes the other parts and, later, the rows to predict for; it is a plain document in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from trainer.config import NORMALIZED, Data, TaskName
from trainer.data.calendar import Date, fit_date
from trainer.data.dates import is_typed, why_no_date
from trainer.data.document import Document
from trainer.data.numeric import Numeric, fit_numeric
from trainer.errors import DataError

# A text column with more distinct values than both of these is an id or prose: each value would be seen hardly twice.
ID_DISTINCT = 20
ID_SHARE = 0.5
# What pandas finds in columns whose values may turn out to be numbers; booleans with gaps are not among them.
MAYBE_NUMBERS = frozenset(
    {"string", "mixed", "mixed-integer", "integer", "floating", "mixed-integer-float", "decimal", "categorical"}
)
# $1,250.00, 1,250, 45 %, 45 €
SIGNED_NUMBER = re.compile(r"[^\w\s.,]?\s?[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?\s?[^\w\s.,]?")


class Categorical(Document):
    """A column of names. Category i is encoded as i + 1; 0 stands for missing ones and for those never seen. With a
    bucket, those never seen are told apart from missing ones: with the rare ones they are the last category.
    """

    name: str
    categories: tuple[str, ...]
    bucket: bool = False

    @property
    def count(self) -> int:
        """How many there are, index 0 aside."""
        return len(self.categories) + self.bucket

    def encode(self, column: pd.Series) -> NDArray[np.int64]:
        """(rows,)"""
        places = self.places(column)
        return np.where((places < 0) & column.notna() & self.bucket, len(self.categories), places) + 1

    def places(self, column: pd.Series) -> NDArray[np.int64]:
        """(rows,): which category each value is, -1 for a missing one and for one never seen. It counts as it is
        written, or else as the one name of the same number: 10.0, as 10 is read beside a gap, or 10 where 010 is known.
        """
        written = as_text(column)
        places = index_of(written, self.categories)
        if (others := (places < 0) & column.notna().to_numpy()).any():
            places[others] = _same_number(written[others], self.categories)
        return places


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

    @property
    def outputs(self) -> int:
        """How many numbers a model says of a row: one for each class, or the value alone."""
        return len(self.classes) or 1


class Schema(Document):
    """Everything fitted on the training part of a table."""

    kind: Literal["table"] = "table"
    numeric: tuple[Numeric, ...]
    dates: tuple[Date, ...] = ()  # those written down before there were any do not say it
    categorical: tuple[Categorical, ...]
    excluded: tuple[Excluded, ...]
    target: Target
    missing_values: tuple[str, ...]
    decimal: Literal[".", ","] = "."  # of numbers that are written as texts

    def encode(self, table: pd.DataFrame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Numbers for the model: (rows, numbers) float32, of the numeric columns and then of the dates, and
        (rows, categorical) int64.

        Raises:
            KeyError: the table lacks a column.
            DataError: a column of dates holds something else.
        """
        # Not made numbers of, as a whole column would be: a row means the same by itself as beside others.
        there = partial(_without_markers, markers=self.missing_values, numbers=_as_numbers(self.missing_values))
        x_num = np.empty((len(table), self.numbers), np.float32)
        for place, number in enumerate(self.numeric):
            with np.errstate(over="ignore"):  # too large for float32: infinite, and no answer comes of it
                x_num[:, place] = number.encode(there(table[number.name]))
        place = len(self.numeric)
        for date in self.dates:
            x_num[:, place : (place := place + date.width)] = date.encode(there(table[date.name]))
        x_cat = np.empty((len(table), len(self.categorical)), np.int64)
        for place, category in enumerate(self.categorical):
            x_cat[:, place] = category.encode(there(table[category.name]))
        return x_num, x_cat

    @property
    def columns(self) -> list[str]:
        kinds: tuple[Sequence[Numeric | Date | Categorical], ...] = (self.numeric, self.dates, self.categorical)
        return [column.name for kind in kinds for column in kind]

    @property
    def numbers(self) -> int:
        """How many numbers a model sees of a row, the categories aside."""
        return len(self.numeric) + sum(date.width for date in self.dates)

    @property
    def widths(self) -> list[int]:
        """Of each of `columns`, how many of the encoded ones are it."""
        return [1] * len(self.numeric) + [date.width for date in self.dates] + [1] * len(self.categorical)

    def facts(self, missing: Mapping[str, int]) -> dict[str, Any]:
        """The columns, for people; `missing` are the values that were not there, by column."""
        columns: list[dict[str, Any]] = [{"name": column.name, "kind": "numeric"} for column in self.numeric]
        columns += [date.facts() for date in self.dates]
        columns += [
            {"name": column.name, "kind": "categorical", "categories": column.count} for column in self.categorical
        ]
        return {
            "columns": [column | {"missing": missing[column["name"]]} for column in columns],
            "excluded": [column.model_dump() for column in self.excluded],
        }


def fit_schema(train: pd.DataFrame, data: Data, target: Target) -> Schema:
    """Learn the columns from the training part.

    Strings, booleans, categories and what `data.categorical` names are categorical, numbers are numeric, and dates are
    dates where they stand there as such. Left out are columns of strings with so many distinct values that they are ids
    or prose, dates among them.

    Raises:
        DataError: a column has no value at all, or no column is left.
    """
    if data.normalize not in NORMALIZED["table"]:
        hint = f"one of {', '.join(sorted(NORMALIZED['table']))}"
        raise DataError("trial.data.normalize", f"a table has no channels for {data.normalize}", hint)
    features = train.drop(columns=target.name)
    _refuse_empty(features)
    named = [name for name in data.categorical if name in features]
    features = features.assign(**{name: _names(features[name]) for name in named})
    excluded = [
        Excluded(name=name, why=why) for name in features.drop(columns=named) if (why := _why_not(features[name], data))
    ]
    left = features.drop(columns=[column.name for column in excluded])
    if left.columns.empty:
        reasons = "; ".join(f"{column.name}: {column.why}" for column in excluded)
        raise DataError("trial.data.source", "no column is left to learn from", reasons)
    dates = [name for name in left if is_typed(left[name])]
    numbers = [name for name in left if is_number(left[name])]
    return Schema(
        numeric=tuple(fit_numeric(left[name], data) for name in numbers),
        dates=tuple(fit_date(left[name], data) for name in dates),
        categorical=tuple(_fit_categorical(left[name], data) for name in left.drop(columns=[*numbers, *dates])),
        excluded=tuple(excluded),
        target=target,
        missing_values=tuple(data.missing_values),
        decimal=data.decimal,
    )


def mark_missing(table: pd.DataFrame, markers: Sequence[str]) -> pd.DataFrame:
    """Put NaN where a value is a marker or infinite, and make numbers of columns that then hold nothing else."""
    numbers = _as_numbers(markers)
    return pd.DataFrame({name: _mark_missing(table[name], markers, numbers) for name in table}, index=table.index)


def refuse_mixed(table: pd.DataFrame) -> None:
    """Refuse a column of strings that is one of numbers but for a few rows.

    Raises:
        DataError: there is one; it says what stands there, and in which row first.
    """
    for name in table:
        column = table[name]
        if is_number(column) or types.infer_dtype(column, skipna=True) not in MAYBE_NUMBERS:
            continue
        numbers = pd.to_numeric(column, errors="coerce")
        words = (numbers.isna() & column.notna()).to_numpy()
        if numbers.nunique() > ID_DISTINCT and 0 < words.sum() < numbers.notna().sum():
            first = words.argmax()
            message = (
                f"column {name} holds numbers, and in {words.sum()} of {len(column)} rows words, "
                f"first {str(column.iloc[first])!r:.60} in row {first + 1}"
            )
            raise DataError(
                "trial.data.missing_values", message, "list them there if they mean that a value is missing"
            )


def is_number(column: pd.Series) -> bool:
    return types.is_numeric_dtype(column) and not types.is_bool_dtype(column)


def names_rows(column: pd.Series) -> bool:
    """Whether there are too many distinct values for names of classes or categories: they are ids or prose."""
    return as_text(column).nunique() > max(ID_DISTINCT, ID_SHARE * len(column))


def as_text(column: pd.Series) -> pd.Series:
    """The values as the names they have in a schema; a missing one stays missing."""
    return column.astype(object).map(str, na_action="ignore")


def index_of(column: pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """Where in `names` each value stands; -1 for a missing one and for one that is not there."""
    return pd.Index(list(names)).get_indexer(pd.Index(as_text(column))).astype(np.int64)


def _names(column: pd.Series) -> pd.Series:
    """Numbers that are names: 10.0, as it is read beside a missing value, is the same name as 10."""
    plain = (int(value) if isinstance(value, float) and value.is_integer() else value for value in column)
    return pd.Series(list(plain), column.index, dtype=object, name=column.name)


def _same_number(written: pd.Series, names: Sequence[str]) -> NDArray[np.int64]:
    """Where in `names` the only one stands that is the same number; else -1."""
    known = _as_numbers(names).drop_duplicates(keep=False)
    places = pd.Index(known).get_indexer(pd.Index(pd.to_numeric(written, errors="coerce")))
    return np.where(places < 0, -1, known.index.to_numpy(np.int64, na_value=0)[places]) if len(known) else places


def _as_numbers(names: Sequence[str]) -> pd.Series:
    """Those that are numbers, by their places."""
    return pd.to_numeric(pd.Series(list(names), dtype=object), errors="coerce").dropna()


def _fit_categorical(column: pd.Series, data: Data) -> Categorical:
    """The categories by the alphabet: all, or the most frequent of those with rows enough, and a bucket."""
    counts = as_text(column).value_counts()
    often = counts[counts >= data.min_category_rows]
    kept = sorted(often.index, key=lambda name: (-often[name], name))[: data.max_categories]
    return Categorical(name=str(column.name), categories=tuple(sorted(kept)), bucket=len(kept) < len(counts))


def _mark_missing(column: pd.Series, markers: Sequence[str], numbers: pd.Series) -> pd.Series:
    column = _without_markers(column, markers, numbers)
    if is_number(column) or types.infer_dtype(column, skipna=True) not in MAYBE_NUMBERS:
        return column
    values = pd.to_numeric(column, errors="coerce")
    return values if values.notna().sum() == column.notna().sum() > 0 else column


def _without_markers(column: pd.Series, markers: Sequence[str], numbers: pd.Series) -> pd.Series:
    """`numbers`: what the markers are in a column of numbers."""
    if is_number(column):
        if numbers.empty and _is_finite(column):
            return column
        return column.mask(column.isin(numbers) | column.isin([np.inf, -np.inf]))
    if types.infer_dtype(column, skipna=True) not in MAYBE_NUMBERS:
        return column
    return column.astype(object).mask(column.isin(markers))


def _is_finite(column: pd.Series) -> bool:
    """Whether there is nothing infinite in it. Of ten thousand columns pandas' own ways would take ten seconds."""
    return isinstance(column.dtype, np.dtype) and not np.isinf(column.to_numpy()).any()


def _refuse_empty(features: pd.DataFrame) -> None:
    empty = [str(name) for name in features if features[name].isna().all()]
    if empty:
        message = f"no row of the training part has a value of {', '.join(empty)}"
        raise DataError("trial.data.drop", message, "drop it" if len(empty) == 1 else "drop them")


def _why_not(column: pd.Series, data: Data) -> str | None:
    if is_number(column) or types.is_bool_dtype(column) or _is_learned_date(column, data):
        return None
    distinct = as_text(column).nunique()
    is_text = types.infer_dtype(column, skipna=True) == "string"
    if is_text and distinct <= ID_DISTINCT:  # a few dates, such as those of censuses, are names like others
        return None
    if why := why_no_date(column, data):
        return why
    if _are_all(column, SIGNED_NUMBER):
        return f"numbers with signs between or beside the digits, such as {column.dropna().iloc[0]}: write plain ones"
    if names_rows(column):
        return f"{distinct} distinct values in {len(column)} rows: an id or text, not a category"
    return None


def _is_learned_date(column: pd.Series, data: Data) -> bool:
    return is_typed(column) and (data.find_dates or column.name in data.dates)


def _are_all(column: pd.Series, pattern: re.Pattern[str]) -> bool:
    values = column.dropna()
    return len(values) > 0 and all(isinstance(value, str) and pattern.fullmatch(value.strip()) for value in values)
