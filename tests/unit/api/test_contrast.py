"""The colours of the page can be told from their grounds (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import api

SHEET = (Path(api.__file__).parent / "static" / "page.css").read_text()
PAIRS = {name: shades for name, *shades in re.findall(r"--([\w-]+): light-dark\(#([\da-f]{6}), #([\da-f]{6})\)", SHEET)}
WORDS = ["ink", "ink-soft", "accent", "running", "complete", "pruned", "failed", "idle"]
GROUNDS = ["ground", "surface", "raised", "accent-ground", "failed-ground", "pruned-ground"]
SERIES = ["violet", "olive", "rose"]  # lines, which want 3:1


def luminance(shade: str) -> float:
    channels = [int(shade[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("ground", GROUNDS)
def test_words_can_be_read_on_every_ground(words: str, ground: str) -> None:
    for shade, behind in zip(PAIRS[words], PAIRS[ground], strict=True):
        assert contrast(shade, behind) >= 4.5


@pytest.mark.parametrize("line", SERIES)
def test_lines_can_be_seen_on_panels(line: str) -> None:
    for shade, behind in zip(PAIRS[line], PAIRS["surface"], strict=True):
        assert contrast(shade, behind) >= 3
