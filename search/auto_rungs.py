"""What `auto` adds to asha: which rung tells anything yet, and when a new trial is worth more than an old one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from search.asha import Climb, Rung, Rungs

PAIRS = 10  # of values at a rung and above it, before anything is concluded from them
TELLING = 0.7  # the rank correlation from which on a rung is worth its losses (ADR 0029)
STILL_TELLING = 0.8  # that of a rung above the first telling one (ADR 0038)
FIRM = 0.92  # that of the first rung from which on a share is all that a rung lets go (ADR 0036)
LEADING_SHARE = 0.35  # of the steps of all trials, for leaders
UNCOMPARED = "trialyard:uncompared"  # a trial's system attribute: it is compared at the last rung alone
UNCOMPARED_SHARE = 0.2  # of the steps of all trials, for these (ADR 0034)
NEAR_END = 1.5  # a rung must leave so many times its level to do: nearer to the end it saves next to nothing


class AutoRungs(Rungs):
    """Rungs of one objective that are judged by those trials that pass them without being compared.

    In the early epochs of many trainings the order of the trials says nothing about the later one. So trials that were
    drawn at random pass one rung more than the others, free of comparison; from their values there and above comes the
    rank correlation of a rung with the next one. The first telling rung is where the others begin to be compared. A
    rung above it is judged by the random trials that it let go on; where it tells less than well, all pass it.

    Random trials climb beside the others and are compared among themselves: where good trials begin slowly, those that
    a model proposes look better for long, and would keep them down. Of the others a rung lets no more up than its share
    of those that came to it: by asha's own rule a search that keeps finding slightly better trials would train each of
    them to the end. Where the first rung of all is telling, but not firmly, asha's own rule holds: its best may not be
    the best of the next one, and more must go on to show it.

    A leader, the best of all that came to a telling rung, goes on before its rung has a place for it: who looks at a
    search finds the best so far trained to its end. What leaders have cost is kept to a share of all steps.

    Uncompared trials pass all rungs but the last, as in Hyperband's last brackets (Li et al. 2018): where rungs keep
    down what begins worse and ends better, these show it. They too have a share of all steps.
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
        self._uncompared: set[int] = set()
        self._free: dict[int, int] = {}  # by trial, the rungs that it passes without being compared
        self._pairs: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)  # by rung, of it and the next
        self._held: defaultdict[int, dict[int, float]] = defaultdict(dict)  # by rung, values of random trials there
        self._correlations: dict[int, float] = {}  # by rung, until something is new there
        self._stages = (0, *levels, max_resource)  # what a trial goes through: from each rung to the next
        self._steps = 0  # of all trials, to where they were last seen at a rung or at their end
        self._led: dict[int, int] = {}  # by trial, the steps for which it was let go on as a leader
        self._leading: int | None = None  # what `next` has named last, if only as a leader

    @property
    def levels(self) -> tuple[int, ...]:
        return tuple(rung.level for rung in self._rungs)

    @property
    def first(self) -> int:
        """The first telling rung; the number of rungs, if none is."""
        telling = (place for place in range(len(self._rungs)) if self._correlation(place) >= TELLING)
        return next(telling, len(self._rungs))

    def affords(self, uncompared: int) -> bool:
        """Whether so many trials may come to the last rung uncompared, if there is a rung below that keeps others."""
        return self.first < len(self._rungs) - 1 and uncompared * self._stages[-2] <= UNCOMPARED_SHARE * self._steps

    def welcome(self, number: int, at_random: bool, uncompared: bool = False) -> None:
        """A trial is about to report for the first time; one that was drawn at random is let pass a rung more."""
        if number not in self._free:
            free = self.first + at_random
            self._free[number] = max(free, len(self._rungs) - 1) if uncompared else free
            if at_random:
                self._at_random.add(number)
            if uncompared:
                self._uncompared.add(number)

    @override
    def load(self, number: int, stored: Mapping[str, Any]) -> None:
        self._free[number] = stored["free"]
        if stored["at_random"]:
            self._at_random.add(number)
        if stored.get("uncompared"):
            self._uncompared.add(number)
        if led := stored.get("led"):
            self._led[number] = led
        super().load(number, stored)
        climb = self._climbs[number]
        self._hold(number, climb)
        self._steps += self._stages[len(climb.values)]
        for place in range(self._free[number], climb.promotions):
            self._leave(number, place)
        for place, values in enumerate(climb.values):
            self._learn(number, place - 1, values[0])

    @override
    def stored(self, number: int) -> dict[str, Any]:
        own = {"free": self._free.get(number, 0), "at_random": number in self._at_random}
        own |= {"led": self._led.get(number, 0), "uncompared": number in self._uncompared}
        return super().stored(number) | own

    @override
    def end(self, number: int, value: float | None) -> None:
        climb = self._climbs.get(number, Climb())
        if value is not None and number not in self._complete:
            self._steps += self._stages[-1] - self._stages[len(climb.values)]
        super().end(number, value)
        if value is not None and len(climb.values) == len(self._rungs):
            self._learn(number, len(self._rungs) - 1, value)

    @override
    def next(self, is_last: bool = False) -> int | None:
        number = super().next(is_last)
        self._leading = self._leader() if number is None else None
        return self._leading if number is None else number

    @override
    def promote(self, number: int) -> None:
        place = self._climbs[number].promotions
        if place >= self._free.get(number, 0):
            if number == self._leading:
                self._led[number] = self._led.get(number, 0) + self._way(place)
            self._leave(number, place)
        super().promote(number)
        if self._held[place].pop(number, None) is not None:
            self._correlations.pop(place, None)

    @override
    def _arrive(self, number: int, climb: Climb, values: Sequence[float]) -> None:
        super()._arrive(number, climb, values)
        self._hold(number, climb)
        self._steps += self._way(len(climb.values) - 2)
        self._learn(number, len(climb.values) - 2, values[0])

    @override
    def _goes_on(self, number: int) -> bool:
        place = self._climbs[number].promotions
        return place < self._free.get(number, 0) or not self._tells(place) or super()._goes_on(number)

    @override
    def _rung(self, number: int, place: int) -> Rung:
        return (self._drawn if number in self._at_random else self._rungs)[place]

    @override
    def _all(self) -> list[Rung]:
        return [rung for pair in zip(self._rungs, self._drawn, strict=True) for rung in pair]

    @override
    def _promotable(self, rung: Rung) -> int | None:
        has_let_up_its_share = isinstance(rung, _Rung) and rung.left >= len(rung.reached) // self._reduction_factor
        shares_hold = self._correlation(0) >= FIRM or self._correlation(0) < TELLING
        return None if has_let_up_its_share and shares_hold else super()._promotable(rung)

    def _correlation(self, place: int) -> float:
        """Of the values at a rung with those at the next one; 1 if it is not known."""
        if place not in self._correlations:
            self._correlations[place] = _correlation(self._pairs[place], [*self._held[place].values()])
        return self._correlations[place]

    def _hold(self, number: int, climb: Climb) -> None:
        """A rung may keep a trial: of random ones it is judged by those that it let go and those that it kept."""
        place = len(climb.values) - 1
        if climb.is_held and number in self._at_random and place >= self._free.get(number, 0):
            self._held[place][number] = climb.values[place][0]
            self._correlations.pop(place, None)

    def _tells(self, place: int) -> bool:
        return place <= self.first or self._correlation(place) >= STILL_TELLING

    def _leader(self) -> int | None:
        """The best of all that came to a rung, from the highest on, if it waits there and leaders may cost as much."""
        left = LEADING_SHARE * self._steps - sum(self._led.values())
        for place in reversed(range(self.first, len(self._rungs))):
            pair = self._rungs[place], self._drawn[place]
            best = min((rung.reached[0] for rung in pair if rung.reached), default=None)
            waits = any(rung.waiting[:1] == [best] for rung in pair)
            if best and waits and self._rungs[place].level >= self.least_level and self._way(place) <= left:
                return best[1]
        return None

    def _way(self, place: int) -> int:
        """The steps from a rung to the next one, or to the end; with -1 those to the first."""
        return self._stages[place + 2] - self._stages[place + 1]

    def _leave(self, number: int, place: int) -> None:
        rung = self._rung(number, place)
        if isinstance(rung, _Rung):
            rung.left += 1

    def _learn(self, number: int, rung: int, above: float) -> None:
        """Remember what a trial came to above a rung, if it was there and says something about others.

        What a model proposes was promoted for its value if it did not pass freely; uncompared trials lie where the best
        ends are expected.
        """
        is_free = self._free.get(number, 0) > rung
        if rung >= 0 and (is_free or number in self._at_random) and number not in self._uncompared:
            self._pairs[rung].append((self._climbs[number].values[rung][0], above))
            self._correlations.pop(rung, None)


@dataclass
class _Rung(Rung):
    left: int = 0  # how many were promoted from here


def _correlation(pairs: list[tuple[float, float]], left_behind: Sequence[float]) -> float:
    """Spearman's rank correlation; 1 as long as it is not known.

    Of those that were `left_behind` only the first value is known: the others were promoted for theirs. What that takes
    away from the spread of the first values is corrected for (Thorndike 1949, case 2).
    """
    if len(pairs) < PAIRS:
        return 1.0
    before, after = zip(*pairs, strict=True)
    all_below, above = _ranks([*before, *left_behind]), _ranks(after)
    below = all_below[: len(before)]
    if np.ptp(below) == 0 or np.ptp(above) == 0:
        return 0.0
    found, wider = float(np.corrcoef(below, above)[0, 1]), float(all_below.std() / below.std())
    return found * wider / math.sqrt(1 + found * found * (wider * wider - 1))


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """From 1, equal values sharing the mean of theirs. scipy's own comes with modules that take a second to import."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
