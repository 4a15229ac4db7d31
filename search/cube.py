"""The points of a space as numbers that a model can measure distances between, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from search.parameters import Choice, Range
from search.space import Space

Floats = NDArray[np.float64]

HALF = math.sqrt(0.5)  # two different choices are then as far from each other as the ends of a range
MOST_TOLD_APART = 64  # choices of a parameter that have a feature each, whether or not a point has them
MIDDLE_WIDTH = 1 / 6  # standard deviation of the draws about the middle, that of the first generation of CMA-ES


class Cube:
    """A column for each parameter that is searched: of a range the place in [0, 1], of a choice its index.

    Whole numbers and steps have places in the middle of equal parts, so that a uniform draw finds all alike.
    NaN stands for a parameter that has no part in a point.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self.names = space.searched
        self._axes = [_axis(space.parameters[name]) for name in self.names]
        self.choices = np.array([axis.choices for axis in self._axes], dtype=np.intp)  # 0 of a range
        self._conditions = [self._condition(name) for name in self.names]
        self._held: dict[int, float] = {}  # the places of parameters that do not vary, by their columns

    def place(self, parameters: Mapping[str, JsonValue]) -> Floats:
        """(parameters,), of a point of the space."""
        present = zip(self.names, self._axes, strict=True)
        return np.array([axis.place(parameters[name]) if name in parameters else math.nan for name, axis in present])

    def values(self, point: Floats) -> dict[str, Any]:
        """What Optuna takes for every parameter of a point, those without a part excepted."""
        parts = zip(self.names, self._axes, point.tolist(), strict=True)
        found = {name: axis.value(place) for name, axis, place in parts if not math.isnan(place)}
        return self._space.internal(found)[0]

    def draw(self, rng: np.random.RandomState, count: int, middle: float) -> Floats:
        """(count, parameters): points at random, a share of `middle` of them normal about the middle of the ranges."""
        points = rng.random_sample((count, len(self.names)))
        near = np.flatnonzero(rng.random_sample(count) < middle)
        ranges = np.flatnonzero(self.choices == 0)
        points[np.ix_(near, ranges)] = rng.normal(0.5, MIDDLE_WIDTH, (len(near), len(ranges)))
        choices = np.flatnonzero(self.choices)
        points[:, choices] = np.floor(points[:, choices] * self.choices[choices])
        return self.settle(points)

    def settle(self, points: Floats) -> Floats:
        """The nearest points of the space: on the steps, within the bounds, and NaN where a condition does not hold."""
        for column, place in self._held.items():
            points[:, column] = place
        settled = np.column_stack([axis.snap(column) for axis, column in zip(self._axes, points.T, strict=True)])
        for place, conditions in enumerate(self._conditions):
            for parent, allowed in conditions:
                holds = np.isin(np.round(settled[:, parent], 9), allowed)
                settled[~holds, place] = math.nan
        return settled

    def holding(self, given: Mapping[str, JsonValue]) -> Cube:
        """The same, but what it draws and settles has the given values."""
        held = copy(self)
        held._held = {self.names.index(name): self._axes[self.names.index(name)].place(given[name]) for name in given}
        return held

    def coding(self, points: Floats) -> Coding:
        """The features of a model that learns these points."""
        return Coding(self.choices, points)

    def _condition(self, name: str) -> list[tuple[int, Floats]]:
        """The columns that a parameter depends on, with the places that let it take part.

        In the order of the columns a parent is settled before its children; without a part it lets nobody in.
        """
        found = []
        for other, values in self._space.parameters[name].when.items():
            if other in self.names:
                axis = self._axes[parent := self.names.index(other)]
                found.append((parent, np.round([axis.place(value) for value in values if axis.holds(value)], 9)))
        return found


class Coding:
    """How points become features: a range by its place, a choice by a one at its own place among zeros.

    Of very many choices only those that the learnt points have are told apart. All others are as far from every one of
    these as from each other, and share one place: what is asked of a model are distances to points that it has learnt.
    """

    def __init__(self, choices: NDArray[np.intp], learnt: Floats) -> None:
        """`choices`: of each parameter, 0 of a range; `learnt`: (points, parameters)."""
        self._choices = [_told_apart(count, column) for count, column in zip(choices, learnt.T, strict=True)]
        wide = choices > MOST_TOLD_APART
        widths = [1 if found is None else len(found) + rest for found, rest in zip(self._choices, wide, strict=True)]
        self.groups = np.repeat(np.arange(len(widths)), widths)  # (features,): the parameter of each
        self._first = np.cumsum(widths) - widths

    def features(self, points: Floats) -> Floats:
        """(points, features); of a parameter that has no part in a point the middle of a range, or zeros."""
        found = np.zeros((len(points), len(self.groups)))
        for column, first, choices in zip(points.T, self._first, self._choices, strict=True):
            if choices is None:
                found[:, first] = np.where(np.isnan(column), 0.5, column)
                continue
            (present,) = np.nonzero(~np.isnan(column))
            found[present, first + _places(column[present].astype(np.intp), choices)] = HALF
        return found


def _told_apart(count: int, column: Floats) -> NDArray[np.intp] | None:
    """The choices of a parameter that have a feature each, ascending; None of a range."""
    if count <= MOST_TOLD_APART:
        return np.arange(count) if count else None
    return np.unique(column[~np.isnan(column)].astype(np.intp))


def _places(values: NDArray[np.intp], choices: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where each value stands among the choices; behind the last one, if it is none of them."""
    places = np.searchsorted(choices, values)
    is_known = np.isin(values, choices)
    return np.where(is_known, places, len(choices))


class _Choices:
    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.choices = choice.size

    def holds(self, value: JsonValue) -> bool:
        return self._choice.index(value) is not None

    def place(self, value: JsonValue) -> float:
        return float(self._choice.index(value) or 0)

    def value(self, place: float) -> JsonValue:
        return self._choice.at(int(place))

    def snap(self, places: Floats) -> Floats:
        return np.clip(places, 0, self.choices - 1)


class _Numbers:
    choices = 0

    def __init__(self, numbers: Range) -> None:
        self._range = numbers
        self._step = float(numbers.step or 1)
        margin = 0.0 if numbers.size is None else 0.5 * self._step
        self._low, self._high = self._scale(numbers.low - margin), self._scale(numbers.top + margin)

    def holds(self, value: JsonValue) -> bool:
        return self._range.holds(value)

    def place(self, value: Any) -> float:
        if self._high == self._low:
            return 0.5
        return float((self._scale(value) - self._low) / (self._high - self._low))

    def value(self, place: float) -> int | float:
        raw = self._low + place * (self._high - self._low)
        raw = math.exp(raw) if self._range.log else raw
        if self._range.size is None:
            return min(max(raw, self._range.low), self._range.top)
        steps = round((raw - self._range.low) / self._step)
        return self._range.at(min(max(steps, 0), self._range.size - 1))

    def snap(self, places: Floats) -> Floats:
        places = np.clip(places, 0, 1)
        if self._range.size is None:
            return places
        raw = self._low + places * (self._high - self._low)
        raw = np.exp(raw) if self._range.log else raw
        steps = np.clip(np.round((raw - self._range.low) / self._step), 0, self._range.size - 1)
        values = self._range.low + steps * self._step
        values = np.log(values) if self._range.log else values
        width = self._high - self._low
        return (values - self._low) / width if width else np.full(len(places), 0.5)

    def _scale(self, value: float) -> float:
        return math.log(value) if self._range.log else float(value)


def _axis(parameter: object) -> _Choices | _Numbers:
    if isinstance(parameter, Choice):
        return _Choices(parameter)
    if isinstance(parameter, Range):
        return _Numbers(parameter)
    raise TypeError(f"{parameter!r} is not searched")
