"""Pictures of a report: what stands below their axes."""

from __future__ import annotations

import re

import pytest

from api.charts import Point, figure


@pytest.mark.parametrize(
    ("low", "high", "below"),
    [
        (0.012, 0.08, ["0.02", "0.05"]),  # no power of ten lies in between
        (0.001, 0.1, ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"]),
        (1e-5, 0.1, ["1e-05", "0.0001", "0.001", "0.01", "0.1"]),
    ],
)
def test_a_logarithmic_axis_has_round_numbers_however_short_it_is(low: float, high: float, below: list[str]) -> None:
    picture = figure([Point(low, 0.0), Point(high, 1.0)], [], "lr", "loss", log_x=True)

    assert picture is not None
    assert re.findall(r'text-anchor="middle">([0-9.e-]+)</text>', str(picture)) == below


def test_of_many_names_as_many_stand_below_as_have_room() -> None:
    names = [f"n{place}" for place in range(10_000)]

    picture = str(figure([Point(0, 0.0), Point(20, 1.0)], [], "x", "loss", names=names))

    assert re.findall(r">(n[0-9]+)</text>", picture) == [f"n{place}" for place in range(0, 10_000, 1250)]
    assert [place for place in re.findall(r'cx="([0-9.]+)"', picture) if float(place) > 100] == []  # among the first


@pytest.mark.parametrize(
    "values", [(-1.7e308, 1.7e308), (0.0, 1.7e308), (1.7e308, 1.7e308), (-1e-300, 1e-300), (0.0, 0.0)]
)
def test_values_at_the_ends_of_all_floats_are_drawn(values: tuple[float, float]) -> None:
    picture = str(figure([Point(n, value) for n, value in enumerate(values)], [], "trial", "loss"))

    heights = [float(each) for each in re.findall(r'cy="([0-9.]+)"', picture)]
    assert len(heights) == 2
    assert (heights[0] > heights[1]) == (values[0] < values[1])  # what is larger stands higher
    assert "inf" not in picture
    assert "nan" not in picture
