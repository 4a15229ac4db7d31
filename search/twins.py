"""Trials with the same parameters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson


class Twins:
    """The parameters that the trials of one study have, and which of these may lend their values to a later trial."""

    def __init__(self, refuses: bool, lends: bool) -> None:
        """
        Args:
            refuses: a trial should not have the parameters of an earlier one.
            lends: it may, and takes over the values of one that is complete.
        """
        self.lends = lends
        self._refuses = refuses
        self._known: set[bytes] = set()
        self._lenders: dict[bytes, int] = {}  # the first complete trial

    def enter(self, parameters: Mapping[str, Any]) -> int | None:
        """A trial is made; the one that lends it its values, if there is one."""
        digest = _digest(parameters)
        self._known.add(digest)
        return self._lenders.get(digest)

    def is_unwanted(self, parameters: Mapping[str, Any]) -> bool:
        """Whether another proposal is to be drawn, as a trial with these parameters exists."""
        return self._refuses and _digest(parameters) in self._known

    def offer(self, number: int, parameters: Mapping[str, Any]) -> None:
        """A trial is complete."""
        self._lenders.setdefault(_digest(parameters), number)


def _digest(parameters: Mapping[str, Any]) -> bytes:
    """Of JSON itself each trial would keep four kilobytes: orjson gives no room back."""
    return hashlib.blake2b(orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
