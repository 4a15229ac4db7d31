"""The section `parameter_constraints`: linear inequalities that every proposal keeps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from pydantic import JsonValue

from search.conditions import Conditions
from search.findings import Finding, shown
from search.inequality import Inequality, NotLinear, read_inequality
from search.parameters import Parameter
from search.region import Region, can_hold, extremes_of
from search.repair import is_empty
from search.suggestions import nearest

MOST_CONSTRAINTS = 32
SECTION = "parameter_constraints"
Needs = Mapping[str, Mapping[str, JsonValue]]  # by parameter the values that it may have, by identity

_CURE = "take one of them out, or widen a range"
_SHAPE = 'as in parameter_constraints: ["model.width_low < model.width_high"]'


def read_inequalities(section: object) -> tuple[tuple[Inequality, ...], list[Finding]]:
    """What the section says, each for itself; nothing where a part of it cannot be read."""
    if not isinstance(section, list):
        return (), [Finding((SECTION,), f"must be a list of inequalities, not {shown(section)}", _SHAPE)]
    if len(section) > MOST_CONSTRAINTS:
        return (), [Finding((SECTION,), f"has {len(section)} entries", f"{MOST_CONSTRAINTS} are the most")]
    inequalities, findings = [], []
    for place, text in enumerate(section):
        if not isinstance(text, str):
            findings.append(Finding((SECTION, place), f"must be text, not {shown(text)}", _SHAPE))
            continue
        try:
            inequalities.append(read_inequality(text))
        except NotLinear as error:
            message = f"{error.message}, at character {error.at} of {shown(text)}"
            findings.append(Finding((SECTION, place), message, error.hint))
    return ((), findings) if findings else (tuple(inequalities), [])


def check_inequalities(
    inequalities: Sequence[Inequality], parameters: Mapping[str, Parameter], section: object
) -> list[Finding]:
    """What the inequalities have to do with the parameters and with each other.

    Args:
        parameters: those that could be read, of the document's section `parameters`.
    """
    named = section if isinstance(section, dict) else {}
    findings = [
        finding
        for place, each in enumerate(inequalities)
        for name in each.coefficients
        if (finding := _check_name((SECTION, place), name, parameters, named)) is not None
    ]
    is_read = all(name in parameters for each in inequalities for name in each.coefficients)
    if findings or not is_read or len(parameters) < len(named):
        return findings
    findings = [
        finding
        for place, each in enumerate(inequalities)
        if (finding := _check_alone((SECTION, place), each, parameters)) is not None
    ]
    return findings or _check_together(inequalities, parameters)


def _check_name(
    at: tuple[str | int, ...], name: str, parameters: Mapping[str, Parameter], section: Mapping[str, object]
) -> Finding | None:
    if name not in section:
        return Finding(at, f"{shown(name)} is no parameter of this study", nearest(name, section))
    if name not in parameters:
        return None  # what is wrong with it is told where it stands
    try:
        extremes_of(parameters[name])
    except TypeError:
        hint = "an inequality is between numbers"
        return Finding(at, f"{shown(name)} has values that are no numbers", hint)
    return None


def _check_alone(at: tuple[str | int, ...], each: Inequality, parameters: Mapping[str, Parameter]) -> Finding | None:
    if not can_hold(each, parameters):
        extremes = {name: extremes_of(parameters[name]) for name in each.coefficients}
        ranges = ", ".join(f"{name} from {low:g} to {high:g}" for name, (low, high) in extremes.items())
        return Finding(at, f"never holds, with {ranges}", "change the inequality or a range")
    if _together(each.coefficients, parameters) is None:
        names = ", ".join(each.coefficients)
        hint = "it counts only while all its parameters take part"
        return Finding(at, f"never counts: the conditions of {names} exclude each other", hint)
    return None


def _check_together(inequalities: Sequence[Inequality], parameters: Mapping[str, Parameter]) -> list[Finding]:
    """The first inequality that leaves nothing beside the earlier ones, while all its parameters take part."""
    for place, last in enumerate(inequalities):
        needs = _together(last.coefficients, parameters) or {}
        if _leaves_nothing(inequalities[: place + 1], parameters, {*last.coefficients, *needs}, needs):
            needed = list(range(place))
            for other in range(place):
                fewer = [each for each in needed if each != other]
                kept = [*(inequalities[each] for each in fewer), last]
                if _leaves_nothing(kept, parameters, {*last.coefficients, *needs}, needs):
                    needed = fewer
            beside = " and ".join(f"{SECTION}[{each}]" for each in needed)
            return [Finding((SECTION, place), f"leaves nothing of the space, together with {beside}", _CURE)]
    return []


def _leaves_nothing(
    inequalities: Sequence[Inequality], parameters: Mapping[str, Parameter], active: Collection[str], needs: Needs
) -> bool:
    """Whether it is certain that no point with these parameters active keeps the inequalities.

    Of the values that conditions let a parameter have, one alone binds it here: with several the search finds out.
    """
    point = {name: each.extremes()[0] for name, each in parameters.items() if name in active or not each.when}
    point |= {name: next(iter(values.values())) for name, values in needs.items()}
    held = {name for name, values in needs.items() if len(values) == 1}
    return is_empty(Region(parameters, inequalities), point, held)


def _together(names: Iterable[str], parameters: Mapping[str, Parameter]) -> Needs | None:
    """The values that others must have for all the parameters to be active; None if nothing makes them so."""
    needs, allowed = Conditions(parameters).needs, dict[str, dict[str, JsonValue]]()
    for name in names:
        for other, values in needs[name].items():
            known = allowed.get(other, values)
            allowed[other] = {key: value for key, value in known.items() if key in values}
    return allowed if all(allowed.values()) else None
