"""Where in a space its inequalities hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from search.inequality import Inequality
from search.parameters import Choice, Parameter, Range

TOLERANCE = 1e-9  # of the largest sum that an inequality's terms can come to: 0.1 + 0.2 is at most 0.3
EXACT = 2.0**53  # up to here a float is every whole number
MOST_ROUNDS = 20  # of narrowing ranges by each other

Bounds = tuple[float, float]


class Region:
    """The points of a space that keep every inequality all of whose parameters are active."""

    def __init__(self, parameters: Mapping[str, Parameter], inequalities: Sequence[Inequality]) -> None:
        self.parameters = parameters
        self.inequalities = [tightened(each, parameters, {}) for each in inequalities]
        self.steering = {other for each in parameters.values() for other in each.when}  # what conditions look at
        bound = dict.fromkeys(name for each in inequalities for name in each.coefficients)
        self.extremes = {name: extremes_of(parameters[name]) for name in bound}
        self._rooms = [self.room(each) for each in self.inequalities]

    def broken(self, point: Mapping[str, JsonValue]) -> Inequality | None:
        """The first inequality that a point breaks; one with a parameter that the point lacks is kept."""
        for each, room in zip(self.inequalities, self._rooms, strict=True):
            if each.coefficients.keys() <= point.keys() and _total(each, point) > each.bound + _slack(each, room):
                return each
        return None

    def room(self, each: Inequality) -> float:
        """What the terms of one of the inequalities can come to."""
        return _room(each, self.extremes)

    def next_place(self, name: str, known: Mapping[str, JsonValue], place: int) -> int | None:
        """The first value of a parameter, from a place on, beyond which the inequalities may yet hold; None if none.

        Args:
            known: the values that are decided; any other parameter may be active, and may have any value.
        """
        parameter = self.parameters[name]
        size = parameter.size or 0
        if not self.inequalities:
            return place if place < size else None
        bounds = self._narrowed(name, known)
        if bounds is None:
            return None
        if name not in bounds:
            return place if place < size else None
        return next((each for each in _places(parameter, bounds[name], place) if each < size), None)

    def _narrowed(self, name: str, known: Mapping[str, JsonValue]) -> dict[str, Bounds] | None:
        """What is left of each parameter's range, as far as one inequality after the other tells; None if nothing is.

        An inequality with a parameter that may come out inactive tells nothing.
        """
        certain = [
            (each, room)
            for each, room in zip(self.inequalities, self._rooms, strict=True)
            if all(other == name or other in known or not self.parameters[other].when for other in each.coefficients)
        ]
        bounds = {
            other: (number(known[other]),) * 2 if other in known else self.extremes[other]
            for each, _ in certain
            for other in each.coefficients
        }
        for _ in range(MOST_ROUNDS):
            before = dict(bounds)
            if not all(_narrow(each, room, bounds) for each, room in certain):
                return None
            if bounds == before:
                break
        return bounds


def extremes_of(parameter: Parameter) -> Bounds:
    """The smallest and the largest value of a parameter that has numbers only.

    Raises:
        TypeError: it has others.
    """
    values = parameter.extremes()
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise TypeError("a parameter with values that are no numbers has no extremes")
    numbers = [number(value) for value in values]
    return min(numbers), max(numbers)


def number(value: JsonValue) -> float:
    """A value of a parameter that stands in an inequality, all of whose values are numbers."""
    if not isinstance(value, int | float):
        raise TypeError("an inequality is between numbers")
    return float(value)


def can_hold(each: Inequality, parameters: Mapping[str, Parameter]) -> bool:
    """Whether any values within the parameters' ranges keep one inequality by itself."""
    extremes = {name: extremes_of(parameters[name]) for name in each.coefficients}
    least = sum(min(c * low, c * high) for c, (low, high) in _terms(each, extremes))
    return least <= each.bound + _slack(each, _room(each, extremes))


def tightened(each: Inequality, parameters: Mapping[str, Parameter], fixed: Mapping[str, JsonValue]) -> Inequality:
    """The same inequality with the least bound: among whole numbers `a < b` is `a <= b - 1`.

    What the sum can come to are whole multiples of a unit, `2 * a + 4 * b` even numbers, from some number on.

    Args:
        fixed: the values of parameters that do not vary.
    """
    first, steps = 0.0, list[float]()
    for name, coefficient in each.coefficients.items():
        lattice = (number(fixed[name]), 0.0) if name in fixed else parameters[name].lattice
        if lattice is None:
            return each
        first += coefficient * lattice[0]
        steps.append(coefficient * lattice[1])
    if not all(value.is_integer() and abs(value) < EXACT for value in (first, *steps)) or abs(each.bound) > EXACT:
        return each
    unit = math.gcd(*map(int, steps)) or 1
    most = math.ceil(each.bound) - 1 if each.strict else math.floor(each.bound)
    return replace(each, bound=first + (most - int(first)) // unit * unit, strict=False)


def _terms(each: Inequality, bounds: Mapping[str, Bounds]) -> list[tuple[float, Bounds]]:
    return [(coefficient, bounds[name]) for name, coefficient in each.coefficients.items()]


def _room(each: Inequality, extremes: Mapping[str, Bounds]) -> float:
    """How large the terms can become: what rounding is measured by."""
    return sum(abs(c) * max(abs(low), abs(high)) for c, (low, high) in _terms(each, extremes)) + abs(each.bound)


def _slack(each: Inequality, room: float) -> float:
    """What the sum may be above the bound; of a strict inequality it must be below it."""
    return -TOLERANCE * room if each.strict else TOLERANCE * room


def _total(each: Inequality, point: Mapping[str, JsonValue]) -> float:
    return math.fsum(c * number(point[name]) for name, c in each.coefficients.items())


def _narrow(each: Inequality, room: float, bounds: dict[str, Bounds]) -> bool:
    """Take from every range what the least values of the others leave no place for; False if nothing is left."""
    slack = TOLERANCE * room
    least = {name: min(c * low, c * high) for name, c in each.coefficients.items() for low, high in [bounds[name]]}
    total = sum(least.values())
    if total > each.bound + _slack(each, room):
        return False
    for name, coefficient in each.coefficients.items():
        low, high = bounds[name]
        most = (each.bound + slack - (total - least[name])) / coefficient
        bounds[name] = (low, min(high, most)) if coefficient > 0 else (max(low, most), high)
    return True


def _places(parameter: Parameter, bounds: Bounds, start: int) -> Sequence[int]:
    """The places from one on whose values may lie within bounds."""
    low, high = bounds
    if isinstance(parameter, Range):
        step = float(parameter.step or 1)
        first = math.ceil((low - parameter.low) / step)
        last = math.floor((high - parameter.low) / step + 1e-6)  # the top itself may come out a hair below its step
        return range(max(start, first), last + 1)
    if isinstance(parameter, Choice):
        values = [(place, number(parameter.values[place])) for place in range(start, parameter.size)]
        return [place for place, value in values if low <= value <= high]
    return range(start, 1)
