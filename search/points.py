"""Points of a space that people give, whole or for a sampler to complete; in the study file the first to be tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import JsonValue

from search.conditions import Conditions
from search.findings import Finding, shown
from search.parameters import Parameter, Range
from search.region import Region
from search.repair import completion
from store.errors import Problem

SECTION = "enqueue"
MOST_ENQUEUED = 1_000

_SHAPE = "as in enqueue: [{optimizer.lr: 1e-3}]"


def check_point(conditions: Conditions, region: Region, given: Mapping[str, JsonValue]) -> list[Problem]:
    """What keeps given parameters from being a point of the space; nothing if they are one."""
    problems, _ = _looked_through(conditions, region, given, "every active parameter needs a value")
    return problems or _check_region(region, given)


def check_given(
    conditions: Conditions, region: Region, given: Mapping[str, JsonValue], sampler: str
) -> tuple[list[Problem], list[str]]:
    """What keeps a sampler from making a point of the space of given parameters, and those that it has to propose.

    What a condition keeps open until they are proposed is none of these yet.
    """
    missing = "a grid tries all of its cells: every active parameter needs a value" if sampler == "grid" else None
    problems, left_out = _looked_through(conditions, region, given, missing)
    return problems or _check_region(region, given), left_out


def check_completion(conditions: Conditions, region: Region, given: Mapping[str, JsonValue]) -> list[Problem]:
    """What keeps given parameters from ever being part of a point that keeps the inequalities."""
    if completion(region, conditions, given) is not None:
        return []
    message = "leave no values for the others that keep parameter_constraints"
    return [Problem("parameters", message, "give others, or fewer")]


def completed(conditions: Conditions, given: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Given parameters, and those that take part beside them as far as their values are known."""
    values = {**known, **given}
    active = conditions.fill(values.get)
    return {**{name: value for name, value in active.items() if name in values}, **given}


def read_enqueued(
    section: object, region: Region, known: Mapping[str, Any], sampler: str
) -> tuple[tuple[dict[str, Any], ...], list[Finding]]:
    """The first trials' parameters, as far as they are given or known.

    Args:
        known: what the trials train with where an entry does not say it.
        sampler: who proposes the others.
    """
    if not isinstance(section, list):
        return (), [Finding((SECTION,), f"must be a list of parameters with values, not {shown(section)}", _SHAPE)]
    if len(section) > MOST_ENQUEUED:
        return (), [Finding((SECTION,), f"has {len(section):,} entries", f"{MOST_ENQUEUED:,} are the most")]
    conditions = Conditions(region.parameters)
    points: list[dict[str, Any]] = []
    partial: list[int] = []
    findings: list[Finding] = []
    for place, given in enumerate(section):
        if not isinstance(given, dict):
            findings.append(Finding((SECTION, place), f"must be parameters with values, not {shown(given)}", _SHAPE))
            continue
        point = completed(conditions, given, known)
        wrong, left_out = check_given(conditions, region, point, sampler)
        findings += _findings(place, wrong, point.keys() - given.keys())
        points.append(point)
        partial += [place] if left_out else []
    # To look for a completion takes long where there is none: the first of these will do.
    hopeless = ((place, check_completion(conditions, region, points[place])) for place in partial if not findings)
    found = next(((place, wrong) for place, wrong in hopeless if wrong), None)
    findings += _findings(*found, set()) if found else []
    return ((), findings) if findings else (tuple(points), [])


def _looked_through(
    conditions: Conditions, region: Region, given: Mapping[str, JsonValue], missing: str | None
) -> tuple[list[Problem], list[str]]:
    """What is wrong with given values one by one, and the active parameters that have none.

    `missing`: a hint for these, if they must have one.
    """
    problems = [
        Problem(f"parameters.{name}", "is no parameter of this study", f"it has {', '.join(region.parameters)}")
        for name in given
        if name not in region.parameters
    ]
    values: dict[str, JsonValue] = {}
    left_out: list[str] = []
    undecided: set[str] = set()  # those of which no value is known, or not even whether they are active
    for name in conditions.order:
        parameter = region.parameters[name]
        active = conditions.is_active(name, values, undecided)
        if name in given and active is not True:
            problems.append(_misplaced(name, parameter, sorted(parameter.when.keys() & undecided), active))
        elif name in given and not _holds(parameter, given[name]):
            problems.append(
                Problem(f"parameters.{name}", f"{shown(given[name])} is not in the space", _range(parameter))
            )
        if active and name in given:
            values[name] = given[name]
        elif active is not False:
            undecided.add(name)
            left_out += [name] if active else []
            if active and missing is not None:
                problems.append(Problem(f"parameters.{name}", "is missing", missing))
    return problems, left_out


def _misplaced(name: str, parameter: Parameter, undecided: list[str], active: bool | None) -> Problem:
    if active is False:
        return Problem(f"parameters.{name}", "has no part here", _when(parameter))
    message = f"may come to have no part: {' and '.join(undecided)} is left out"
    return Problem(f"parameters.{name}", message, f"{_when(parameter)}; give that, too")


def _check_region(region: Region, given: Mapping[str, JsonValue]) -> list[Problem]:
    broken = region.broken(given)
    return (
        []
        if broken is None
        else [Problem("parameters", f"break the constraint {broken.text}", "see parameter_constraints")]
    )


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
