"""What `auto` adds to asha: which rung tells anything yet, and when a new trial is worth more than an old one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from search.asha import Climb, Rung, Rungs

PAIRS = 6  # of values at a rung and above it, before anything is concluded from them
TELLING = 0.5  # the rank correlation from which on a rung is worth its losses (ADR 0016)
NEAR_END = 1.5  # a rung must leave so many times its level to do: nearer to the end it saves next to nothing


class AutoRungs(Rungs):
    """Rungs of one objective that are judged by those trials that pass them without being compared.

    In the early epochs of many trainings the order of the trials says nothing about the later one. So trials that were
    drawn at random pass one rung more than the others, free of comparison; from their values there and above comes the
    rank correlation of a rung with the next one. The first telling rung is where the others begin to be compared.

    Random trials climb beside the others and are compared among themselves: where good trials begin slowly, those that
    a model proposes look better for long, and would keep them down. Of the others a rung lets no more up than its share
    of those that came to it. By asha's own rule a search that keeps finding slightly better trials would train each of
    them to the end.
    """

    def __init__(
        self,
        min_resource: int,
        max_resource: int,
        reduction_factor: int,
        directions: Sequence[Literal["minimize", "maximize"]],
        least_complete: int = 0,
    ) -> None:
        super().__init__(min_resource, max_resource, reduction_factor, directions, least_complete)
        levels = [rung.level for rung in self._rungs if NEAR_END * rung.level <= max_resource]
        self._rungs: list[Rung] = [_Rung(level) for level in levels]
        self._drawn: list[Rung] = [Rung(level) for level in levels]
        self._at_random: set[int] = set()
        self._free: dict[int, int] = {}  # by trial, the rungs that it passes without being compared
        self._pairs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)  # by rung, of it and the next
        self._first: int | None = 0

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(rung.level for rung in self._rungs)

    @property
    def first(self) -> int:
        """The first telling rung; the number of rungs, if none is."""
        if self._first is None:
            telling = (rung for rung in range(len(self._rungs)) if _is_telling(self._pairs[rung]))
            self._first = next(telling, len(self._rungs))
        return self._first

    def welcome(self, number: int, at_random: bool) -> None:
        """A trial is about to report for the first time; one that was drawn at random is let pass a rung more."""
        if number not in self._free:
            self._free[number] = self.first + at_random
            if at_random:
                self._at_random.add(number)

    @override
    def load(self, number: int, stored: Mapping[str, Any]) -> None:
        self._free[number] = stored["free"]
        if stored["at_random"]:
            self._at_random.add(number)
        super().load(number, stored)
        climb = self._climbs[number]
        for place in range(self._free[number], climb.promotions):
            self._leave(number, place)
        for reached in range(2, len(climb.values) + 1):
            self._compare(number, reached)

    @override
    def stored(self, number: int) -> dict[str, Any]:
        return super().stored(number) | {"free": self._free.get(number, 0), "at_random": number in self._at_random}

    @override
    def end(self, number: int, value: float | None) -> None:
        super().end(number, value)
        climb = self._climbs.get(number)
        if value is not None and climb is not None and len(climb.values) == len(self._rungs):
            self._learn(number, len(self._rungs) - 1, value)

    @override
    def promote(self, number: int) -> None:
        place = self._climbs[number].promotions
        if place >= self._free.get(number, 0):
            self._leave(number, place)
        super().promote(number)

    @override
    def _arrive(self, number: int, climb: Climb, values: Sequence[float]) -> None:
        super()._arrive(number, climb, values)
        self._compare(number, len(climb.values))

    @override
    def _goes_on(self, number: int) -> bool:
        return self._climbs[number].promotions < self._free.get(number, 0) or super()._goes_on(number)

    @override
    def _rung(self, number: int, place: int) -> Rung:
        return (self._drawn if number in self._at_random else self._rungs)[place]

    @override
    def _all(self) -> list[Rung]:
        return [rung for pair in zip(self._rungs, self._drawn, strict=True) for rung in pair]

    def _leave(self, number: int, place: int) -> None:
        rung = self._rung(number, place)
        if isinstance(rung, _Rung):
            rung.left += 1

    def _compare(self, number: int, reached: int) -> None:
        """Remember what a trial came to at the last two of the rungs that it has reached."""
        if reached >= 2:
            self._learn(number, reached - 2, self._climbs[number].values[reached - 1][0])

    def _learn(self, number: int, rung: int, above: float) -> None:
        if rung >= 0 and self._free.get(number, 0) > rung:  # else it was promoted for its value there
            self._pairs[rung].append((self._climbs[number].values[rung][0], above))
            self._first = None


@dataclass
class _Rung(Rung):
    left: int = 0  # how many were promoted from here

    @override
    def promotable(self, reduction_factor: int) -> int | None:
        return super().promotable(reduction_factor) if self.left < len(self.reached) // reduction_factor else None


def _is_telling(pairs: list[tuple[float, float]]) -> bool:
    """Whether Spearman's rank correlation is great enough, or not known yet."""
    if len(pairs) < PAIRS:
        return True
    below, above = (_ranks(column) for column in zip(*pairs, strict=True))
    if np.ptp(below) == 0 or np.ptp(above) == 0:
        return False
    return bool(np.corrcoef(below, above)[0, 1] >= TELLING)


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """From 1, equal values sharing the mean of theirs. scipy's own comes with modules that take a second to import."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
