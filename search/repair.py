"""From a point that breaks an inequality to one that keeps them all.

Two ways, for two kinds of samplers. What a model proposes is moved to the nearest point of the region. What is to be
random walks on from there, a parameter at a time drawn anew from what the others leave it (Gibbs sampling), until where
it began no longer shows.

Only parameters that stand in an inequality move, and of these none that a condition looks at.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from search.branching import Outcome, Program
from search.conditions import Conditions
from search.inequality import Inequality
from search.parameters import Choice, Constant, Range
from search.region import Region, number

Point = dict[str, JsonValue]

MOST_STARTS = 100  # random points from which a way into the inequalities is looked for
SWEEPS = 30  # of the random walk, over all parameters that may move


def nearest(region: Region, point: Mapping[str, JsonValue], held: Collection[str] = ()) -> Point | None:
    """The nearest point that keeps the inequalities, with the same parameters active and the held values; None if none
    was found.
    """
    if region.broken(point) is None:
        return dict(point)
    for close in (False, True):
        moved, is_certain = _moved(region, point, region.steering.union(held), close)
        if moved is not None and region.broken(there := {**point, **moved}) is None:
            return there
        if moved is None and not is_certain:
            break  # the border does not make it easier
    return None


def is_empty(region: Region, point: Mapping[str, JsonValue], held: Collection[str]) -> bool:
    """Whether it is certain that no point keeps the inequalities that has the same parameters and the held values."""
    return region.broken(point) is not None and _moved(region, point, held, close=True) == Outcome(None, True)


def completion(region: Region, conditions: Conditions, given: Mapping[str, JsonValue]) -> Point | None:
    """A point that keeps the inequalities and has the given values, always the same one; None if none was found."""
    rng, tried = np.random.default_rng(0), set[tuple[JsonValue, ...]]()
    for _ in range(MOST_STARTS if region.steering - given.keys() else 1):
        start = conditions.fill(lambda name: given[name] if name in given else drawn(region.parameters[name], rng))
        # Where the same inequalities apply and hold the same values, there is a way from every start or from none.
        applying = _applying(region, start)
        held = {name for each in applying for name in each.coefficients if name in region.steering}
        problem = (*(each.text for each in applying), *(start[name] for name in sorted(held)))
        if problem not in tried and (found := nearest(region, start, given)) is not None:
            return found
        tried.add(problem)
    return None


def wandered(
    region: Region, point: Mapping[str, JsonValue], rng: np.random.Generator, held: Collection[str] = ()
) -> Point:
    """A random point of the region, by a walk from a point of it. The held values stay."""
    names = _movable(region, region.steering.union(held), _applying(region, point))
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


def _moved(region: Region, point: Mapping[str, JsonValue], held: Collection[str], close: bool) -> Outcome:
    inequalities = _applying(region, point)
    return Program(region, point, inequalities, _movable(region, held, inequalities), close).solve()


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
