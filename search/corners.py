"""Few points of a space that together show every parameter's extremes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from pydantic import JsonValue

from search.conditions import Conditions
from search.parameters import Parameter, identity
from search.region import Region
from search.repair import nearest

MOST_CORNERS = 200

Point = dict[str, JsonValue]


def corners_of(region: Region) -> list[Point]:
    """All low, all high, then one parameter at a time away from the low point, until every extreme has been seen.

    Of conditional parameters the others are set so that they are active. What inequalities cut off gives way to the
    nearest point that is left, if there is one. At most 200 points.
    """
    corners = islice(_corners(region.parameters), MOST_CORNERS)
    if not region.inequalities:
        return list(corners)
    kept = [nearest(region, point) for point in corners]
    return list({identity(point): point for point in kept if point is not None}.values())


def _corners(parameters: Mapping[str, Parameter]) -> Iterator[Point]:
    conditions = Conditions(parameters)
    low = conditions.fill(lambda name: parameters[name].extremes()[0])
    high = conditions.fill(lambda name: parameters[name].extremes()[-1])
    yield low
    if identity(high) != identity(low):
        yield high
    seen = {(name, identity(value)) for point in (low, high) for name, value in point.items()}
    for name in conditions.order:
        for value in parameters[name].extremes():
            if (name, identity(value)) not in seen:
                forced = {other: next(iter(values.values())) for other, values in conditions.needs[name].items()}
                point = _with(parameters, conditions, {**forced, name: value})
                seen |= {(other, identity(each)) for other, each in point.items()}
                yield point


def _with(parameters: Mapping[str, Parameter], conditions: Conditions, forced: Point) -> Point:
    """The low point with some values set."""
    return conditions.fill(lambda name: forced[name] if name in forced else parameters[name].extremes()[0])
