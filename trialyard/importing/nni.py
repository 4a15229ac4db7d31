"""Search spaces of NNI (JSON): `{name: {_type: …, _value: […]}}`, with choices that may hold spaces of their own."""

from __future__ import annotations

from typing import Any

from trialyard.importing.branches import Branches, When
from trialyard.importing.foreign import Draft, Section, as_number
from trialyard.importing.ranges import BOUNDS_HINT, NO_BOUNDS, floats, integers, quantized, quantized_log

_UNBOUNDED = ("normal", "qnormal", "lognormal", "qlognormal")
_ARGUMENTS = {"randint": 2, "uniform": 2, "loguniform": 2, "quniform": 3, "qloguniform": 3}


def read(file: Section) -> Draft:
    """The parameters of a search space; it says nothing else about a study."""
    branches = Branches()
    _read_space(file, "", {}, branches)
    return Draft(parameters=branches.parameters())


def _read_space(space: Section, prefix: str, when: When, branches: Branches) -> None:
    """Add the parameters of a space, which take part under the condition `when`."""
    for name in space.names():
        entry = space.section(name)
        if not entry.is_mapping:
            continue
        kind = entry.text("_type")
        values = entry.choices("_value") if kind == "choice" else entry.values("_value")
        entry.close()
        if kind == "choice":
            read: dict[str, Any] | None = {"values": _read_options(entry, prefix + name, values, when, branches)}
        else:
            read = _read_range(entry, kind, values)
        if read is not None:
            branches.add(entry, "", prefix + name, read, when)


def _read_options(entry: Section, name: str, values: list[Any], when: When, branches: Branches) -> list[Any]:
    """The options of a choice. One with `_name` is a space of its own, whose parameters take part only under it."""
    options: list[Any] = []
    for place, value in enumerate(values):
        if not (isinstance(value, dict) and "_name" in value):
            options.append(value)
            continue
        option = Section(value, f"{entry.path}._value[{place}]", entry.findings)
        options.append(option.take("_name"))
        _read_space(option, f"{name}.", {**when, name: [options[-1]]}, branches)
    return options


def _read_range(entry: Section, kind: str | None, values: list[Any]) -> dict[str, Any] | None:
    if kind in _UNBOUNDED:
        entry.wrong("_type", f"{kind} {NO_BOUNDS}", BOUNDS_HINT)
        return None
    if kind not in _ARGUMENTS:
        entry.wrong("_type", f"{kind!r} is none of choice, {', '.join(_ARGUMENTS)}")
        return None
    if kind == "randint" and len(values) == 1:
        values = [0, *values]  # as NNI wrote it before 0.7
    numbers = [number for number in map(as_number, values) if number is not None]
    if len(numbers) != len(values) or len(numbers) != _ARGUMENTS[kind]:
        entry.wrong("_value", f"must be {_ARGUMENTS[kind]} numbers for {kind}")
        return None
    low, high, *rest = numbers
    match kind:
        case "randint":
            return integers(entry, low, high - 1)  # NNI excludes the upper bound
        case "uniform":
            return floats(entry, low, high)
        case "loguniform":
            return floats(entry, low, high, log=True)
        case "quniform":
            return quantized(entry, low, high, rest[0])
    return quantized_log(entry, low, high, rest[0])
