"""Distributions of Optuna by name, as `optuna.distributions.distribution_to_json` writes each of them.

They may stand as that function's text or as the object itself, in the full form ({"name": …, "attributes": …}) or in
the short one that Optuna's own command reads ({"type": …}).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from trialyard.importing.foreign import Draft, Section
from trialyard.importing.ranges import floats, integers, steps

_OLD = {
    "UniformDistribution": ("float", False),
    "LogUniformDistribution": ("float", True),
    "DiscreteUniformDistribution": ("float", False),
    "IntUniformDistribution": ("int", False),
    "IntLogUniformDistribution": ("int", True),
}
_KINDS = {"FloatDistribution": "float", "IntDistribution": "int", "CategoricalDistribution": "categorical"}


def read(file: Section) -> Draft:
    """The parameters of a file of distributions; it says nothing else about a study."""
    draft = Draft()
    for name in file.names():
        entry = _entry(file, name)
        if entry.is_mapping and (read := _read_distribution(entry)) is not None:
            draft.parameters[name] = read
    return draft


def _entry(file: Section, name: str) -> Section:
    content = file.take(name)
    if isinstance(content, str):
        with suppress(ValueError):  # no mapping then, which is what will be told
            content = json.loads(content)
    return Section(content, name, file.findings)


def _read_distribution(entry: Section) -> dict[str, Any] | None:
    if "type" in entry:
        return _read_kind(entry, entry.text("type"), entry)
    name, attributes = entry.text("name"), entry.section("attributes")
    entry.close()
    if name in _OLD:
        kind, log = _OLD[name]
        return _read_numbers(attributes, kind, log)
    return _read_kind(attributes, _KINDS.get(name or ""), entry, name)


def _read_kind(attributes: Section, kind: str | None, entry: Section, name: str | None = None) -> dict[str, Any] | None:
    if kind == "categorical":
        values = attributes.choices("choices")
        attributes.close()
        return {"values": values}
    if kind in ("float", "int"):
        return _read_numbers(attributes, kind, bool(attributes.take("log", False)))
    entry.wrong("", f"{name or kind!r} is no distribution of Optuna's")
    return None


def _read_numbers(attributes: Section, kind: str, log: bool) -> dict[str, Any] | None:
    low, high = attributes.number("low"), attributes.number("high")
    step = attributes.number("q" if "q" in attributes else "step")
    attributes.close()
    if kind == "int":
        return integers(attributes, low, high, step, log)
    return floats(attributes, low, high, log) if step is None else steps(attributes, low, high, step)
