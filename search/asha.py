"""Asynchronous successive halving with true promotion (Li et al. 2020, algorithm 2).

A trial that reaches a rung leaves its value there and waits, with its checkpoint, until it is among the best of the
rung and a place is free; then it goes on to the next rung. Optuna's pruners end such a trial for good.

When no new trial begins any more, the best of those that wait go on to their ends until a few are complete: a search of
few trials would leave next to none.

With several objectives the best of a rung are its fronts, in order, and of a front trials that lie far from each other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from search.fronts import best_first

Direction = Literal["minimize", "maximize"]

# A trial's values at a rung by objective, smaller is better, and its number: of equals the first wins.
Entry = tuple[tuple[float, ...], int]


@dataclass
class Rung:
    """The trials that came to one level of the resource, the best first."""

    level: int
    reached: list[Entry] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)  # those of them that may be promoted from here

    def promotable(self, reduction_factor: int) -> int | None:
        """The best trial that waits here, if it is among the best `1 / reduction_factor` of all that came."""
        return self.best_waiting(len(self.reached) // reduction_factor)

    def best_waiting(self, share: int) -> int | None:
        """The best trial that waits here, if it is among the best `share` of all that came."""
        if not self.waiting:
            return None
        if len(self.waiting[0][0]) > 1:
            return self._promotable_of_fronts(share)
        return None if bisect_left(self.reached, self.waiting[0]) >= share else self.waiting[0][1]

    def _promotable_of_fronts(self, share: int) -> int | None:
        waiting = {number for _, number in self.waiting}
        best = best_first(np.array([losses for losses, _ in self.reached]), share)
        return next((self.reached[place][1] for place in best if self.reached[place][1] in waiting), None)


@dataclass
class Climb:
    """How far a trial has come: its values at the rungs that it reached, and how many of these it has left upwards."""

    values: list[list[float]] = field(default_factory=list)  # by objective
    promotions: int = 0

    @property
    def is_held(self) -> bool:
        return len(self.values) > self.promotions


class Rungs:
    """The rungs of one study. A trial is held from the report that brings it to a rung until it is promoted.

    A held trial waits, and may be promoted, once its worker has let go of it.
    """

    def __init__(
        self,
        min_resource: int,
        max_resource: int,
        reduction_factor: int,
        directions: Sequence[Direction],
        least_complete: int = 0,
    ) -> None:
        """A rung at `min_resource` and at every `reduction_factor` times the one before, below `max_resource`.

        Args:
            least_complete: of the last trials the best go on whatever their rung says, until so many are complete.
        """
        self._reduction_factor = reduction_factor
        self._least_complete = least_complete
        self._complete: set[int] = set()
        self._climbing: set[int] = set()  # on their way from a rung that let them go
        self._signs = [1 if direction == "minimize" else -1 for direction in directions]
        self.least_level = 0.0  # who waits below has no time to come to the end
        self._climbs: dict[int, Climb] = {}
        self._rungs: list[Rung] = []
        level = min_resource
        while level < max_resource:
            self._rungs.append(Rung(level))
            level *= reduction_factor

    def load(self, number: int, stored: Mapping[str, Any]) -> None:
        """Take in what `stored` gave for a trial."""
        values = [each if isinstance(each, list) else [each] for each in stored["values"]]
        climb = self._climbs[number] = Climb(values, stored["promotions"])
        self.reopen(number)
        for place, reached in enumerate(climb.values):
            insort(self._rung(number, place).reached, self._entry(reached, number))

    def stored(self, number: int) -> dict[str, Any]:
        """What is to be remembered of a trial."""
        climb = self._climbs.get(number, Climb())
        return {"values": list(climb.values), "promotions": climb.promotions}

    def report(self, number: int, step: int, values: Sequence[float]) -> Literal["continue", "pause"]:
        """Whether a running trial goes on from this step.

        At a rung its worker's place is free for a moment. The trial keeps it if it is the one to promote next.
        """
        climb = self._climbs.setdefault(number, Climb())
        while climb.is_held or self._reaches(climb, step):
            if not climb.is_held:
                self._arrive(number, climb, values)
            self.wait(number)
            if self._rungs[climb.promotions].level < self.least_level or not self._goes_on(number):
                self.withdraw(number)
                return "pause"
            self.promote(number)
        return "continue"

    def is_held(self, number: int) -> bool:
        return number in self._climbs and self._climbs[number].is_held

    def wait(self, number: int) -> None:
        """Nobody works at this held trial: from now on it may be promoted."""
        insort(self._rung(number, self._climbs[number].promotions).waiting, self._held_entry(number))

    def withdraw(self, number: int) -> None:
        """The trial cannot be promoted any more, or not yet. Its values stay in the rungs."""
        for rung in self._all():
            rung.waiting = [entry for entry in rung.waiting if entry[1] != number]

    def end(self, number: int, value: float | None) -> None:
        """The trial has ended: with its final value, if it came to its end."""
        self.withdraw(number)
        self._climbing.discard(number)
        if value is not None:
            self._complete.add(number)

    def reopen(self, number: int) -> None:
        """The trial has not ended, or not for good: where a rung had let it go it is on its way again."""
        climb = self._climbs.get(number, Climb())
        if climb.promotions and not climb.is_held:
            self._climbing.add(number)

    def next(self, is_last: bool = False) -> int | None:
        """The trial to promote next, from the highest rung that has one; None if a new trial should begin.

        Args:
            is_last: no new trial can begin.
        """
        found = (self._promotable(rung) for rung in reversed(self._in_time()))
        number = next((number for number in found if number is not None), None)
        return self._to_complete() if number is None and is_last else number

    def promote(self, number: int) -> None:
        """Let a waiting trial go on to the next rung."""
        self.withdraw(number)
        self._climbs[number].promotions += 1
        self._climbing.add(number)

    def _promotable(self, rung: Rung) -> int | None:
        return rung.promotable(self._reduction_factor)

    def _to_complete(self) -> int | None:
        """The best trial that waits at the highest rung, while too few are complete or on their way there.

        When it is the clock that ends the search, places would stand empty: then any that comes to its end in time.
        """
        if not self.least_level and len(self._complete | self._climbing) >= self._least_complete:
            return None
        highest = max((rung.level for rung in self._in_time() if rung.waiting), default=0)
        found = (rung.best_waiting(len(rung.reached)) for rung in self._all() if rung.level == highest)
        return min((number for number in found if number is not None), key=self._held_entry, default=None)

    def _in_time(self) -> list[Rung]:
        return [rung for rung in self._all() if rung.level >= self.least_level]

    def _held_entry(self, number: int) -> Entry:
        climb = self._climbs[number]
        return self._entry(climb.values[climb.promotions], number)

    def _rung(self, number: int, place: int) -> Rung:  # noqa: ARG002 - one ladder for all
        """The rung of so many below it at which a trial is compared."""
        return self._rungs[place]

    def _all(self) -> list[Rung]:
        return self._rungs

    def _arrive(self, number: int, climb: Climb, values: Sequence[float]) -> None:
        """A trial comes to the next rung."""
        insort(self._rung(number, len(climb.values)).reached, self._entry(values, number))
        climb.values.append(list(values))
        self._climbing.discard(number)

    def _goes_on(self, number: int) -> bool:
        """Whether a trial that has just come to a rung, and waits there for a moment, leaves it at once."""
        return self.next() == number

    def _entry(self, values: Sequence[float], number: int) -> Entry:
        return tuple(sign * value for sign, value in zip(self._signs, values, strict=True)), number

    def _reaches(self, climb: Climb, step: int) -> bool:
        return len(climb.values) < len(self._rungs) and step >= self._rungs[len(climb.values)].level
