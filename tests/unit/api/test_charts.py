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
