"""Columns of dates, and how their texts are read. Which columns they are is found out by looking at the whole table, as
of numbers.

A text is a date by itself only where it can be read one way: with the year first. What `03/04/2023` means is said by
whoever knows it, in `data.dates`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from trainer.config import ISO, Data
from trainer.errors import DataError

# 2023-05-01, 2023/5/1, 2023-05-01T14:30, 2023-05-01 14:30:01.5+02:00
YEAR_FIRST = re.compile(
    r"\d{4}([-/.])\d{1,2}\1\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d{1,9})?)?( ?(Z|[+-]\d{2}(:?\d{2})?))?)?"
)
YEAR_ELSEWHERE = re.compile(r"\d{1,2}([-/.])\d{1,2}\1(\d{4}|\d{2})([T ]\d{1,2}:\d{2}.*)?")  # 1/5/2023, 01.05.23 14:30
OFFSET = re.compile(r"(?<=[\d ])(Z|[+-]\d{2}(:?\d{2})?)$")
FEW = 20  # distinct texts: so few dates, such as those of censuses, are names like others
ORDERS = {4: ("%d{0}%m{0}%Y", "%m{0}%d{0}%Y"), 2: ("%d{0}%m{0}%y", "%m{0}%d{0}%y", "%y{0}%m{0}%d")}
TIMES = ("", "{}%H:%M", "{}%H:%M:%S", "{}%H:%M:%S.%f", "{}%I:%M %p", "{}%I:%M:%S %p")
HINT = "if it means that the date is missing, list it in data.missing_values"


class Found(NamedTuple):
    """What was read of a column."""

    at: pd.Series  # in UTC, as if what says no time zone said this one; missing where there is no date
    zoned: NDArray[np.bool_]  # (rows,), whether a time zone was said
    wrong: NDArray[np.bool_]  # (rows,), whether there is something that is no date

    @property
    def given(self) -> pd.Series:
        """The dates as a column of its own type: without a zone, where none of them said one."""
        return self.at if self.zoned.any() else self.at.dt.tz_localize(None)


def with_dates(table: pd.DataFrame, data: Data, other: frozenset[str | None]) -> pd.DataFrame:
    """The table with dates in place of the texts of the columns that `data.dates` names, and of those that hold nothing
    but texts with the year first, if they are to be found.

    Args:
        other: columns that are something else, unless they are named.

    Raises:
        DataError: a column that is named is not there, or holds something else.
    """
    named = {name: _named(table[name], written) for name, written in data.dates.items()}
    looks = data.find_dates and data.text is None
    rest = [str(name) for name in table if looks and name not in {*named, *other}]
    inferred = {name: found for name in rest if (found := _inferred(table[name])) is not None}
    return table.assign(**named, **inferred)


def read_dates(column: pd.Series, written: str) -> Found:
    """Dates of any kind: as a file with types has them, or texts and numbers that are written so; where the year does
    not come first, texts with the year first besides.
    """
    if types.infer_dtype(column, skipna=True) in ("date", "datetime", "datetime64"):
        typed = pd.to_datetime(column)
        zoned = typed.dt.tz is not None
        at = typed.dt.tz_convert("UTC") if zoned else typed.dt.tz_localize("UTC")
        return Found(at.dt.as_unit("us"), np.full(len(column), zoned), np.zeros(len(column), np.bool_))
    texts = column.astype(object).map(_as_text, na_action="ignore")
    at, zoned_texts = _read_year_first(texts) if written == ISO else _read_as(texts, written)
    if not written.startswith("%Y") and written != ISO and at.isna().any():
        others, zoned_others = _read_year_first(texts.where(at.isna()))
        at, zoned_texts = at.fillna(others), zoned_texts | zoned_others
    return Found(at, zoned_texts, (at.isna() & column.notna()).to_numpy())


def is_date(column: pd.Series) -> bool:
    """Whether it holds dates or durations, or texts that all look like dates."""
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        return True
    if (kind := types.infer_dtype(column, skipna=True)) != "string":
        return kind in ("date", "datetime")
    return all(YEAR_FIRST.fullmatch(each) or YEAR_ELSEWHERE.fullmatch(each) for each in column.dropna().str.strip())


def leaves_order_open(value: object) -> bool:
    """Whether it is a text that is a date in which the year does not come first."""
    return isinstance(value, str) and YEAR_ELSEWHERE.fullmatch(value.strip()) is not None


def is_typed(column: pd.Series) -> bool:
    """Whether it holds dates that need not be read any more."""
    return types.is_datetime64_any_dtype(column)


def ways_to_read(column: pd.Series) -> list[str]:
    """How the dates of a column may be written: `iso`, or all that strptime could be told; none where they are none."""
    if _inferred(column) is not None or is_typed(column):
        return [ISO]
    if types.infer_dtype(column, skipna=True) != "string" or not is_date(column):
        return []
    texts = column.dropna().str.strip().drop_duplicates()
    if len(texts) <= FEW:
        return []
    if (first := YEAR_ELSEWHERE.fullmatch(texts.iloc[0])) is None:
        return []
    between = "T" if "T" in texts.iloc[0] else " "
    orders = [order.format(first[1]) for order in ORDERS[len(first[2])]]
    formats = [order + time.format(between) for order in orders for time in TIMES]
    for some in (texts.head(FEW), texts):  # most ways are ruled out by the first
        formats = [each for each in formats if _read_as(some, each)[0].notna().all()]
    return formats


def why_no_date(column: pd.Series, data: Data) -> str | None:
    """Why a column is left out that looks like one of dates; None for others."""
    if types.is_timedelta64_dtype(column):
        return "a duration: give it as a number, of days or seconds"
    if is_date(column):
        return _why_unread(column) if data.find_dates else "a date: data.dates says how it is written"
    return _but_for(column) if types.infer_dtype(column, skipna=True) == "string" else None


def _but_for(column: pd.Series) -> str | None:
    """Of texts that are dates with the year first in most rows, which are not."""
    found = read_dates(column, ISO)
    if not 0 < found.wrong.sum() < found.at.notna().sum():
        return None
    first = str(column.iloc[found.wrong.argmax()])
    return f"dates, but for {found.wrong.sum()} of {len(column)} rows, as {first[:40]!r}: {HINT}"


def _why_unread(column: pd.Series) -> str:
    ways = ways_to_read(column)
    if ways == [ISO]:
        return f"dates in the rows that train, but not in all that validate or test: {HINT}"
    told = " or ".join(f"{{{column.name}: {each!r}}}" for each in ways)
    if len(ways) == 1:
        return f"dates that do not begin with the year: data.dates: {told} reads them"
    if ways:
        return f"dates that can be read in {len(ways)} ways: say which it is, as data.dates: {told}"
    if why := _but_for(column):
        return why
    return "dates that are not all written alike, or with a time zone only in some: write them as 2023-05-01T14:30"


def _named(column: pd.Series, written: str) -> pd.Series:
    """Raises: DataError: something in the column is no date."""
    if is_typed(column):
        return column
    found = read_dates(column, written)
    name, has = column.name, found.at.notna().to_numpy()
    if found.wrong.any():
        row = int(found.wrong.argmax())
        what = f"column {name}: {str(column.iloc[row])[:60]!r} in row {row + 1} is no date written as {written}"
        raise DataError("trial.data.dates", what, HINT)
    if len(set(found.zoned[has])) > 1:
        row = int((has & (found.zoned != found.zoned[has][0])).argmax())
        what = f"column {name}: some dates say a time zone and some do not, as in row {row + 1}"
        raise DataError("trial.data.dates", what, "write all of them one way")
    return _typed(column, found)


def _inferred(column: pd.Series) -> pd.Series | None:
    """The dates of a column that holds nothing else, and can be read in one way only; None of others."""
    kind = types.infer_dtype(column, skipna=True)
    if is_typed(column) or kind not in ("string", "date", "datetime"):
        return None
    if kind == "string" and (column.nunique() <= FEW or not _begins_with_year(column)):
        return None
    found = read_dates(column, ISO)
    alike = len(set(found.zoned[found.at.notna().to_numpy()])) == 1
    return _typed(column, found) if alike and not found.wrong.any() else None


def _begins_with_year(column: pd.Series) -> bool:
    """Of the first text, which spares looking at all the others."""
    return YEAR_FIRST.fullmatch(str(column.dropna().iloc[0]).strip()) is not None


def _typed(column: pd.Series, found: Found) -> pd.Series:
    """Without a zone, or in the one that all texts say; where they say several, in UTC."""
    offsets = {match[1] for match in _offsets(column) if match is not None} if found.zoned.any() else set()
    return found.at.dt.tz_convert(_zone(*offsets)) if len(offsets) == 1 else found.given


def _offsets(column: pd.Series) -> Iterator[re.Match[str] | None]:
    return (OFFSET.search(_as_text(value)) for value in column.dropna())


def _zone(offset: str) -> str:
    digits = offset[1:].replace(":", "")
    return "UTC" if not digits.strip("0") else f"{offset[0]}{digits[:2]}:{digits[2:] or '00'}"


def _as_text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if hasattr(value, "isoformat") else str(value).strip()


def _read_year_first(texts: pd.Series) -> tuple[pd.Series, NDArray[np.bool_]]:
    """(rows,) each: the dates in UTC, and whether they say a time zone."""
    matches = [YEAR_FIRST.fullmatch(each) if isinstance(each, str) else None for each in texts]
    read = texts.where(np.array([match is not None for match in matches], np.bool_))
    at = pd.to_datetime(read, format="ISO8601", utc=True, errors="coerce").dt.as_unit("us")
    return at, np.array([match is not None and match[6] is not None for match in matches], np.bool_)


def _read_as(texts: pd.Series, written: str) -> tuple[pd.Series, NDArray[np.bool_]]:
    at = pd.to_datetime(texts, format=written, utc=True, errors="coerce").dt.as_unit("us")
    return at, at.notna().to_numpy() & ("%z" in written)
