"""Knobs of the built-in training that act in no trial of a study, because of what others are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import JsonValue

from search.conditions import Conditions
from search.findings import Finding, shown
from search.layers import DEPTH
from search.parameters import Parameter
from trainer.config import ONLY_WITH, Allowed, TrainConfig, Way, allows, in_words, layer_of

Possible = Mapping[str, tuple[JsonValue, ...]]


def idle_parameters(
    knobs: Mapping[str, Parameter], trial: Mapping[str, Any], section: Mapping[str, object]
) -> Iterator[Finding]:
    """Parameters that act for no value that others can have. Those that act for some values are fine.

    Args:
        knobs: the parameters that could be read.
        section: all of the document's.
    """
    if any(each.when.keys() - knobs.keys() for each in knobs.values()):
        return
    needs = Conditions(knobs).needs
    by_layer = _are_by_layer(knobs)
    for name in knobs:
        layer = layer_of(name)
        ways = ONLY_WITH.get(layer.of if layer else name, ())
        partners = {partner for way in ways for partner in way}
        # Of what could not be read, nobody knows what it is.
        if (name == DEPTH and by_layer) or any(each in section and each not in knobs for each in partners):
            continue
        possible = {each: _possible(each, knobs, trial) for each in partners}
        possible |= {each: tuple(values.values()) for each, values in needs[name].items()}
        if nearest := _nearest_way(ways, possible):
            yield Finding(("parameters", name), _message(ways, nearest, possible), _cure(nearest) + _condition(nearest))


def idle_settings(knobs: Mapping[str, Parameter], trial: Mapping[str, Any]) -> Iterator[Finding]:
    """Knobs that the section `trial` sets to something else than their defaults, and that no trial can use."""
    by_layer = _are_by_layer(knobs)
    for path, ways in ONLY_WITH.items():
        value, default = _told(path, trial)
        if value == default or (path == DEPTH and by_layer):
            continue
        possible = {partner: _possible(partner, knobs, trial) for way in ways for partner in way}
        if nearest := _nearest_way(ways, possible):
            at = ("trial", *path.split("."))
            yield Finding(at, _message(ways, nearest, possible), f"{_cure(nearest)}, or leave this out")


def _are_by_layer(knobs: Iterable[str]) -> bool:
    """Whether the depth of any model says how many of these knobs there are."""
    return any(layer_of(name) for name in knobs)


def _possible(partner: str, knobs: Mapping[str, Parameter], trial: Mapping[str, Any]) -> tuple[JsonValue, ...]:
    """What a knob can be: the ends of its range or its choices, and where it is not searched what `trial` says."""
    layers: list[JsonValue] = [name for name in knobs if (layer := layer_of(name)) and layer.of == partner]
    if layers:
        return (layers,)
    if partner in knobs and not knobs[partner].when:
        return knobs[partner].extremes()
    told, _ = _told(partner, trial)
    return (*knobs[partner].extremes(), told) if partner in knobs else (told,)


def _told(path: str, trial: Mapping[str, Any]) -> tuple[JsonValue, JsonValue]:
    """What the section `trial` says of a knob, and what the knob is if nobody says anything."""
    *sections, key = path.split(".")
    given: Any = trial
    model: Any = TrainConfig
    for section in sections:
        given = given.get(section) if isinstance(given, dict) else None
        annotation = model.model_fields[section].annotation
        model = next(iter(get_args(annotation)), annotation)
    default = model.model_fields[key].get_default()
    return (given[key] if isinstance(given, dict) and key in given else default), default


def _nearest_way(ways: Sequence[Way], possible: Possible) -> Way | None:
    """None if a knob can act; else what it lacks in the way that lacks least, and of these in the most special one."""
    if not ways:
        return None
    lacks = [{each: allowed for each, allowed in way.items() if not _can_be(allowed, possible[each])} for way in ways]
    fewest = min(range(len(ways)), key=lambda place: (len(lacks[place]), -len(ways[place])))
    return lacks[fewest] or None


def _can_be(allowed: Allowed, values: tuple[JsonValue, ...]) -> bool:
    return any(allows(allowed, value) for value in values)


def _message(ways: Sequence[Way], nearest: Way, possible: Possible) -> str:
    told = (" and ".join(f"{each} {in_words(allowed)}" for each, allowed in way.items()) for way in ways)
    here = (f"{each} is {' or '.join(map(shown, possible[each]))}" for each in nearest)
    return f"acts only with {', or with '.join(told)}; here {', '.join(here)}"


def _cure(nearest: Way) -> str:
    return "let " + " and ".join(f"{each} be {in_words(allowed)}" for each, allowed in nearest.items())


def _condition(nearest: Way) -> str:
    names = {each: sorted(allowed) for each, allowed in nearest.items() if not isinstance(allowed, str)}
    told = ", ".join(f"{each}: [{', '.join(allowed)}]" for each, allowed in names.items())
    return f" and add when: {{{told}}}" if told else ""
