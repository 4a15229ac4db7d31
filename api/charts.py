"""Figures as SVG, for a file that is read without a browser's scripts: points, lines and bars over plain axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 10, 38  # margins
TICKS = 5
NAMES = 8  # at the most: more do not fit beside each other
FEW_DECADES = 3
FAR = 1e300  # what lies beyond stands at the edge: the length of an axis is to be a number itself


class Point(NamedTuple):
    x: float
    y: float
    text: str = ""
    kind: str = "complete"


@dataclass(frozen=True)
class Line:
    """Points joined in their order; `stepped` goes along before it goes up, as a best value so far does."""

    points: Sequence[tuple[float, float]]
    kind: str = "line"
    stepped: bool = False


def figure(
    points: Sequence[Point],
    lines: Sequence[Line],
    x_title: str,
    y_title: str,
    log_x: bool = False,
    names: Sequence[str] = (),
) -> Markup | None:
    """A picture of points and lines; None where there are none.

    Args:
        names: what stands below 0, 1, 2 … in the place of numbers; of many, some.
    """
    xs = [point.x for point in points] + [x for line in lines for x, _ in line.points]
    xs += [0, len(names) - 1] if names else []
    ys = [point.y for point in points] + [y for line in lines for _, y in line.points]
    if not xs:
        return None
    across = _Scale.over(xs, LEFT, WIDTH - RIGHT, log=log_x and min(xs) > 0)
    up = _Scale.over(_without_outliers(ys), HEIGHT - BOTTOM, TOP)
    parts = [_axes(across, up, x_title, y_title, names)]
    parts += [_line(line, across, up) for line in lines]
    parts += [_mark(point, across, up) for point in points]
    return _svg(parts, HEIGHT, f"{y_title} over {x_title}")


def bars(shares: Iterable[tuple[str, float]]) -> Markup | None:
    """Shares by name, the largest first; None where there are none."""
    rows = [(name, share) for name, share in shares if math.isfinite(share)]
    if not rows:
        return None
    most = max(share for _, share in rows) or 1.0
    parts = []
    for place, (name, share) in enumerate(rows):
        y, width = 8 + 24 * place, 380 * share / most
        parts.append(Markup('<text x="196" y="{}" text-anchor="end">{}</text>').format(y + 12, _short(name, 32)))
        parts.append(Markup('<rect class="bar" x="204" y="{}" width="{:.1f}" height="16"/>').format(y, width))
        parts.append(Markup('<text x="{:.1f}" y="{}">{:.0%}</text>').format(210 + width, y + 12, share))
    return _svg(parts, 16 + 24 * len(rows), "importance of the parameters")


_GRID = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
_BESIDE = Markup('<text x="{}" y="{:.1f}" text-anchor="end">{:g}</text>')
_BELOW = Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
_TITLE = Markup('<text class="title" x="{}" y="{}" text-anchor="middle">{}</text>')
_TURNED = Markup('<text class="title" transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>')
_CIRCLE = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3.2"><title>{}</title></circle>')


@dataclass(frozen=True)
class _Scale:
    """From values to places on the paper."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, log: bool = False) -> _Scale:
        low, high = (min(max(value, -FAR), FAR) for value in (min(values), max(values)))
        if log:
            low, high = math.log10(low), math.log10(high)
        margin = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
        return cls(low - margin, high + margin, start, end, log)

    def __call__(self, value: float) -> float:
        at = math.log10(value) if self.log else value
        share = min(max((at - self.low) / (self.high - self.low), 0.0), 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers, some five of them; of a logarithm powers of ten, and twice and five times these where few lie
        in between.
        """
        step = _round_step((self.high - self.low) / TICKS)
        if not self.log:
            return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        step = max(1, round(step))
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        factors = (1, 2, 5) if self.high - self.low < FEW_DECADES else (1,)
        found = [factor * 10.0**power for power in powers if power % step == 0 for factor in factors]
        return [tick for tick in found if self.low <= math.log10(tick) <= self.high]


def _round_step(step: float) -> float:
    power = 10 ** math.floor(math.log10(step))
    return float(power * next(factor for factor in (1, 2, 5, 10) if factor * power >= step * 0.999))


def _without_outliers(values: Sequence[float]) -> list[float]:
    """What the axis spans: a diverged trial shall not flatten all others, and stands at the edge."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    reach = 3 * (high - low) or math.inf
    return [value for value in ordered if low - reach <= value <= high + reach]


def _axes(across: _Scale, up: _Scale, x_title: str, y_title: str, names: Sequence[str]) -> Markup:
    parts = []
    for tick in up.ticks():
        parts.append(_GRID.format(LEFT, WIDTH - RIGHT, up(tick), up(tick)))
        parts.append(_BESIDE.format(LEFT - 6, up(tick) + 4, _tidy(tick)))
    every = math.ceil(len(names) / NAMES) or 1
    below = [(float(place), names[place]) for place in range(0, len(names), every)]
    below = below or [(tick, f"{_tidy(tick):g}") for tick in across.ticks()]
    parts += [_BELOW.format(across(tick), HEIGHT - BOTTOM + 16, _short(text, 18)) for tick, text in below]
    parts.append(_TITLE.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_title))
    parts.append(_TURNED.format((TOP + HEIGHT - BOTTOM) / 2, y_title))
    return Markup("").join(parts)


def _tidy(value: float) -> float:
    return float(f"{value:.6g}")


def _line(line: Line, across: _Scale, up: _Scale) -> Markup:
    path = ""
    for place, (x, y) in enumerate(line.points):
        if place and line.stepped:
            path += f"H{across(x):.1f}"
        path += f"{'L' if place else 'M'}{across(x):.1f} {up(y):.1f}"
    return Markup('<path class="{}" d="{}"/>').format(line.kind, path)


def _mark(point: Point, across: _Scale, up: _Scale) -> Markup:
    return _CIRCLE.format(point.kind, across(point.x), up(point.y), point.text)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else "…" + text[1 - most :]


def _svg(parts: Iterable[Markup], height: int, label: str) -> Markup:
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, escape(label))
    return head + Markup("").join(parts) + Markup("</svg>")
