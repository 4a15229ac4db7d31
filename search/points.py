"""Points of a space that people give: whole, checked, and in the study file the first ones to be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from search.conditions import Conditions
from search.findings import Finding, shown
from search.parameters import Parameter, Range
from search.region import Region
from store.errors import Problem

SECTION = "enqueue"
MOST_ENQUEUED = 1_000

_SHAPE = "as in enqueue: [{optimizer.lr: 1e-3}]"


def check_point(conditions: Conditions, region: Region, given: Mapping[str, JsonValue]) -> list[Problem]:
    """What keeps given parameters from being a point of the space; nothing if they are one."""
    problems = [
        Problem(f"parameters.{name}", "is no parameter of this study", f"it has {', '.join(region.parameters)}")
        for name in given
        if name not in region.parameters
    ]
    values: dict[str, JsonValue] = {}
    for name in conditions.order:
        active, parameter = conditions.is_active(name, values), region.parameters[name]
        if active != (name in given):
            what = "is missing" if active else "has no part here"
            hint = "every active parameter needs a value" if active else _when(parameter)
            problems.append(Problem(f"parameters.{name}", what, hint))
        elif active and not _holds(parameter, given[name]):
            problems.append(
                Problem(f"parameters.{name}", f"{shown(given[name])} is not in the space", _range(parameter))
            )
        if active and name in given:
            values[name] = given[name]
    if not problems and (broken := region.broken(given)) is not None:
        problems.append(Problem("parameters", f"break the constraint {broken.text}", "see parameter_constraints"))
    return problems


def completed(conditions: Conditions, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Given parameters, and those that take part beside them as far as their values are known."""
    values = {**known, **given}
    active = conditions.fill(values.get)
    return {**{name: value for name, value in active.items() if name in values}, **given}


def read_enqueued(
    section: object, region: Region, known: Mapping[str, Any]
) -> tuple[tuple[dict[str, Any], ...], list[Finding]]:
    """The first trials' parameters, whole.

    Args:
        known: what the trials train with where an entry does not say it.
    """
    if not isinstance(section, list):
        return (), [Finding((SECTION,), f"must be a list of parameters with values, not {shown(section)}", _SHAPE)]
    if len(section) > MOST_ENQUEUED:
        return (), [Finding((SECTION,), f"has {len(section):,} entries", f"{MOST_ENQUEUED:,} are the most")]
    conditions = Conditions(region.parameters)
    points: list[dict[str, Any]] = []
    findings: list[Finding] = []
    for place, given in enumerate(section):
        if not isinstance(given, dict):
            findings.append(Finding((SECTION, place), f"must be parameters with values, not {shown(given)}", _SHAPE))
            continue
        point = completed(conditions, given, known)
        findings += _findings(place, check_point(conditions, region, point), point.keys() - given.keys())
        points.append(point)
    return ((), findings) if findings else (tuple(points), [])


def _findings(place: int, problems: list[Problem], filled: set[str]) -> Iterator[Finding]:
    for problem in problems:
        name = problem.path.removeprefix("parameters").removeprefix(".")
        at = (SECTION, place, name) if name else (SECTION, place)
        if name in filled:
            yield Finding(at, f"is left out, and what `trial` says, {problem.message}", problem.hint)
        else:
            yield Finding(at, problem.message, problem.hint)


def _holds(parameter: Parameter, value: JsonValue) -> bool:
    return parameter.holds(value) if isinstance(parameter, Range) else parameter.index(value) is not None


def _range(parameter: Parameter) -> str:
    document = parameter.document()
    document.pop("when", None)
    return f"it takes {shown(document)}"


def _when(parameter: Parameter) -> str:
    return f"it is active only when {shown(parameter.document().get('when'))}"
