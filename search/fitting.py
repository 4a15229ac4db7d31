"""Trials of another space as points of this one: of an earlier version of it, or of another study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import JsonValue

from search.definition import Definition
from search.knobs import knob_values
from search.points import completed
from search.space import Space
from store.errors import Problem


class Fitting:
    """Tells which trials a sampler of this definition may learn from."""

    def __init__(self, definition: Definition) -> None:
        self._space = Space(definition.parameters, definition.parameter_constraints)
        # What a trial trained with where its space had no such parameter: the trial section says it.
        trains = definition.kind == "train"
        self._fixed = knob_values(definition.trial, definition.parameters) if trains else {}

    def point(self, parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
        """The parameters as a point of this space; None if they are none."""
        filled = self._filled(parameters)
        return None if self._space.check(filled) else filled

    def reason(self, parameters: Mapping[str, JsonValue]) -> Problem | None:
        """What first keeps the parameters from being a point of this space, told alike of any value outside."""
        filled = self._filled(parameters)
        first = next(iter(self._space.check(filled)), None)
        if first is None or first.path.removeprefix("parameters.") not in filled.keys() & self._space.parameters.keys():
            return first
        return replace(first, message="lies outside of this study's space")

    def _filled(self, parameters: Mapping[str, JsonValue]) -> dict[str, Any]:
        """With the parameters that take part in this space and had a fixed value in the trial's own."""
        return completed(self._space.conditions, parameters, self._fixed)
