"""The file of another tool, taken key by key, so that nothing in it can be dropped in silence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trialyard.errors import BadInput, Problem

Parameters = dict[str, dict[str, Any]]


class Unreadable(BadInput):
    """A definition cannot be carried over; the text names every place of it, and why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


@dataclass
class Findings:
    """What reading a file has brought up so far."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path=path, message=message, hint=hint))


@dataclass
class Draft:
    """A study as far as the foreign file describes it, in the sections of a study file."""

    parameters: Parameters = field(default_factory=dict)
    name: str | None = None
    objectives: list[dict[str, str]] = field(default_factory=list)
    sampler: dict[str, Any] | None = None
    pruner: dict[str, Any] | None = None
    budget: dict[str, Any] = field(default_factory=dict)


class Section:
    """A mapping of the file. Whoever reads it takes its keys and then closes it: one that is left over is an error."""

    def __init__(self, content: object, path: str, findings: Findings) -> None:
        self.path = path
        self.findings = findings
        self.is_mapping = isinstance(content, dict)
        self._left: dict[str, Any] = dict(content) if isinstance(content, dict) else {}
        if not self.is_mapping:
            findings.wrong(path, "must be a mapping of keys to values")

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, message: str, hint: str = "") -> None:
        """Note a problem at a key, or at the section itself if it is empty."""
        self.findings.wrong(self.at(key) if key else self.path, message, hint)

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, as it is."""
        return self._left.pop(key, default)

    def names(self) -> list[str]:
        """The keys that are left."""
        return list(self._left)

    def section(self, key: str) -> Section:
        return Section(self.take(key), self.at(key), self.findings)

    def sections(self, key: str) -> list[Section]:
        """The mappings of a list; none if the key is missing."""
        return [Section(each, f"{self.at(key)}[{place}]", self.findings) for place, each in enumerate(self.values(key))]

    def values(self, key: str) -> list[Any]:
        """A list; empty if the key is missing."""
        value = self.take(key, [])
        if isinstance(value, list):
            return value
        self.wrong(key, "must be a list")
        return []

    def choices(self, key: str) -> list[Any]:
        """What a parameter may be: a list with something in it."""
        value = self.take(key, [])
        if isinstance(value, list) and value:
            return value
        self.wrong(key, "must be a list of one value or more")
        return []

    def text(self, key: str) -> str | None:
        value = self.take(key)
        if value is None or isinstance(value, str):
            return value
        self.wrong(key, "must be text")
        return None

    def number(self, key: str, default: float | None = None) -> float | None:
        """A number, or one written as text: some tools quote them all. Whole ones stay whole."""
        value = self.take(key, default)
        number = as_number(value)
        if number is None and value is not None:
            self.wrong(key, f"must be a finite number, not {value!r}")
        return number

    def whole(self, key: str) -> int | None:
        number = self.number(key)
        if number is None or float(number).is_integer():
            return None if number is None else int(number)
        self.wrong(key, f"must be a whole number, not {number}")
        return None

    def leave(self, keys: Sequence[str], why: str) -> None:
        """Keys that do not bear on the search: a note says what became of them."""
        for key in keys:
            if self.take(key) is not None:
                self.findings.notes.append(f"{self.at(key)} is not carried over: {why}")

    def close(self, why: str = "is nothing that a study file can say") -> None:
        """Nothing more will be taken."""
        for key in self._left:
            self.wrong(key, why, "take it out, if the search can do without it")
        self._left = {}


def as_number(value: object) -> float | None:
    """The number that is meant, whole ones as int; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value) if isinstance(value, int | str) else _finite(value)
    except ValueError:
        return _finite(value)


def _finite(text: str | float) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
