"""The nearest point that keeps linear inequalities, by branch and bound (Land and Doig 1960).

How far a point moves is the sum of what each parameter moves by, in shares of its range. A relaxation lets every
parameter have any value of its box; where the nearest value is none of a parameter's own, the box is cut there in two.

The search ends after a number of relaxations, never by the clock: what a study proposes must not depend on how busy the
machine is.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from search.inequality import Inequality
from search.parameters import Choice, Parameter, Range
from search.region import Region, number, tightened

Floats = NDArray[np.float64]

MOST_RELAXATIONS = 100  # each takes a millisecond, or a few with a hundred parameters
MARGIN = 1e-6  # kept from the border, in shares of what the terms can come to: solvers keep it to 1e-7
GAP = 0.01  # in which nothing nearer is looked for, in shares of how far the found point is
WHOLE = 1e-6  # of the way to the next value of a parameter, that a solver's value may be away from one
INFEASIBLE = 2  # scipy's status


class Outcome(NamedTuple):
    """The values of the parameters that may move, None if none were found; whether nothing was left out."""

    moved: dict[str, JsonValue] | None
    is_certain: bool


class _Box(NamedTuple):
    low: Floats
    high: Floats


class Program:
    """What may move, and within what: the variables are how far each parameter goes up, then how far down."""

    def __init__(
        self,
        region: Region,
        point: Mapping[str, JsonValue],
        inequalities: Sequence[Inequality],
        names: Sequence[str],
        close: bool,
    ) -> None:
        """
        Args:
            inequalities: those of the region that bind the point.
            names: the parameters that may move.
            close: go up to the border itself, where the inequality is not strict.
        """
        self._region, self._names, self._close = region, names, close
        self._parameters = [region.parameters[name] for name in names]
        self._choices = [_numbers(each) for each in self._parameters]
        extremes = np.array([region.extremes[name] for name in names]).reshape(-1, 2)
        self._whole_box = _Box(extremes[:, 0], extremes[:, 1])
        self._widths = extremes[:, 1] - extremes[:, 0]
        self._at = np.array([number(point[name]) for name in names])
        fixed = {name: value for name, value in point.items() if name not in names}
        rows = [self._row(tightened(each, region.parameters, fixed), point) for each in inequalities]
        self._coefficients, self._bounds = np.array([row for row, _ in rows]), np.array([bound for _, bound in rows])

    def solve(self) -> Outcome:
        """Go into one half of each box at a time, and into none where nothing can be that is nearer."""
        best, least = None, math.inf
        boxes, is_certain = [self._whole_box] if self._names else [], True
        for _ in range(MOST_RELAXATIONS):
            if not boxes:
                break
            box = boxes.pop()
            values, cost, is_solved = self._relaxed(box)
            is_certain &= is_solved
            if values is None or cost >= least * (1 - GAP):
                continue
            halves = self._halves(box, values)
            if not halves:
                best, least = values, cost
            boxes += halves
        moved = None if best is None else dict(zip(self._names, map(_value, self._parameters, best), strict=True))
        return Outcome(moved, is_certain and not boxes)

    def _relaxed(self, box: _Box) -> tuple[Floats | None, float, bool]:
        """The nearest values within a box and how far they are, None if there are none; whether that is certain."""
        from scipy.optimize import Bounds, LinearConstraint, milp  # takes 0.2 s, which studies without need not wait

        least = np.concatenate([box.low - self._at, self._at - box.high]) / np.tile(self._widths, 2)
        most = np.concatenate([box.high - self._at, self._at - box.low]) / np.tile(self._widths, 2)
        result = milp(
            np.ones(len(most)),
            bounds=Bounds(np.maximum(least, 0), np.maximum(most, 0)),
            constraints=LinearConstraint(np.hstack([self._coefficients, -self._coefficients]), -np.inf, self._bounds),
        )
        if result.x is None:
            return None, math.inf, result.status == INFEASIBLE
        up, down = np.split(np.asarray(result.x), 2)
        return self._at + (up - down) * self._widths, float(result.fun), True

    def _halves(self, box: _Box, values: Floats) -> list[_Box]:
        """The boxes on either side of the value that is furthest between two of its parameter's, or none.

        Last, and so first to be looked into, is the one further from the point: the inequalities have driven the value
        that way, and most often hold there.
        """
        beside = np.array([self._beside(place, float(value)) for place, value in enumerate(values)])
        below, above = beside[:, 0], beside[:, 1]
        gaps = np.where(above > below, above - below, 1)
        off = np.minimum(values - below, above - values) / gaps
        place = int(np.argmax(np.where(above > below, off, 0)))
        if above[place] <= below[place] or off[place] <= WHOLE:
            return []
        low, high = box.low.copy(), box.high.copy()
        high[place], low[place] = below[place], above[place]
        halves = [_Box(low, box.high), _Box(box.low, high)]
        return halves if values[place] < self._at[place] else halves[::-1]

    def _beside(self, place: int, value: float) -> tuple[float, float]:
        """The parameter's values next to a number, on either side; of one without steps the number itself."""
        parameter, choices = self._parameters[place], self._choices[place]
        if choices:
            after = min(max(bisect_left(choices, value), 1), len(choices) - 1)
            return choices[after - 1], choices[after]
        if not isinstance(parameter, Range) or parameter.size is None:
            return value, value
        step = float(parameter.step or 1)
        before = min(max(math.floor((value - parameter.low) / step), 0), parameter.size - 2)
        return float(parameter.at(before)), float(parameter.at(before + 1))

    def _row(self, each: Inequality, point: Mapping[str, JsonValue]) -> tuple[Floats, float]:
        """An inequality over the moves, in shares of what its terms can come to."""
        row = np.array([each.coefficients.get(name, 0.0) for name in self._names])
        bound = each.bound - math.fsum(c * number(point[name]) for name, c in each.coefficients.items())
        has_floats = any(
            each.coefficients.get(name) and self._region.parameters[name].size is None for name in self._names
        )
        margin = MARGIN if each.strict or (has_floats and not self._close) else 0
        room = self._region.room(each) or 1.0
        return row * self._widths / room, bound / room - margin


def _numbers(parameter: Parameter) -> list[float]:
    """The values of a choice in their order."""
    return sorted(map(number, parameter.values)) if isinstance(parameter, Choice) else []


def _value(parameter: Parameter, value: float) -> JsonValue:
    """The parameter's own value that a solver's value stands for."""
    if isinstance(parameter, Choice):
        return min(parameter.values, key=lambda each: abs(number(each) - value))
    if not isinstance(parameter, Range):
        raise TypeError("a constant does not move")
    if parameter.size is None:
        return float(min(max(value, parameter.low), parameter.high))
    place = round((value - parameter.low) / float(parameter.step or 1))
    return parameter.at(min(max(place, 0), parameter.size - 1))
