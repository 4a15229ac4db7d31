"""Numbers and times as the page writes them."""

from __future__ import annotations

import pytest

from api.page_text import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4.25, "4.2 s"),
        (47.9, "47 s"),
        (192, "3 min 12 s"),
        (3599.9, "59 min 59 s"),
        (7500, "2 h 05 min"),
        (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)
def test_times_are_told_in_two_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
