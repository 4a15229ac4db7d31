"""How many slots a device should have: one more as long as it raises what all of them together get done."""

from __future__ import annotations

from dataclasses import dataclass, field

GAIN = 0.1  # a further slot must be worth so much of the throughput before it
MEMORY_SHARE = 0.9  # of the device's memory that slots may fill


@dataclass(frozen=True)
class Look:
    """What a device did over some time with its slots all busy. `memory` in bytes; 0 where it cannot be read."""

    rate: float  # rows a second, all slots together
    memory_used: int = 0
    memory: int = 0


@dataclass
class Climb:
    """The search for one study on one device, by hill climbing from one slot.

    Attributes:
        wanted: how many slots there should be now.
        rates: what was measured, by the number of slots.
        why: the sentence that ends the search; None while it goes on.
    """

    most: int
    wanted: int = 1
    rates: dict[int, float] = field(default_factory=dict)
    why: str | None = None

    def take(self, look: Look) -> None:
        """Decide after a look at `wanted` slots."""
        if self.why is not None:
            return
        slots = self.wanted
        self.rates[slots] = look.rate
        before = self.rates.get(slots - 1)
        if before is not None and look.rate < before + GAIN * before:
            self._settle(slots - 1, f"{_slots(slots)} did {_change(look.rate, before)} {_slots(slots - 1)}")
        elif look.memory and look.memory_used / slots * (slots + 1) > MEMORY_SHARE * look.memory:
            used = f"{look.memory_used / look.memory:.0%} of its memory"
            self._settle(slots, f"one more would not fit: {_slots(slots)} hold {used}")
        elif slots >= self.most:
            self._settle(slots, f"{_slots(slots)} are the most that are tried")
        else:
            self.wanted += 1

    def crowd_out(self) -> None:
        """A trial found no memory beside its neighbours: one slot less, for good."""
        if self.wanted > 1:
            self._settle(self.wanted - 1, f"a trial found no memory beside {_slots(self.wanted - 1)}")

    def _settle(self, slots: int, why: str) -> None:
        self.wanted, self.why = slots, why


def _slots(count: int) -> str:
    return f"{count} slot" if count == 1 else f"{count} slots"


def _change(rate: float, before: float) -> str:
    change = rate / before - 1 if before else 0.0
    return f"only {change:.0%} more than" if change >= 0 else f"{-change:.0%} less than"
