"""The slots of one device whose number is found out while they work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worker.climb import Climb, Look
from worker.places import Place

FEWEST_STEPS = 3  # of each slot, for a look to be worth something
KEPT_STUDIES = 100  # whose numbers are remembered

Slot = Mapping[str, str]  # what a slot says of itself in its last sign of life


class _Counts(NamedTuple):
    """What a slot has done."""

    rows: int
    steps: int

    def __sub__(self, before: _Counts) -> _Counts:
        return _Counts(self.rows - before.rows, self.steps - before.steps)


@dataclass
class Crowd:
    """Measures what a device's slots do together, and says how many there should be.

    A look begins when every slot is busy with the same study and has come to its first step, and ends with the first
    slot that has nothing to do: what is compared are full houses of one study.
    """

    place: Place
    most: int
    seconds: float  # that a look takes at least
    is_closed: bool = False  # somebody takes slots away: no others are added
    study: str = ""
    climbs: dict[str, Climb] = field(default_factory=dict)
    _since: float | None = None
    _counts: dict[str, _Counts] = field(default_factory=dict)
    _idle: frozenset[str] = frozenset()
    _crowded: int = 0

    @property
    def climb(self) -> Climb:
        return self.climbs.setdefault(self.study, Climb(self.most))

    def observe(self, slots: Sequence[Slot], now: float, leaving: int = 0) -> int:
        """How many slots there should be, after a look at those that there are and that are to stay.

        Args:
            now: seconds, on a clock that never goes back.
            leaving: how many others still bring their trial to an end.
        """
        if any(slot.get("state") in ("draining", "leaving") for slot in slots):
            self.is_closed = True
        if self.is_closed:
            return len(slots)
        self._heed_crowding(slots)
        if not self._is_full(slots) or leaving:
            self._since = None
        elif self._since is None:
            self._begin(slots, now)
        else:
            self._end_if_due(slots, now)
        return self.climb.wanted

    def picture(self) -> dict[str, Any]:
        """What is known, for people, as JSON."""
        climb = self.climb
        rates = [{"slots": slots, "rate": rate} for slots, rate in sorted(climb.rates.items())]
        return {"study": self.study, "wanted": climb.wanted, "rates": rates, "why": climb.why}

    def _heed_crowding(self, slots: Sequence[Slot]) -> None:
        crowded = sum(_number(slot, "crowded") for slot in slots)
        if crowded > self._crowded:
            self.climb.crowd_out()
        self._crowded = crowded

    def _is_full(self, slots: Sequence[Slot]) -> bool:
        """Whether all have been busy with one study. Between two jobs a slot is idle for a moment."""
        idle = frozenset(slot["name"] for slot in slots if slot.get("state") != "busy")
        long_idle, self._idle = idle & self._idle, idle
        studies = {slot.get("study", "") for slot in slots if slot["name"] not in idle}
        if long_idle or len(studies) != 1 or not all(_number(slot, "steps") for slot in slots):
            return False
        [study] = studies
        if study != self.study:
            self._turn_to(study)
        return len(slots) == self.climb.wanted

    def _turn_to(self, study: str) -> None:
        self.study, self._since = study, None
        while len(self.climbs) > KEPT_STUDIES:
            del self.climbs[next(iter(self.climbs))]

    def _begin(self, slots: Sequence[Slot], now: float) -> None:
        self._since = now
        self._counts = {slot["name"]: _counts(slot) for slot in slots}

    def _end_if_due(self, slots: Sequence[Slot], now: float) -> None:
        if self._since is None or {slot["name"] for slot in slots} != self._counts.keys():
            self._since = None
            return
        grown = [_counts(slot) - self._counts[slot["name"]] for slot in slots]
        if now - self._since < self.seconds or min(each.steps for each in grown) < FEWEST_STEPS:
            return
        rate = sum(each.rows for each in grown) / (now - self._since)
        self.climb.take(Look(rate, *self._memory(slots)))
        self._since = None

    def _memory(self, slots: Sequence[Slot]) -> tuple[int, int]:
        """What is used, and what there is: of the GPU, or of the host by these slots."""
        if self.place.gpus:
            return _number(slots[0], "gpu_memory_used"), _number(slots[0], "gpu_memory")
        return sum(_number(slot, "memory_used") for slot in slots), self.place.memory * self.most


def _counts(slot: Slot) -> _Counts:
    return _Counts(_number(slot, "rows"), _number(slot, "steps"))


def _number(slot: Slot, name: str) -> int:
    text = slot.get(name, "")
    return int(text) if text.isdecimal() else 0
