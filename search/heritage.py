"""Which finished trial a new one takes its weights from: the nearest by its architecture, and then by all else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from search.definition import Definition
from search.parameters import Choice, Parameter, Range
from store.messages import AttemptKey

FIRST_ROOM = 64  # trials that the table has room for at first; it doubles


class Heritage:
    """The trials of one study that have left a model, as points of a table with a column for each parameter."""

    def __init__(self, study_id: int, definition: Definition) -> None:
        self._study_id, self._definition = study_id, definition
        self._attempts: dict[int, int] = {}  # by trial, in the order of the rows
        parameters = definition.parameters
        self._of_model = np.array([name.startswith("model.") for name in parameters], dtype=bool)
        self._is_scale = np.array([_is_scale(parameter) for parameter in parameters.values()], dtype=bool)
        self._rows = np.empty((FIRST_ROOM, len(parameters)))

    def leaves(self, number: int, attempt: int, parameters: Mapping[str, JsonValue]) -> None:
        """A trial is complete; its newest attempt has left a model."""
        if not self._definition.may_inherit:
            return
        count = len(self._attempts)
        if number not in self._attempts:
            if count == len(self._rows):
                self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._rows[count] = self._point(parameters)
        self._attempts[number] = attempt

    def choose(self, parameters: Mapping[str, JsonValue]) -> int | None:
        """The trial that one with these parameters begins with; of several that are as near the first. None where
        there is none, or it shall begin with nothing.
        """
        if not self._attempts or self._definition.inherits(parameters) != "nearest":
            return None
        apart = self._apart(self._point(parameters))
        by_model, by_all_else = apart[:, self._of_model].sum(1), apart[:, ~self._of_model].sum(1)
        numbers = np.fromiter(self._attempts, dtype=np.int64)
        return int(numbers[np.lexsort((numbers, by_all_else, by_model))[0]])

    def model_of(self, number: int | None) -> AttemptKey | None:
        """Where the model of a chosen trial lies."""
        if number is None or number not in self._attempts:
            return None
        return AttemptKey(self._study_id, number, self._attempts[number])

    def _apart(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """(trials, parameters), from 0 to 1: how far each trial is from a point. One where only one of them has the
        parameter.
        """
        rows = self._rows[: len(self._attempts)]
        distances = np.abs(rows - point)
        distances = np.where(self._is_scale, np.minimum(distances, 1.0), distances != 0)
        absent, lacking = np.isnan(rows), np.isnan(point)
        return np.where(absent | lacking, (absent != lacking).astype(float), distances)

    def _point(self, parameters: Mapping[str, JsonValue]) -> NDArray[np.float64]:
        """(parameters,): each value's place; NaN for a parameter that takes no part."""
        known = self._definition.parameters
        return np.array([_place(known[name], parameters[name]) if name in parameters else np.nan for name in known])


def _is_scale(parameter: Parameter) -> bool:
    """Whether values can be nearer to and farther from each other; else they are the same or not."""
    if isinstance(parameter, Choice):
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in parameter.values)
    return isinstance(parameter, Range)


def _place(parameter: Parameter, value: Any) -> float:
    """Of numbers from 0 to 1, in the range or the list; of other choices which it is; NaN for one of an older space."""
    if isinstance(parameter, Range):
        if isinstance(value, bool) or not isinstance(value, int | float) or (parameter.log and value <= 0):
            return math.nan
        low, high, at = parameter.low, parameter.high, value
        if parameter.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return float((at - low) / (high - low))
    place = parameter.index(value)
    if place is None:
        return math.nan
    return place / max(1, parameter.size - 1) if _is_scale(parameter) else float(place)
