"""Reads the section `parameters`: first each entry for itself, then their conditions together."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pydantic import JsonValue

from search.conditions import Conditions, cycle_of
from search.findings import MOST_PROBLEMS, Finding, shown
from search.parameters import Choice, Constant, Parameter, Range, When, identity
from search.suggestions import nearest

MOST_PARAMETERS = 1_000
MOST_CHOICES = 10_000
MOST_SPREAD = 100_000  # values that the bounds of all conditions stand for: each is written out and looked at
FINEST_STEP = 10**7  # steps to the larger bound; Optuna tells steps apart to 1e-8 of a step
LONGEST_NAME = 128
NARROWEST = 1e-300  # below it a deviation that is a share of the range comes to nothing

KEYS = ("values", "value", "low", "high", "min", "max", "log", "step", "when")
_KINDS = (("values",), ("value",), ("low", "high", "min", "max"))
_SHAPES = "write {low: …, high: …}, {values: […]} or {value: …}"


def read_parameters(section: object) -> tuple[dict[str, Parameter], list[Finding]]:
    """The parameters that could be read, and what is wrong with the others.

    Where conditions are wrong, the parameters come without any.
    """
    if not isinstance(section, dict):
        return {}, [Finding(("parameters",), f"must be a mapping of names to ranges, not {shown(section)}", _SHAPES)]
    if not section:
        return {}, [Finding(("parameters",), "is empty", "a search needs at least one parameter")]
    if len(section) > MOST_PARAMETERS:
        return {}, [Finding(("parameters",), f"has {len(section):,} entries", f"{MOST_PARAMETERS:,} are the most")]
    parameters: dict[str, Parameter] = {}
    findings: list[Finding] = []
    bounds: dict[str, dict[str, _Bounds]] = {}
    for name, entry in section.items():
        reader = _Entry(name, entry)
        parameter = reader.read()
        findings += reader.findings
        if parameter is not None:
            parameters[name] = parameter
            bounds[name] = reader.bounds
        if len(findings) >= MOST_PROBLEMS:
            return {}, findings
    parameters, wrong = _spread(parameters, bounds)
    wrong = wrong or _check_conditions(parameters, section)
    if findings or wrong:
        return {name: replace(each, when={}) for name, each in parameters.items()}, findings + wrong
    return _canonical(parameters), []


class _Entry:
    """One entry on its way to a parameter."""

    def __init__(self, name: str, entry: object) -> None:
        self._at = ("parameters", name)
        self._name = name
        self._entry: dict[str, Any] = dict(entry) if isinstance(entry, dict) else {}
        self._is_mapping = isinstance(entry, dict)
        self.bounds: dict[str, _Bounds] = {}  # of `when`, in place of values
        self.findings: list[Finding] = []

    def read(self) -> Parameter | None:
        """The parameter, or None if `findings` say why there is none."""
        if not 1 <= len(self._name) <= LONGEST_NAME:
            self._wrong("", "has no usable name", f"use 1 to {LONGEST_NAME} characters")
        if not self._is_mapping:
            self._wrong("", "must be a mapping", _SHAPES)
            return None
        for key in [key for key in self._entry if key not in KEYS][:10]:
            self._wrong(key, "is no key that is known here", nearest(key, KEYS))
        when = self._when()
        try:
            parameter = self._body(when)
        except _Refused as refused:
            self.findings.append(refused.finding)
        return None if self.findings else parameter

    def _body(self, when: When) -> Parameter | None:
        kinds = [[key for key in kind if key in self._entry] for kind in _KINDS]
        present = [keys[0] for keys in kinds if keys]
        if not present:
            self._refuse("", "says no values", _SHAPES)
        if len(present) > 1:
            self._refuse("", f"has both {present[0]} and {present[1]}", f"take one: {_SHAPES}")
        if kinds[2]:
            return self._range(when)
        for key in ("log", "step"):
            if key in self._entry:
                self._wrong(key, f"means nothing beside {present[0]}", "it belongs to a range, {low: …, high: …}")
        return self._choice(when) if kinds[0] else Constant(self._entry["value"], when)

    def _choice(self, when: When) -> Choice:
        values = self._entry["values"]
        if not isinstance(values, list):
            self._refuse("values", f"must be a list, not {shown(values)}", "for a constant write {value: …}")
        if not values:
            self._refuse("values", "is empty", "list at least one value")
        if len(values) > MOST_CHOICES:
            self._refuse("values", f"has {len(values):,} entries", f"{MOST_CHOICES:,} are the most")
        seen: dict[str, int] = {}
        for index, value in enumerate(values):
            first = seen.setdefault(identity(value), index)
            if first != index:
                at = (*self._at, "values", index)
                raise _Refused(
                    Finding(at, f"{shown(value)} is there already, as values[{first}]", "take one of them out")
                )
        return Choice(tuple(values), when)

    def _range(self, when: When) -> Range | None:
        low, high = self._bound("low", "min"), self._bound("high", "max")
        log = self._entry.get("log", False)
        if not isinstance(log, bool):
            self._wrong("log", f"must be true or false, not {shown(log)}")
        step = self._number("step") if self._entry.get("step") is not None else None
        if low is None or high is None or self.findings:
            return None
        if not (isinstance(low, int) and isinstance(high, int)):
            low, high = float(low), float(high)
        if low > high:
            self._refuse("", f"the range is empty: low {low} is greater than high {high}", "exchange them")
        if low == high:
            self._refuse("", f"the range holds {low} only", f"for a constant write {{value: {low}}}")
        if not math.isfinite(high - low):
            self._refuse("", "the range is wider than any float", "bring the bounds nearer to each other")
        if high - low < NARROWEST:
            self._refuse("", f"the range is narrower than {NARROWEST}", "search in a smaller unit")
        if log and low <= 0:
            self._refuse("low", f"must be greater than 0 on a log scale, and is {low}", "raise it or leave out log")
        return self._stepped(Range(low, high, log, step, when))

    def _stepped(self, parameter: Range) -> Range:
        low, high, step = parameter.low, parameter.high, parameter.step
        if step is None:
            return parameter
        if parameter.log:
            self._refuse("step", "cannot be had on a log scale", "leave out step or log")
        if parameter.whole and not isinstance(step, int):
            hint = f"for floats write a bound as one, as in low: {float(low)}"
            self._refuse("step", f"must be a whole number between whole bounds, not {step}", hint)
        if step <= 0:
            self._refuse("step", f"must be greater than 0, and is {step}")
        if not parameter.whole and max(abs(low), abs(high), high - low) / step > FINEST_STEP:
            self._refuse("step", f"{step} is too small for floats from {low} to {high}", "take a larger one")
        if (parameter.size or 0) < 2:
            self._refuse("step", f"{step} is larger than the range from {low} to {high}", "take a smaller one")
        stepped = parameter if parameter.whole else replace(parameter, step=float(step))
        if replace(stepped, high=stepped.top).top != stepped.top:
            self._refuse("", "low and step have more digits than a float can add up", "write fewer digits")
        return stepped

    def _bound(self, key: str, alias: str) -> int | float | None:
        if key in self._entry and alias in self._entry:
            self._wrong(alias, f"is the same key as {key}", "take one of them")
            return None
        if key not in self._entry and alias not in self._entry:
            self._wrong(key, "is missing", "a range has a low and a high")
            return None
        return self._number(key if key in self._entry else alias)

    def _number(self, key: str) -> int | float | None:
        value = self._entry[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._wrong(key, f"must be a number, not {shown(value)}", _unquoted(value))
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._wrong(key, f"must be a finite number, not {value}")
            return None
        return value

    def _when(self) -> When:
        if "when" not in self._entry:
            return {}
        when = self._entry["when"]
        if not isinstance(when, dict) or not when:
            self._wrong("when", "must name a parameter and its values", "as in when: {optimizer.name: [sgd, rmsprop]}")
            return {}
        allowed: dict[str, tuple[JsonValue, ...]] = {}
        for other, values in when.items():
            if isinstance(values, dict) and values.keys() & {"at_least", "at_most"}:
                self._bound_of(other, values)
                continue
            several = values if isinstance(values, list) else [values]
            if not several:
                self.findings.append(Finding((*self._at, "when", other), "lists no values", "name at least one"))
            allowed[other] = tuple({identity(value): value for value in several}.values())
        return allowed

    def _bound_of(self, other: str, told: dict[str, Any]) -> None:
        """`when: {model.depth: {at_least: 2}}`."""
        at = (*self._at, "when", other)
        for key, value in told.items():
            if key not in ("at_least", "at_most"):
                self.findings.append(Finding((*at, key), "is no key that is known here", "write at_least or at_most"))
            elif isinstance(value, bool) or not isinstance(value, int | float):
                hint = _unquoted(value) or "or list the values themselves"
                self.findings.append(Finding((*at, key), f"must be a number, not {shown(value)}", hint))
        if not self.findings:
            self.bounds[other] = _Bounds(told.get("at_least", -math.inf), told.get("at_most", math.inf))

    def _wrong(self, key: str, message: str, hint: str = "") -> None:
        """Note a finding at a key of the entry, or at the entry itself, and go on."""
        self.findings.append(Finding((*self._at, key) if key else self._at, message, hint))

    def _refuse(self, key: str, message: str, hint: str = "") -> NoReturn:
        """The same, where nothing more can be read."""
        raise _Refused(Finding((*self._at, key) if key else self._at, message, hint))


@dataclass(frozen=True)
class _Bounds:
    """The values of another parameter that a condition lets in."""

    low: float
    high: float

    def of(self, numbers: Sequence[int | float]) -> tuple[JsonValue, ...]:
        """Those within, of numbers that come in their order."""
        return tuple(numbers[bisect_left(numbers, self.low) : bisect_right(numbers, self.high)])


class _Refused(Exception):
    """An entry cannot be read any further."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


def _unquoted(value: object) -> str:
    """The hint for a number that came as text."""
    try:
        return "write it without quotes" if isinstance(value, str) and math.isfinite(float(value)) else ""
    except ValueError:
        return ""


def _spread(
    parameters: dict[str, Parameter], bounds: Mapping[str, Mapping[str, _Bounds]]
) -> tuple[dict[str, Parameter], list[Finding]]:
    """Bounds in conditions as the values that lie within them."""
    findings, count = [], 0
    spread, numbers = dict(parameters), dict[str, list[int | float]]()
    for name, of in bounds.items():
        for other, bound in of.items():
            values: tuple[JsonValue, ...] = ()
            if other in parameters:
                at, size = ("parameters", name, "when", other), parameters[other].size
                if size is not None and size > MOST_CHOICES:
                    message = f"has {size:,} values, and bounds are for {MOST_CHOICES:,} at most"
                    hint = f"let {other} have fewer values, or list here those that are meant"
                    findings.append(Finding(at, message, hint))
                    continue
                if other not in numbers:  # one that very many conditions look at is listed once
                    numbers[other] = _numbers(parameters[other])
                values = bound.of(numbers[other])
                count += len(values)
                if count > MOST_SPREAD:
                    message = f"stands, with the bounds before it, for more than {MOST_SPREAD:,} values"
                    return spread, [*findings, Finding(at, message, f"let {other} have fewer values")]
                if size is not None and not values:
                    findings.append(Finding(at, "no value lies within these bounds", _values_of(parameters[other])))
            spread[name] = replace(spread[name], when={**spread[name].when, other: values})
    return spread, findings


def _numbers(parameter: Parameter) -> list[int | float]:
    """Those of a parameter's values that are numbers, in their order."""
    values = map(parameter.at, range(parameter.size or 0))
    return sorted(each for each in values if isinstance(each, int | float) and not isinstance(each, bool))


def _check_conditions(parameters: Mapping[str, Parameter], section: Mapping[str, object]) -> list[Finding]:
    findings = []
    for name, parameter in parameters.items():
        for other, values in parameter.when.items():
            at = ("parameters", name, "when", other)
            if other == name:
                findings.append(Finding(at, "is the parameter itself", "name another one"))
            elif other in parameters:
                findings += _check_values(at, other, parameters[other], values)
            elif other not in section:
                findings.append(Finding(at, "is no parameter of this study", nearest(other, section)))
    if findings:
        return findings[:MOST_PROBLEMS]
    known = {name: parameter for name, parameter in parameters.items() if parameter.when.keys() <= parameters.keys()}
    return _check_together(_closed(known))


def _check_values(at: tuple[str, ...], name: str, other: Parameter, values: tuple[JsonValue, ...]) -> list[Finding]:
    if isinstance(other, Range) and other.size is None:
        message = "is a range of floats without a step, and a condition goes by values that can be counted"
        step = f"give {name} a step, as in step: {(other.high - other.low) / 10:g}, or list its values"
        return [Finding(at, message, f"list the values of {name}" if other.log else step)]
    never = [value for value in values if other.index(value) is None][:3]
    return [Finding(at, f"{shown(value)} is no value that it can have", _meant(value, other)) for value in never]


def _meant(value: JsonValue, other: Parameter) -> str:
    if isinstance(value, dict) and isinstance(other, Range):
        return "for bounds write at_least, at_most or both"
    return _values_of(other)


def _values_of(parameter: Parameter) -> str:
    document = parameter.document()
    document.pop("when", None)
    return f"it has {shown(document)}"


def _closed(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """Without those that depend on one that could not be read."""
    while True:
        kept = {name: each for name, each in parameters.items() if each.when.keys() <= parameters.keys()}
        if len(kept) == len(parameters):
            return kept
        parameters = kept


def _check_together(parameters: dict[str, Parameter]) -> list[Finding]:
    ring = cycle_of(parameters)
    if ring:
        at = ("parameters", ring[0], "when")
        return [Finding(at, f"goes round in a circle: {' → '.join(ring)}", "take one of the conditions out")]
    return [
        Finding(
            ("parameters", name, "when"),
            "can never hold, with the conditions of the parameters that it names",
            f"{', '.join(other for other, values in needs.items() if not values)} would need two values at once",
        )
        for name, needs in Conditions(_canonical(parameters)).needs.items()
        if not all(needs.values())
    ][:MOST_PROBLEMS]


def _canonical(parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    """With the values of conditions written as the parameters have them: 0.3 for 0.30000000000000004."""
    return {name: replace(each, when=_as_theirs(each.when, parameters)) for name, each in parameters.items()}


def _as_theirs(when: When, parameters: Mapping[str, Parameter]) -> When:
    return {
        other: tuple(_as_its(value, parameters[other]) for value in values) if other in parameters else values
        for other, values in when.items()
    }


def _as_its(value: JsonValue, other: Parameter) -> JsonValue:
    place = other.index(value)
    return value if place is None else other.at(place)
