"""Trials with the same parameters, as a study's `duplicates` has it: run again, drawn anew, or taken over."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from search.definition import Definition
from search.parameters import identity


class Twins:
    """Which parameters have been proposed, and which have a result that may serve another trial."""

    def __init__(self, definition: Definition) -> None:
        self.reuses = definition.duplicates == "reuse"
        self._resamples = definition.duplicates == "resample"
        self._known: set[bytes] = set()  # digests of the parameters of all trials, where none is to be tried twice
        self._complete: dict[bytes, int] = {}  # … -> the first complete trial

    def know(self, point: Mapping[str, Any]) -> None:
        """A trial has these parameters."""
        if self._resamples:
            self._known.add(digest(point))

    def is_unwanted(self, point: Mapping[str, Any]) -> bool:
        """Whether another proposal is to be drawn, as a trial with these parameters exists."""
        return self._resamples and digest(point) in self._known

    def ended(self, number: int, point: Mapping[str, Any]) -> None:
        """A trial is complete. Of several the first by number serves, as after a restart, whichever ended first."""
        if self.reuses:
            key = digest(point)
            self._complete[key] = min(number, self._complete.get(key, number))

    def of(self, point: Mapping[str, Any]) -> int | None:
        """A complete trial whose result is taken over by one with these parameters."""
        return self._complete.get(digest(point)) if self.reuses else None


def digest(parameters: Mapping[str, Any]) -> bytes:
    """The same for the same parameters, in whatever order; 1 and 1.0 are the same, as everywhere in a space.

    A space may have been changed from whole numbers to floats while its trials ran.
    """
    return hashlib.blake2b(identity(dict(parameters)).encode(), digest_size=16).digest()
