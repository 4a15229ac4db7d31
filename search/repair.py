"""From a point that breaks an inequality to one that keeps them all.

Two ways, for two kinds of samplers. What a model proposes is moved to the nearest point of the region: by a mixed
integer program, with the distance as the sum of what each parameter moves by, in shares of its range. What is to be
random walks on from there, a parameter at a time drawn anew from what the others leave it (Gibbs sampling), until
where it began no longer shows.

Only parameters that stand in an inequality move, and of these none that a condition looks at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from search.inequality import Inequality
from search.parameters import Choice, Constant, Range
from search.region import Region, number

Floats = NDArray[np.float64]
Point = dict[str, JsonValue]

SWEEPS = 30  # of the random walk, over all parameters that may move
MARGIN = 1e-6  # kept from the border, in shares of what the terms can come to: solvers keep it to 1e-7
SOLVER_SECONDS = 0.2
INFEASIBLE = 2  # scipy's status


def nearest(region: Region, point: Mapping[str, JsonValue]) -> Point | None:
    """The nearest point that keeps the inequalities, with the same parameters active; None if none was found."""
    if region.broken(point) is None:
        return dict(point)
    for close in (False, True):
        moved = _Program(region, point, region.steering, close).solution()
        if moved is not None and region.broken(moved) is None:
            return moved
    return None


def is_empty(region: Region, point: Mapping[str, JsonValue], held: Collection[str]) -> bool:
    """Whether it is certain that no point keeps the inequalities that has the same parameters and the held values."""
    return region.broken(point) is not None and _Program(region, point, held, close=True).is_infeasible()


def wandered(region: Region, point: Mapping[str, JsonValue], rng: np.random.Generator) -> Point:
    """A random point of the region, by a walk from a point of it."""
    names = _movable(region, region.steering, _applying(region, point))
    here = dict(point)
    for _ in range(SWEEPS):
        for name in names:
            there = here | {name: _drawn(region, here, name, rng)}
            if region.broken(there) is None:
                here = there
    return here


def drawn(parameter: Choice | Constant | Range, rng: np.random.Generator) -> JsonValue:
    """A random value of a parameter: uniform, or uniform in its logarithm."""
    if not isinstance(parameter, Range):
        return parameter.at(int(rng.integers(parameter.size)))
    return _within(parameter, parameter.low, parameter.top, rng)


def _applying(region: Region, point: Mapping[str, JsonValue]) -> list[Inequality]:
    return [each for each in region.inequalities if each.coefficients.keys() <= point.keys()]


def _movable(region: Region, held: Collection[str], inequalities: Sequence[Inequality]) -> list[str]:
    named = dict.fromkeys(name for each in inequalities for name in each.coefficients)
    return [name for name in named if name not in held and (region.parameters[name].size or 2) > 1]


def _drawn(region: Region, here: Mapping[str, JsonValue], name: str, rng: np.random.Generator) -> JsonValue:
    """One parameter anew, as far as the values of the others let it."""
    parameter = region.parameters[name]
    if not isinstance(parameter, Range):
        return drawn(parameter, rng)
    low, high = float(parameter.low), float(parameter.top)
    for each in _applying(region, here):
        if coefficient := each.coefficients.get(name):
            others = math.fsum(c * number(here[other]) for other, c in each.coefficients.items() if other != name)
            limit = (each.bound - others) / coefficient
            low, high = (low, min(high, limit)) if coefficient > 0 else (max(low, limit), high)
    return _within(parameter, low, max(low, high), rng)


def _within(parameter: Range, low: float, high: float, rng: np.random.Generator) -> JsonValue:
    """A value of a range between two of its values, or near to these; where it has steps, a step."""
    if parameter.size is None:
        value = math.exp(rng.uniform(math.log(low), math.log(high))) if parameter.log else rng.uniform(low, high)
        return min(max(float(value), parameter.low), parameter.high)
    step = float(parameter.step or 1)
    if parameter.log:  # whole numbers, each as wide as from half a step below it to half a step above
        value = math.exp(rng.uniform(math.log(max(low - 0.5, 0.5)), math.log(high + 0.5)))
        return parameter.at(min(max(round((value - parameter.low) / step), 0), parameter.size - 1))
    first = math.ceil((low - parameter.low) / step - 1e-9)
    last = math.floor((high - parameter.low) / step + 1e-9)
    return parameter.at(min(max(int(rng.integers(first, max(first, last) + 1)), 0), parameter.size - 1))


@dataclass
class _Column:
    """A parameter in the program: its value is `low` plus the variables times `widths`."""

    low: float
    widths: list[float]  # one variable of a range, one a value of a choice
    integral: bool
    most: float  # of each variable
    start: int = field(default=0)  # the place of the first variable


class _Program:
    """The mixed integer program of a point: variables of the parameters, then how far each range has moved."""

    def __init__(self, region: Region, point: Mapping[str, JsonValue], held: Collection[str], close: bool) -> None:
        """
        Args:
            held: the parameters that keep their values.
            close: go up to the border itself, where the inequality is not strict.
        """
        self._region, self._point, self._close = region, point, close
        self._inequalities = _applying(region, point)
        self._columns: dict[str, _Column] = {}
        count = 0
        for name in _movable(region, held, self._inequalities):
            column = self._columns[name] = _column(region, name)
            column.start, count = count, count + len(column.widths)
        self._variables = count
        self._ranges = [name for name in self._columns if isinstance(region.parameters[name], Range)]

    def is_infeasible(self) -> bool:
        return self._solve() is None

    def solution(self) -> Point | None:
        """The point of the least cost; None if there is none, or the time did not suffice."""
        found = self._solve()
        if found is None or not len(found):
            return None
        return {**self._point, **{name: self._value(name, found) for name in self._columns}}

    def _solve(self) -> Floats | None:
        """The variables; None if there is no solution, nothing (no variables) if none was found in time."""
        from scipy.optimize import Bounds, LinearConstraint, milp  # takes 0.2 s, which studies without need not wait

        columns = list(self._columns.values())
        if not columns:
            return None  # nothing can move
        integrality = np.zeros(self._variables + len(self._ranges))
        upper = np.full(len(integrality), np.inf)
        for column in columns:
            integrality[column.start : column.start + len(column.widths)] = column.integral
            upper[column.start : column.start + len(column.widths)] = column.most
        rows, least, most = self._rows()
        result = milp(
            self._costs(),
            integrality=integrality,
            bounds=Bounds(0, upper),
            constraints=LinearConstraint(rows, least, most),
            options={"time_limit": SOLVER_SECONDS},
        )
        if result.status == INFEASIBLE:
            return None
        return np.empty(0) if result.x is None else np.asarray(result.x)

    def _costs(self) -> Floats:
        costs = np.zeros(self._variables + len(self._ranges))
        costs[self._variables :] = 1
        for name, column in self._columns.items():
            if name not in self._ranges:
                values = np.array(column.widths)
                away = np.abs(values - number(self._point[name]))
                costs[column.start : column.start + len(values)] = away / (np.ptp(values) or 1)
        return costs

    def _rows(self) -> tuple[Floats, Floats, Floats]:
        """(rows, variables), with the least and the most of each (rows,)."""
        rows: list[Floats] = []
        least: list[float] = []
        most: list[float] = []
        for each in self._inequalities:
            row, bound = self._row(each)
            rows, least, most = [*rows, row], [*least, -math.inf], [*most, bound]
        for name, column in self._columns.items():
            if name not in self._ranges:
                row = np.zeros(self._variables + len(self._ranges))
                row[column.start : column.start + len(column.widths)] = 1
                rows, least, most = [*rows, row], [*least, 1.0], [*most, 1.0]
        for place, name in enumerate(self._ranges):
            column = self._columns[name]
            at = (number(self._point[name]) - column.low) / column.widths[0]
            for sign in (1, -1):  # the distance is at least the move, in either direction
                row = np.zeros(self._variables + len(self._ranges))
                row[column.start], row[self._variables + place] = sign / column.most, -1
                rows, least, most = [*rows, row], [*least, -math.inf], [*most, sign * at / column.most]
        return np.array(rows), np.array(least), np.array(most)

    def _row(self, each: Inequality) -> tuple[Floats, float]:
        """An inequality over the variables, in shares of what its terms can come to."""
        row, bound = np.zeros(self._variables + len(self._ranges)), each.bound
        for name, coefficient in each.coefficients.items():
            column = self._columns.get(name)
            if column is None:
                bound -= coefficient * number(self._point[name])
            else:
                bound -= coefficient * column.low
                row[column.start : column.start + len(column.widths)] = coefficient * np.array(column.widths)
        has_floats = any(not self._columns[name].integral for name in each.coefficients if name in self._columns)
        room = self._region.room(each) or 1.0
        return row / room, bound / room - (MARGIN if each.strict or (has_floats and not self._close) else 0)

    def _value(self, name: str, found: Floats) -> JsonValue:
        parameter, column = self._region.parameters[name], self._columns[name]
        variables = found[column.start : column.start + len(column.widths)]
        if not isinstance(parameter, Range):
            return parameter.at(int(np.argmax(variables)))
        if parameter.size is not None:
            return parameter.at(min(max(round(float(variables[0])), 0), parameter.size - 1))
        return float(min(max(column.low + column.widths[0] * variables[0], parameter.low), parameter.high))


def _column(region: Region, name: str) -> _Column:
    parameter = region.parameters[name]
    if isinstance(parameter, Choice):
        return _Column(0.0, [number(value) for value in parameter.values], True, 1)
    if not isinstance(parameter, Range):
        raise TypeError(f"{name} is a constant")
    if parameter.size is None:
        return _Column(float(parameter.low), [float(parameter.high - parameter.low)], False, 1)
    return _Column(float(parameter.low), [float(parameter.step or 1)], True, parameter.size - 1)
