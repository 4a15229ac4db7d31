"""How the parameters of one member of a population become those of another: changed a little, or drawn anew."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from search.conditions import Conditions
from search.parameters import Choice, Range
from search.region import Region
from search.repair import drawn

TRIES = 100


class Explorer:
    """The `explore` of population based training (Jaderberg et al. 2017, section 3.2); choices change as in Ray Tune.

    A number is multiplied by one of the factors and kept within its range; where it has steps it moves by one at least.
    A choice becomes the one before or behind it in the list, if there is one.
    """

    def __init__(
        self,
        region: Region,
        perturbed: Collection[str],
        factors: Sequence[float],
        resample_probability: float,
    ) -> None:
        """
        Args:
            perturbed: the parameters that change; the others stay with the weights that they shape.
            resample_probability: of each of them to be drawn anew from its range.
        """
        self._region = region
        self._parameters = region.parameters
        self._conditions = Conditions(region.parameters)
        self._perturbed = frozenset(perturbed)
        self._factors = factors
        self._resample_probability = resample_probability

    def explore(self, values: Mapping[str, JsonValue], rng: np.random.Generator) -> dict[str, JsonValue]:
        """A point of the space beside another one. What only now takes part is drawn. Where every try breaks an
        inequality between parameters, the same point.
        """
        for _ in range(TRIES):
            found = self._conditions.fill(lambda name: self._next(name, values, rng))
            if self._region.broken(found) is None:
                return found
        return dict(values)

    def _next(self, name: str, values: Mapping[str, JsonValue], rng: np.random.Generator) -> JsonValue:
        parameter = self._parameters[name]
        if name not in values:
            return drawn(parameter, rng)
        if name not in self._perturbed:
            return values[name]
        if rng.random() < self._resample_probability:
            return drawn(parameter, rng)
        if isinstance(parameter, Choice):
            return _neighbour(parameter, values[name], 1 if rng.random() < 0.5 else -1)
        factor = self._factors[int(rng.integers(len(self._factors)))]
        return _scaled(parameter, values[name], factor) if isinstance(parameter, Range) else values[name]


def _neighbour(parameter: Choice, value: JsonValue, way: int) -> JsonValue:
    place = parameter.index(value)
    return value if place is None else parameter.at(min(max(place + way, 0), parameter.size - 1))


def _scaled(parameter: Range, value: JsonValue, factor: float) -> JsonValue:
    if not isinstance(value, int | float):
        return value
    scaled = value * factor
    new = _placed(parameter, scaled)
    if new != value or parameter.size is None or factor == 1:
        return new
    up = factor > 1 if value == 0 else scaled > value
    place = (parameter.index(value) or 0) + (1 if up else -1)
    return parameter.at(min(max(place, 0), parameter.size - 1))


def _placed(parameter: Range, value: float) -> int | float:
    """The value of the range that is nearest."""
    value = min(max(value, parameter.low), parameter.top)
    if parameter.size is None:
        return float(value)
    step = 1 if parameter.step is None else parameter.step
    return parameter.at(min(round((value - parameter.low) / step), parameter.size - 1))
