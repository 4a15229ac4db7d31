"""Columns of dates: which are found, what is read of them, and what a model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from tests.unit.trainer.conftest import CPU
from trainer.config import Data
from trainer.data.calendar import CYCLES, fit_date
from trainer.data.dates import read_dates, ways_to_read
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.schema import Schema
from trainer.errors import DataError
from trainer.rows import WrongRows, read_rows

ROWS = 900
HOURS = pd.Series(pd.date_range("2023-01-01", periods=ROWS, freq="13h"))  # to 2 May 2024, twelve hours of the day


def prepared(folder: Path, dates: pd.Series | list[object], /, ending: str = "csv", **data: Any) -> Prepared:
    table = pd.DataFrame({"x": range(ROWS), "d": dates, "y": ["a", "b"] * (ROWS // 2)})
    if ending == "csv":
        table.to_csv(folder / "rows.csv", index=False)
    else:
        table.to_parquet(folder / "rows.parquet")
    return prepare(Data(source=f"file:rows.{ending}", **data), device=CPU, data_folders=[folder])


def schema_of(found: Prepared) -> Schema:
    assert isinstance(found.schema, Schema)
    return found.schema


def written(as_: str) -> list[object]:
    return [each.strftime(as_) for each in HOURS]


def sent(schema: Schema, *dates: object) -> tuple[list[list[float]], list[str]]:
    """What a model sees of dates in a request, of the first column nothing, and the notes."""
    table, notes = read_rows(schema, [{"x": 0, "d": each} for each in dates])
    return schema.encode(table)[0][:, 1:].round(4).tolist(), notes


@pytest.mark.parametrize(
    ("text", "as_", "expected"),
    [
        ("2023-05-01", "iso", "2023-05-01T00:00:00"),
        (" 2023/5/1 4:30", "iso", "2023-05-01T04:30:00"),
        ("2023.05.01T04:30:01.5", "iso", "2023-05-01T04:30:01.500000"),
        ("2023-05-01T01:30+02:00", "iso", "2023-04-30T23:30:00"),
        ("2023-05-01 01:30Z", "iso", "2023-05-01T01:30:00"),
        ("9999-12-31", "iso", "9999-12-31T00:00:00"),
        ("2023-02-30", "iso", None),
        ("2023-05", "iso", None),
        ("2023-05/01", "iso", None),
        ("03/04/2023", "iso", None),
        ("soon", "iso", None),
        (20230501, "iso", None),
        ("03/04/2023", "%d/%m/%Y", "2023-04-03T00:00:00"),
        ("03/04/2023", "%m/%d/%Y", "2023-03-04T00:00:00"),
        ("2023-04-03", "%d/%m/%Y", "2023-04-03T00:00:00"),  # the year first is read beside what was said
        ("2023-04-03", "%Y-%d-%m", "2023-03-04T00:00:00"),
        ("2023-04-13", "%Y-%m/%d", None),  # and where the year is said to come first, nothing is
        ("01.02.68", "%d.%m.%y", "2068-02-01T00:00:00"),
        ("01.02.69", "%d.%m.%y", "1969-02-01T00:00:00"),
        (20230501, "%Y%m%d", "2023-05-01T00:00:00"),
        (20230501.0, "%Y%m%d", "2023-05-01T00:00:00"),  # as it is read beside a gap
        ("May 1, 2023 02:30 PM", "%B %d, %Y %I:%M %p", "2023-05-01T14:30:00"),
    ],
)
def test_a_date_is_read_as_it_is_written_and_else_not_at_all(text: object, as_: str, expected: str | None) -> None:
    found = read_dates(pd.Series([text, None], dtype=object), as_)

    [at, gap] = found.at.dt.tz_localize(None)
    assert (None if at is pd.NaT else at.isoformat()) == expected
    assert gap is pd.NaT
    assert found.wrong.tolist() == [expected is None, False]
    assert found.zoned.tolist() == [isinstance(text, str) and text.endswith(("Z", "+02:00")), False]


@pytest.mark.parametrize(
    ("clock", "day", "week", "month", "year"),
    [
        ("2024-02-29T00:00", 0, 3 / 7, 28 / 29, 59 / 366),  # a Thursday of a leap year
        ("2024-02-29T18:00", 0.75, 3 / 7, 28 / 29, 59 / 366),
        ("2023-12-31T06:00", 0.25, 6 / 7, 30 / 31, 364 / 365),  # a Sunday
        ("1969-12-29T12:00", 0.5, 0, 28 / 31, 362 / 365),  # a Monday, before the clocks' zero
    ],
)
def test_where_a_date_stands_in_the_calendar(clock: str, day: float, week: float, month: float, year: float) -> None:
    of = np.array([np.datetime64(clock, "us"), np.datetime64("NaT")])

    places = {name: cycle.place(of) for name, cycle in CYCLES.items()}

    assert {name: place[0] for name, place in places.items()} == pytest.approx(
        {"day": day, "week": week, "month": month, "year": year}
    )
    assert all(np.isnan(place[1]) for place in places.values())


def test_a_model_sees_the_days_passed_and_two_waves_of_each_cycle() -> None:
    column = pd.Series(pd.date_range("2024-01-01", periods=21, freq="12h"), name="d").dt.as_unit("us")  # to 11 January

    date = fit_date(column, Data(source="sklearn:iris", normalize="minmax"))

    assert (date.first, date.last, date.cycles) == (
        "2024-01-01T00:00:00.000000", "2024-01-11T00:00:00.000000", ("day", "week"),
    )  # fmt: skip
    sunday = 2 * np.pi * 6 / 7
    seen = date.encode(pd.Series(["2024-01-06T06:00", "2024-01-07", None, "2024-01-22"]))
    saturday = 2 * np.pi * 5 / 7
    expected = [
        [0.525, 0, 1, np.cos(saturday), np.sin(saturday)],
        [0.6, 1, 0, np.cos(sunday), np.sin(sunday)],
        [0.5, 0, 0, 0, 0],  # the median, and nowhere in the day or the week
        [2.1, 1, 0, 1, 0],  # long after
    ]
    np.testing.assert_allclose(seen, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("dates", "cycles"),
    [
        (pd.date_range("2024-01-01", periods=24, freq="h"), ()),  # no hour of it comes again
        (pd.date_range("2024-01-01", periods=25, freq="h"), ("day",)),
        (pd.date_range("2024-01-01", periods=26, freq="D"), ("week",)),  # and no time of day is said
        (pd.date_range("2020-01-06", periods=60, freq="7D"), ("month", "year")),  # Mondays
        (pd.date_range("2020-01-01", periods=40, freq="MS"), ("week", "year")),  # the firsts of months
        (pd.DatetimeIndex(["2024-01-01"] * 30), ()),
    ],
)
def test_a_cycle_is_seen_where_the_dates_go_round_it(dates: pd.DatetimeIndex, cycles: tuple[str, ...]) -> None:
    assert fit_date(pd.Series(dates, name="d"), Data(source="sklearn:iris")).cycles == cycles


def test_what_is_learned_of_dates_is_learned_from_the_rows_that_train(tmp_path: Path) -> None:
    by_time = prepared(tmp_path, HOURS, dates={"d": "iso"}, split={"time": "d"})

    # of 900 rows 540 train, which is 292 days: no year has passed
    [date] = schema_of(by_time).dates
    assert (date.first[:10], date.last[:10]) == ("2023-01-01", str(HOURS[539])[:10])
    assert date.cycles == ("day", "week", "month")
    passed = by_time.train.inputs[0][:, 1]
    assert (passed.mean().abs().item(), passed.std().item()) == pytest.approx((0, 1), abs=0.01)
    assert by_time.test is not None
    assert by_time.test.inputs[0][:, 1].min() > passed.max()


def test_the_column_that_orders_the_rows_is_learned_from_only_where_it_is_said(tmp_path: Path) -> None:
    assert prepared(tmp_path, HOURS, split={"time": "d"}).columns == ["x"]
    assert prepared(tmp_path, HOURS, split={"time": "d"}, dates={"d": "iso"}).columns == ["x", "d"]


@pytest.mark.parametrize(
    ("dates", "why"),
    [
        (written("%Y-%m-%d"), None),
        (written("%Y-%m-%dT%H:%M:%SZ"), None),
        ([f"2020-01-{1 + row % 20:02}" for row in range(ROWS)], "category"),
        (written("%d/%m/%Y"), "dates that do not begin with the year: data.dates: {d: '%d/%m/%Y'} reads them"),
        (written("%m-%d-%Y %H:%M"), "dates that do not begin with the year: data.dates: {d: '%m-%d-%Y %H:%M'} reads"),
        (written("%m/%d/%Y %I:%M %p"), "dates that do not begin with the year: data.dates: {d: '%m/%d/%Y %I:%M %p'}"),
        (
            [f"{1 + row % 12:02}/{1 + row // 12 % 12:02}/2023" for row in range(ROWS)],
            "dates that can be read in 2 ways: say which it is, as data.dates: {d: '%d/%m/%Y'} or {d: '%m/%d/%Y'}",
        ),
        (
            written("%d.%m.%y"),
            "dates that can be read in 2 ways: say which it is, as data.dates: {d: '%d.%m.%y'} or {d: '%y.%m.%d'}",
        ),
        (["unknown" if at.day == 9 else str(at) for at in HOURS], "dates, but for "),
        (["2023-02-30" if at.day == 9 else str(at) for at in HOURS], "dates, but for "),
        (["2023-02-30", *written("%Y-%m-%d")][:ROWS], "dates in the rows that train, but not in all that validate"),
        ([f"{at}Z" if at.day == 9 else str(at) for at in HOURS], "dates that are not all written alike"),
        ([f"{at.day}.{at.month}.2023 {at.hour} Uhr" for at in HOURS], "429 distinct values"),
    ],
)
def test_dates_that_can_be_read_one_way_are_found_and_others_left_out_with_the_reason(
    tmp_path: Path, dates: list[object], why: str | None
) -> None:
    schema = schema_of(prepared(tmp_path, dates))

    if why in (None, "category"):
        assert [len(schema.dates), len(schema.categorical)] == ([1, 0] if why is None else [0, 1])
    else:
        [excluded] = schema.excluded
        assert excluded.why.startswith(why.split("429")[0] if "429" in why else why)


def test_dates_are_left_alone_where_nobody_shall_look_for_them(tmp_path: Path) -> None:
    silent = prepared(tmp_path, HOURS, find_dates=False)

    assert silent.columns == ["x"]
    assert schema_of(silent).excluded[0].why == "a date: data.dates says how it is written"
    assert prepared(tmp_path, HOURS, find_dates=False, dates={"d": "iso"}).columns == ["x", "d"]
    assert prepared(tmp_path, HOURS, "parquet", find_dates=False).columns == ["x"]


def test_seconds_since_1970_are_numbers(tmp_path: Path) -> None:
    assert schema_of(prepared(tmp_path, [int(at.timestamp()) for at in HOURS])).dates == ()


def test_what_is_said_to_be_a_date_is_one_in_every_row(tmp_path: Path) -> None:
    few = [f"2020-01-{1 + row % 3:02}" for row in range(ROWS)]
    assert len(schema_of(prepared(tmp_path, few, dates={"d": "iso"})).dates) == 1
    gaps = ["never" if row % 9 else str(at) for row, at in enumerate(HOURS)]
    found = prepared(tmp_path, gaps, missing_values=["never"])
    assert (found.columns, found.missing["d"]) == (["x", "d"], 800)


@pytest.mark.parametrize(
    ("dates", "data", "message", "hint"),
    [
        (
            ["never" if row == 7 else str(at) for row, at in enumerate(HOURS)], {"dates": {"d": "iso"}},
            "column d: 'never' in row 8 is no date written as iso", "list it in data.missing_values",
        ),
        (
            written("%d/%m/%Y"), {"dates": {"d": "%m/%d/%Y"}},
            "column d: '13/01/2023' in row 24 is no date written as %m/%d/%Y", "missing_values",
        ),
        (
            [f"{at}Z" if row == 7 else str(at) for row, at in enumerate(HOURS)], {"dates": {"d": "iso"}},
            "column d: some dates say a time zone and some do not, as in row 8", "one way",
        ),
        (HOURS, {"dates": {"e": "iso"}}, "there is no column 'e'", "x, d, y"),
        (HOURS, {"dates": {"d": "iso"}, "target": "d"}, "d is the target", "leave it out there"),
        (
            written("%d/%m/%Y"), {"split": {"time": "d"}},
            "d holds '01/01/2023', whose day and month could be either way round", "{d: '%d/%m/%Y'}",
        ),
    ],
)  # fmt: skip
def test_dates_that_are_not_as_was_said_are_refused(
    tmp_path: Path, dates: Any, data: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(DataError) as refused:
        prepared(tmp_path, dates, **data)

    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"dates": {"d": "%d/%m"}}, "a date needs a year"),
        ({"dates": {"d": "%d %Y"}}, "a day its month"),
        ({"dates": {"d": "DD/MM/YYYY"}}, "a date needs a year"),
        ({"dates": {"d": "%d/%m/%Y %I:%M"}}, "hours up to 12 need %I and %p"),
        ({"dates": {"d": "%Q/%Y"}}, "%Q is not read"),
        ({"dates": {"d": "iso"}, "categorical": ["d"]}, "d stands in dates and in categorical"),
    ],
)
def test_formats_that_can_tell_no_date_are_refused_with_the_study(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Data.model_validate({"source": "sklearn:iris"} | data)


@pytest.mark.parametrize(
    ("zone", "hour"),
    [
        (None, 13),
        ("UTC", 13),
        ("+02:00", 13),
        ("Europe/Berlin", 13),
        ("America/New_York", 13),
    ],
)
def test_the_hour_is_that_of_the_clock_where_the_rows_come_from(tmp_path: Path, zone: str | None, hour: int) -> None:
    """13 o'clock in the zone of the training, however a request says it."""
    local = HOURS if zone is None else HOURS.dt.tz_localize(zone, ambiguous=np.ones(ROWS, bool), nonexistent="NaT")
    schema = schema_of(prepared(tmp_path, local, "parquet"))

    at = pd.Timestamp("2023-07-03T13:00").tz_localize(zone)
    spellings = [at.isoformat()] + (
        [at.tz_convert("UTC").isoformat(), at.tz_convert("+05:30").isoformat()] if zone else []
    )
    seen, notes = sent(schema, *spellings)

    assert notes == []
    assert all(each == seen[0] for each in seen)
    angle = 2 * np.pi * hour / 24
    assert seen[0][1:3] == pytest.approx([np.cos(angle), np.sin(angle)], abs=1e-3)


@pytest.mark.parametrize("zone", ["UTC", "+05:30", "Europe/Berlin", "America/New_York"])
def test_a_date_at_the_end_of_time_is_one_in_every_zone(tmp_path: Path, zone: str) -> None:
    """Data bases write 9999-12-31 for what has no end."""
    never = pd.Series([pd.Timestamp("9999-12-31T23:59:59").as_unit("us")] * 10).dt.tz_localize("UTC")
    ending = pd.concat([HOURS.iloc[10:].dt.tz_localize("UTC").dt.as_unit("us"), never], ignore_index=True)

    schema = schema_of(prepared(tmp_path, ending.dt.tz_convert(zone), "parquet"))

    seen, _ = sent(schema, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00+14:00")
    assert np.isfinite(seen).all()
    with pytest.raises(WrongRows, match="write it as 9999-12-"):
        sent(schema, "never")


def test_texts_with_one_offset_keep_it_and_with_several_are_in_utc(tmp_path: Path) -> None:
    east, west = (
        schema_of(prepared(tmp_path, [f"{at}{zone}" for at in HOURS])).dates[0] for zone in ("+0200", "-05:30")
    )
    several = schema_of(prepared(tmp_path, [f"{at}+0{1 + at.month // 6}:00" for at in HOURS])).dates[0]

    assert (east.zone, west.zone, several.zone) == ("UTC+02:00", "UTC-05:30", "UTC")


def test_dates_of_a_parquet_file_are_dates_of_any_type(tmp_path: Path) -> None:
    days = pd.Series([at.date() for at in HOURS])

    assert schema_of(prepared(tmp_path, days, "parquet")).dates[0].cycles == ("week", "month", "year")
    lasting = prepared(tmp_path, HOURS - HOURS[0], "parquet")
    assert schema_of(lasting).excluded[0].why == "a duration: give it as a number, of days or seconds"


def test_rows_to_predict_for_are_read_as_the_training_s_were(tmp_path: Path) -> None:
    schema = schema_of(prepared(tmp_path, written("%d/%m/%Y %H:%M"), dates={"d": "%d/%m/%Y %H:%M"}))

    seen, notes = sent(
        schema, "03/04/2023 13:00", " 2023-04-03T13:00", None, "", "03/04/2031 13:00", "31/12/2022 23:00"
    )

    assert seen[0] == seen[1] != seen[2] == seen[3]
    [date] = schema.dates
    assert notes == [
        f"d: 2 rows have no value; it was taken as {date.fill}, as in training",
        f"d: 2 rows have a date outside those of the training, {date.first[:10]} to {date.last[:10]}",
    ]


@pytest.mark.parametrize(
    ("zone", "value", "message"),
    [
        ("", "03/04/2023", "'03/04/2023' is no date"),
        ("", 1_680_000_000, "'1680000000.0' is no date"),
        ("", True, "'True' is no date"),
        ("", ["2023-04-03"], "\"['2023-04-03']\" is no date"),
        ("", "2023-04-03T13:00Z", "'2023-04-03T13:00Z' says a time zone, and the dates of the training say none"),
        ("Z", "2023-04-03T13:00", "'2023-04-03T13:00' says no time zone, and the dates of the training say one"),
    ],
)
def test_a_date_that_does_not_fit_is_refused_by_its_row(tmp_path: Path, zone: str, value: object, message: str) -> None:
    schema = schema_of(prepared(tmp_path, [f"{at}{zone}" for at in HOURS]))

    with pytest.raises(WrongRows) as refused:
        read_rows(schema, [{"x": 1, "d": None}, {"x": 1, "d": value}])

    [problem] = refused.value.problems
    assert (problem.path, problem.message) == ("rows[1].d", message)
    assert problem.hint == f"write it as {schema.dates[0].example}; null is a gap"
    sent(schema, schema.dates[0].example)


def test_a_test_set_whose_dates_are_others_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1, 2], "d": ["2023-05-01", "soon"], "y": ["a", "b"]}).to_csv(tmp_path / "test.csv")

    with pytest.raises(DataError, match="column d, row 2: 'soon' is no date") as refused:
        prepared(tmp_path, HOURS, test_source="file:test.csv")

    assert refused.value.path == "trial.data.test_source"


@pytest.mark.parametrize(
    ("dates", "ways"),
    [
        (HOURS, ["iso"]),
        (written("%Y/%m/%d %H:%M"), ["iso"]),
        (written("%d.%m.%Y"), ["%d.%m.%Y"]),
        (["01/02/2023"] * 30, []),
        (["soon", *written("%d.%m.%Y")], []),
        (list(range(ROWS)), []),
    ],
)
def test_how_dates_may_be_written(dates: Any, ways: list[str]) -> None:
    assert ways_to_read(pd.Series(dates)) == ways
