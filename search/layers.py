"""Widths and cells layer by layer, and the depth that says how many there are: whether they agree for every trial."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from search.conditions import Conditions
from search.findings import Finding
from search.parameters import Parameter, identity
from trainer.config import layer_of

DEPTH = "model.depth"
MOST_DEPTHS = 100  # a knob that has more values is refused for what they are


def check_layers(knobs: Mapping[str, Parameter], trial: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with knobs of single layers, beyond their values.

    Args:
        knobs: those that could be read, with conditions on none but each other.
    """
    lists: dict[str, dict[int, str]] = {}
    for name in knobs:
        if (layer := layer_of(name)) is not None:
            lists.setdefault(layer.of, {})[layer.place] = name
    findings: list[Finding] = []
    for path, layers in lists.items():
        wrong = list(chain(_given_twice(path, layers, knobs, trial), _gaps(path, layers)))
        findings += wrong or list(_against_depth(path, layers, knobs, trial))[:3]
    return findings


def _given_twice(
    path: str, layers: Mapping[int, str], knobs: Mapping[str, Parameter], trial: Mapping[str, Any]
) -> Iterator[Finding]:
    section, key = path.split(".")
    example = layers[min(layers)]
    if path in knobs:
        message = f"is searched as a whole, and {example} is a part of it"
        yield Finding(("parameters", path), message, "take one of them out")
    if key in _section(trial, section):
        yield Finding(("trial", section, key), f"is given, and {example} is searched", "take one of them out")


def _gaps(path: str, layers: Mapping[int, str]) -> Iterator[Finding]:
    missing = next(place for place in range(len(layers) + 1) if place not in layers)
    if missing < len(layers):
        after = layers[min(place for place in layers if place > missing)]
        yield Finding(("parameters", after), f"has no layer before it: {path}.{missing} is not searched", "add it")


def _against_depth(
    path: str, layers: Mapping[int, str], knobs: Mapping[str, Parameter], trial: Mapping[str, Any]
) -> Iterator[Finding]:
    """Where depth is told, as many layers take part as it says, for each of its values."""
    needs = Conditions(knobs).needs
    for depth in _depths(knobs, trial):
        admitted = {
            place for place, name in layers.items() if DEPTH not in needs[name] or identity(depth) in needs[name][DEPTH]
        }
        for place in range(depth):
            if place not in layers:
                at = ("parameters", DEPTH) if DEPTH in knobs else ("trial", "model", "depth")
                yield Finding(at, f"a depth of {depth} needs {path}.{place}", "add it, or take a smaller depth")
                return
            if place not in admitted:
                message = f"leaves layer {place} out where {DEPTH} is {depth}"
                yield Finding(("parameters", layers[place], "when"), message, _condition(place))
        for place in sorted(admitted - set(range(depth))):
            message = f"takes part where {DEPTH} is {depth}, which has no layer {place}"
            yield Finding(("parameters", layers[place]), message, _condition(place))


def _depths(knobs: Mapping[str, Parameter], trial: Mapping[str, Any]) -> list[int]:
    """The values that depth has in this study, where it is told."""
    knob = knobs.get(DEPTH)
    if knob is None:
        told = _section(trial, "model").get("depth")
        return [told] if isinstance(told, int) else []
    size = knob.size
    if size is None or size > MOST_DEPTHS:
        return []
    return [value for value in map(knob.at, range(size)) if isinstance(value, int)]


def _section(trial: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = trial.get(name)
    return section if isinstance(section, dict) else {}


def _condition(place: int) -> str:
    return f"write when: {{{DEPTH}: {{at_least: {place + 1}}}}}" if place else "leave the condition out"
