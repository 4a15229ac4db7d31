"""Which finished trial a new one takes its weights from: the nearest by its architecture, and then by all else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue

from search.definition import Definition
from search.parameters import Choice, Parameter, Range
from store.messages import AttemptKey


class _Known(NamedTuple):
    attempt: int
    parameters: Mapping[str, JsonValue]


class Heritage:
    """The trials of one study that have left a model."""

    def __init__(self, study_id: int, definition: Definition) -> None:
        self._study_id, self._definition = study_id, definition
        self._known: dict[int, _Known] = {}

    def leaves(self, number: int, attempt: int, parameters: Mapping[str, JsonValue]) -> None:
        """A trial is complete; its newest attempt has left a model."""
        if self._definition.may_inherit:
            self._known[number] = _Known(attempt, parameters)

    def choose(self, parameters: Mapping[str, JsonValue]) -> int | None:
        """The trial that one with these parameters begins with; of several that are as near the first. None where
        there is none, or it shall begin with nothing.
        """
        if not self._known or self._definition.inherits(parameters) != "nearest":
            return None
        known = self._known
        return min(known, key=lambda number: (*self._distance(parameters, known[number].parameters), number))

    def model_of(self, number: int | None) -> AttemptKey | None:
        """Where the model of a chosen trial lies."""
        if number is None or number not in self._known:
            return None
        return AttemptKey(self._study_id, number, self._known[number].attempt)

    def _distance(self, one: Mapping[str, JsonValue], other: Mapping[str, JsonValue]) -> tuple[float, float]:
        """How far two trials are from each other: in the knobs of the model, and in all others."""
        apart = {"model": 0.0, "else": 0.0}
        for name, parameter in self._definition.parameters.items():
            if name in one or name in other:
                both = name in one and name in other
                kind = "model" if name.startswith("model.") else "else"
                apart[kind] += _apart(parameter, one[name], other[name]) if both else 1.0
        return apart["model"], apart["else"]


def _apart(parameter: Parameter, one: Any, other: Any) -> float:
    """From 0 to 1: of numbers by their places in the range or the list, of other choices 1 if they are not the same."""
    if isinstance(parameter, Range):
        low, high, a, b = parameter.low, parameter.high, one, other
        if parameter.log:
            low, high, a, b = math.log(low), math.log(high), math.log(a), math.log(b)
        return min(1.0, float(abs(a - b) / (high - low)))
    if isinstance(parameter, Choice) and all(_is_number(value) for value in parameter.values):
        places = parameter.index(one), parameter.index(other)
        if places[0] is not None and places[1] is not None and parameter.size > 1:
            return abs(places[0] - places[1]) / (parameter.size - 1)
    return 0.0 if one == other else 1.0


def _is_number(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
