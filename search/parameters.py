"""The entries of `parameters`: a choice, a constant or a range, each perhaps only under a condition."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from pydantic import JsonValue

When = Mapping[str, tuple[JsonValue, ...]]
Lattice = tuple[float, float]  # a number, and the whole number of which every value is a multiple away from it

_TEXTS = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)  # `dumps` makes one for each text


@dataclass(frozen=True)
class Choice:
    """One of a list of JSON values, all different: `1` and `1.0` are the same value, `1` and `true` are not."""

    values: tuple[JsonValue, ...]
    when: When = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.values)

    def at(self, index: int) -> JsonValue:
        return self.values[index]

    def index(self, value: JsonValue) -> int | None:
        """Which choice the value is; None if it is none of them."""
        return self._positions.get(identity(value))

    def extremes(self) -> tuple[JsonValue, ...]:
        """The smallest and the largest of numbers; every choice, where one is no number."""
        numbers = [value for value in self.values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) < len(self.values) or len(numbers) == 1:
            return self.values
        return min(numbers), max(numbers)

    def document(self) -> dict[str, JsonValue]:
        return {"values": list(self.values), **_when(self.when)}

    @cached_property
    def lattice(self) -> Lattice | None:
        numbers = [float(each) for each in self.values if isinstance(each, int | float)]
        apart = [each - numbers[0] for each in numbers]
        if len(apart) < len(self.values) or not all(each.is_integer() for each in apart):
            return None
        return numbers[0], float(math.gcd(*map(int, apart)))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {identity(value): position for position, value in enumerate(self.values)}


@dataclass(frozen=True)
class Constant:
    """One JSON value. The sampler never hears of it."""

    value: JsonValue
    when: When = field(default_factory=dict)

    @property
    def size(self) -> int:
        return 1

    def at(self, _index: int) -> JsonValue:
        return self.value

    def index(self, value: JsonValue) -> int | None:
        return 0 if identity(value) == identity(self.value) else None

    def extremes(self) -> tuple[JsonValue, ...]:
        return (self.value,)

    def document(self) -> dict[str, JsonValue]:
        return {"value": self.value, **_when(self.when)}

    @property
    def lattice(self) -> Lattice | None:
        return (float(self.value), 0.0) if isinstance(self.value, int | float) else None


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included: whole ones if both bounds are written as whole numbers."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None
    when: When = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @cached_property
    def top(self) -> int | float:
        """The largest value there is: `high`, or the last step below it."""
        steps = self.size
        return self.high if steps is None else self.at(steps - 1)

    @cached_property
    def size(self) -> int | None:
        """How many values there are; None if they are uncountable."""
        step = self._step
        return None if step is None else int((_decimal(self.high) - _decimal(self.low)) // step) + 1

    def at(self, index: int) -> int | float:
        """The value after so many steps, free of the rounding that repeated addition would bring (0.3, not 0.30…04)."""
        if self._step is None:
            raise IndexError("a range without steps has no places")
        if isinstance(self.low, int) and isinstance(self.high, int):
            return self.low + index * int(self._step)
        return float(_decimal(self.low) + index * self._step)

    def index(self, value: JsonValue) -> int | None:
        """After how many steps the value comes; None if it lies between two, outside, or is no number."""
        if self._step is None or not self.holds(value):
            return None
        return round((float(value) - self.low) / float(self._step))  # type: ignore[arg-type]  # `holds` saw a number

    def holds(self, value: JsonValue) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        if self._step is None:
            return True
        place = round((value - self.low) / float(self._step))
        return math.isclose(self.at(place), value, rel_tol=1e-12, abs_tol=1e-8 * float(self._step))

    def extremes(self) -> tuple[JsonValue, ...]:
        return self.low, self.top

    def document(self) -> dict[str, JsonValue]:
        log: dict[str, JsonValue] = {"log": True} if self.log else {}
        step: dict[str, JsonValue] = {} if self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, **log, **step, **_when(self.when)}

    @property
    def lattice(self) -> Lattice | None:
        return (float(self.low), float(self.step or 1)) if self.whole else None

    @cached_property
    def _step(self) -> Decimal | None:
        if self.step is not None:
            return _decimal(self.step)
        return Decimal(1) if self.whole else None


Parameter = Choice | Constant | Range


def json_text(value: JsonValue) -> str:
    """The one JSON text of a value: keys sorted, no spaces."""
    return _TEXTS.encode(value)


def identity(value: JsonValue) -> str:
    """A text that two values share exactly if they are the same JSON: 1 and 1.0 do, 1 and true or "1" do not."""
    return json_text(_one_form(value))


def _one_form(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_one_form(item) for item in value]
    if isinstance(value, dict):
        return {key: _one_form(item) for key, item in value.items()}
    return value


def _decimal(number: int | float) -> Decimal:
    return Decimal(str(number))  # as it was written: Decimal(0.1) would be 0.1000000000000000055…


def _when(when: When) -> dict[str, JsonValue]:
    return {"when": {other: list(values) for other, values in when.items()}} if when else {}
