"""What a model sees of a date: how much time has passed, and where it stands in the calendar. Learned from the training
part, and kept with the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainer.config import ISO, Data
from trainer.data.dates import Found, read_dates
from trainer.data.document import Document
from trainer.data.numeric import Numeric, fit_numeric
from trainer.errors import DataError

Clock = NDArray[np.datetime64]  # what a clock on the wall shows, in microseconds; NaT where there is nothing
CycleName = Literal["day", "week", "month", "year"]

DAY = np.timedelta64(1, "D")
# Zones are told of the years 1 to 9999, and 9999-12-31 often stands for no end at all: these are a day within.
EARLIEST, LATEST = pd.Timestamp("0001-01-02", tz="UTC"), pd.Timestamp("9999-12-30", tz="UTC")


class Date(Document):
    """A column of dates, by the clock on the wall in one time zone. A model sees of each how many days have passed
    since the training part's first, on the scale of a numeric column, and of each cycle where the date stands on it:
    the cosine and the sine of an angle, 0 and 0 for a missing one.

    A line and waves beside it: Kazemi et al. 2019 (Time2Vec, arXiv 1907.05321), equation 1, whose frequencies are
    learned and are those of the calendar here.
    """

    name: str
    written: str = ISO
    zone: str | None = None  # the training part's; None: it says none
    first: str  # of the training part, in ISO 8601
    last: str
    elapsed: Numeric
    cycles: tuple[CycleName, ...]

    @property
    def width(self) -> int:
        """How many numbers it is to a model."""
        return 1 + 2 * len(self.cycles)

    @property
    def fill(self) -> str:
        """The day that a missing date counts as, as far as days that have passed go."""
        return str(np.datetime64(self.first[:10]) + np.timedelta64(int(self.elapsed.fill), "D"))

    def encode(self, column: pd.Series, path: str = "rows") -> NDArray[np.float64]:
        """(rows, width). Raises: DataError: a value is no date, or says a time zone where the training said none."""
        clock = self.clock(column, path)
        waves = [wave for name in self.cycles for wave in _waves(CYCLES[name].place(clock))]
        return np.stack([self.elapsed.encode(pd.Series(_days(clock, self.first))), *waves], 1)

    def clock(self, column: pd.Series, path: str = "rows") -> Clock:
        """(rows,), in the zone of the training. Raises: DataError, as `encode`."""
        found = read_dates(column, self.written)
        if bad := self.unlike(found):
            what = self.complaint(column.iloc[bad[0]], is_date=not found.wrong[bad[0]])
            raise DataError(path, f"column {self.name}, row {bad[0] + 1}: {what}", f"write it as {self.example}")
        return _on_the_wall(found.at, self.zone)

    def unlike(self, found: Found) -> list[int]:
        """The places of what is no date, or says a time zone where the training said none, or none where it did."""
        other = found.at.notna().to_numpy() & (found.zoned != (self.zone is not None))
        return np.flatnonzero(found.wrong | other).tolist()

    def complaint(self, value: object, *, is_date: bool) -> str:
        """What is the matter with a value."""
        shown = repr(str(value)[:80])
        if not is_date:
            return f"{shown} is no date"
        said, theirs = ("a", "none") if self.zone is None else ("no", "one")
        return f"{shown} says {said} time zone, and the dates of the training say {theirs}"

    @property
    def example(self) -> str:
        """The training part's last date, written as its texts are."""
        last = pd.Timestamp(self.last).floor("s")
        zoned = last if self.zone is None else last.tz_localize(self.zone, ambiguous=True, nonexistent="shift_forward")
        return zoned.isoformat() if self.written == ISO else zoned.strftime(self.written)

    def outside(self, found: Found) -> int:
        """How many dates lie before or after those of the training part."""
        clock = _on_the_wall(found.at, self.zone)
        return int(((clock < np.datetime64(self.first)) | (clock > np.datetime64(self.last))).sum())

    def facts(self) -> dict[str, object]:
        """What was learned, for people."""
        cycles = [CYCLES[name].label for name in self.cycles]
        return {"name": self.name, "kind": "date", "since": self.first[:10], "until": self.last[:10], "cycles": cycles}


def fit_date(column: pd.Series, data: Data) -> Date:
    """Learn a column that holds at least one date. A cycle is learned from where the dates go round it once at least,
    and are not all at one place of it: others say nothing that the days passed do not say.
    """
    zone = column.dt.tz
    clock = _on_the_wall(read_dates(column, ISO).at, None if zone is None else str(zone))
    there = clock[~np.isnat(clock)]
    first, last = there.min(), there.max()
    around = [name for name, each in CYCLES.items() if last - first >= each.longest and np.ptp(each.place(there))]
    name = str(column.name)
    return Date(
        name=name,
        written=data.dates.get(name, ISO),
        zone=None if zone is None else str(zone),
        first=str(first),
        last=str(last),
        elapsed=fit_numeric(pd.Series(_days(clock, str(first)), name=name), data),
        cycles=tuple(around),
    )


class Cycle(NamedTuple):
    """What comes again and again in a calendar. `place`: from 0 to 1, how far into it each date is; NaN for none."""

    label: str
    longest: np.timedelta64
    place: Callable[[Clock], NDArray[np.float64]]


def _of_day(clock: Clock) -> NDArray[np.float64]:
    return _share(clock - clock.astype("M8[D]"), DAY)


def _of_week(clock: Clock) -> NDArray[np.float64]:
    days = _share(clock.astype("M8[D]") - np.datetime64("1970-01-05"), DAY)  # a Monday
    return days % 7 / 7


def _of_month(clock: Clock) -> NDArray[np.float64]:
    return _day_within(clock, "M8[M]")


def _of_year(clock: Clock) -> NDArray[np.float64]:
    return _day_within(clock, "M8[Y]")


CYCLES: Mapping[CycleName, Cycle] = {
    "day": Cycle("time of day", DAY, _of_day),
    "week": Cycle("day of week", 7 * DAY, _of_week),
    "month": Cycle("day of month", 31 * DAY, _of_month),
    "year": Cycle("day of year", 366 * DAY, _of_year),
}


def _on_the_wall(at: pd.Series, zone: str | None) -> Clock:
    there = at if zone is None else at.mask(at < EARLIEST, EARLIEST).mask(at > LATEST, LATEST).dt.tz_convert(zone)
    clock: Clock = there.dt.tz_localize(None).to_numpy(dtype="M8[us]")
    return clock


def _days(clock: Clock, first: str) -> NDArray[np.float64]:
    return _share(clock - np.datetime64(first, "us"), DAY)


def _day_within(clock: Clock, unit: str) -> NDArray[np.float64]:
    """The share of a month's or a year's days that have passed."""
    begins = clock.astype(unit)
    days = (begins + 1).astype("M8[D]") - begins.astype("M8[D]")
    return _share(clock.astype("M8[D]") - begins.astype("M8[D]"), days)


def _share(of: NDArray[np.timedelta64], whole: NDArray[np.timedelta64] | np.timedelta64) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = of / whole  # NaN where there is no time
    return shares


def _waves(place: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """The cosine and the sine; 0 of no place, which is as far from all of them."""
    for wave in (np.cos, np.sin):
        yield np.nan_to_num(wave(2 * np.pi * place))
