"""Population based training (Jaderberg et al. 2017): who goes on from whose checkpoint, and with which parameters.

A trial is a member. It waits, with its checkpoint, whenever it has trained for an interval, until a place is free; the
one that has come least far goes first. Only then is it decided how it goes on: compared with what the others came to at
the same step, one of the worst goes on from the newest checkpoint of one of the best, with parameters beside theirs.

So nobody waits for anybody where there are places for all, as in the paper, and where there are few all members have
come to a step before the first leaves it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from search.exploring import Explorer
from store.messages import MAX_STEP

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Copy:
    """A member goes on from another's checkpoint.

    `turn` counts a member's copies from 1. `step` and `value` are what it had come to itself, `value` None if it came
    to nothing; `source…` what it goes on from; `before` and `after` the parameters of the two trainings.
    """

    turn: int
    step: int
    value: float | None
    source: int
    source_attempt: int
    source_step: int
    source_value: float
    before: dict[str, Any]
    after: dict[str, Any]


class Basis(NamedTuple):
    """A checkpoint that a member goes on from: whose it is, and what its training had come to."""

    number: int
    attempt: int
    step: int
    value: float


@dataclass
class Member:
    """What a member has come to.

    `values` are what it measured itself, at the steps at which it waited, and None at a step at which it gave up and
    copied. At that step it stays as bad as it was: else each copy would make the next member one of the worst, until
    all have copied.
    """

    parameters: dict[str, Any]
    values: list[tuple[int, float | None]] = field(default_factory=list)
    basis: Basis | None = None
    reported: tuple[int, float] | None = None  # the same of the running attempt, which has left no checkpoint yet
    is_held: bool = False
    is_lost: bool = False  # its training cannot go on; another one's must
    is_out: bool = False  # it failed, or was cancelled
    attempt: int = 0
    since: int = 0  # attempts up to this one trained what it has given up
    kept: list[int] = field(default_factory=list)  # its attempts that may have left checkpoints
    decisions: int = 0
    copies: int = 0

    @property
    def step(self) -> int:
        """From which it goes on."""
        return self.basis.step if self.basis else 0

    def value_at(self, step: int) -> float | None:
        """What its training had come to at a step; None where that is not known."""
        for at, value in reversed(self.values):
            if value is not None and at <= step:
                return value
            if value is None and at < step:
                return None
        return None

    def stored(self) -> dict[str, Any]:
        rest = {name: value for name, value in asdict(self).items() if name != "parameters"}
        return rest | {"basis": self.basis and list(self.basis)}


class Population:
    """The members of one study. It stands where asha's rungs do: what holds trials, and lets them go on."""

    def __init__(
        self,
        explorer: Explorer,
        direction: Direction,
        *,
        seed: int,
        size: int,
        interval: int,
        burn_in: int,
        last_step: int,
        share: float,
    ) -> None:
        """
        Args:
            size: no member goes on before so many are there.
            interval: steps between two checkpoints.
            burn_in: nobody copies before this step.
            last_step: where a member ends, and waits no more.
            share: of the members, the worst that copy and the best that are copied, up to a half.
        """
        self._explorer = explorer
        self._sign = 1 if direction == "minimize" else -1
        self._seed, self._size, self._share = seed, size, share
        self._interval, self._burn_in, self._last_step = interval, burn_in, last_step
        self._members: dict[int, Member] = {}
        self._waiting: set[int] = set()
        self.is_closing = False  # the search is over: nobody copies or waits, and who waited comes to its end

    # As asha's rungs

    @property
    def promotable(self) -> int:
        """How many members that wait may go on."""
        if self.is_closing:
            return sum(self.ends(number) for number in self._waiting)
        return 0 if self.next() is None else len(self._waiting)

    @property
    def is_unfinished(self) -> bool:
        """Whether a member has ended before its last interval."""
        return any(each.step + self._interval < self._last_step for each in self._members.values() if not each.is_out)

    def load(self, number: int, stored: Mapping[str, Any]) -> None:
        """Take in what `stored` gave for a member that has entered."""
        member = Member(self._members[number].parameters, **stored)
        member.values = [(step, value) for step, value in member.values]
        member.basis = None if member.basis is None else Basis(*member.basis)
        self._members[number] = member

    def stored(self, number: int) -> dict[str, Any]:
        """What is to be remembered of a member."""
        return self._members[number].stored() if number in self._members else {}

    def report(self, number: int, step: int, values: Sequence[float]) -> None:
        """A running member has come to a step."""
        member = self._members[number]
        if self.is_closing:
            return
        if step < self._last_step and step >= member.step + self._interval and member.reported is None:
            member.reported = (step, values[0])

    def is_held(self, number: int) -> bool:
        return number in self._members and (self._members[number].is_held or self._members[number].reported is not None)

    def wait(self, number: int) -> None:
        """Nobody works at this held member, and its checkpoint is there: from now on it may go on."""
        member = self._members[number]
        if member.reported is not None:
            member.values.append(member.reported)
            member.basis, member.since = Basis(number, member.attempt, *member.reported), member.attempt - 1
            member.reported = None
        member.is_held = True
        self._waiting.add(number)

    def end(self, number: int, value: float | None) -> None:
        """The trial has ended: with its final value, if it came to its end."""
        self._waiting.discard(number)
        member = self._members[number]
        member.reported, member.is_held, member.is_out = None, False, value is None

    def reopen(self, number: int) -> None:
        """The trial is to run again: it is a member again when it does."""

    def next(self, is_last: bool = False) -> int | None:  # noqa: ARG002 - a population ends as a whole
        """The member that goes on next: the one that has come least far."""
        if len(self._members) < self._size and not self.is_closing:
            return None
        able = [number for number in self._waiting if not self.is_closing or self.ends(number)]
        return min(able, key=lambda number: (self._members[number].step, number), default=None)

    def promote(self, number: int) -> None:
        """Let a waiting member go on; `copy_of` has said how."""
        self._waiting.discard(number)
        member = self._members[number]
        member.is_held = member.is_lost = False

    # What a population has besides

    def enter(self, number: int, parameters: Mapping[str, Any]) -> None:
        """A trial is made, or loaded: a member."""
        self._members[number] = Member(dict(parameters))

    def began(self, number: int, attempt: int) -> None:
        """An attempt of a member runs."""
        member = self._members[number]
        member.is_out = False  # it may have been run again by a person
        member.attempt = attempt
        member.kept.append(attempt)

    def lost(self, number: int) -> None:
        """A running attempt is gone: what it reported last counts when its checkpoint is there, and it may not be."""
        self._members[number].reported = None

    def replace(self, number: int) -> bool:
        """Whether a member whose training cannot go on may go on from another's checkpoint; then it is held."""
        if not self._sources(number, 1):
            return False
        member = self._members[number]
        member.reported, member.is_held, member.is_lost = None, True, True
        return True

    def copy_of(self, number: int) -> Copy | None:
        """Decide how a waiting member goes on: None for as it is.

        What is drawn depends on the seed, the member's number and how often it was decided, and on nothing else.
        """
        if self.is_closing:
            return None
        member = self._members[number]
        member.decisions += 1
        rng = np.random.default_rng(np.random.SeedSequence((self._seed, number, member.decisions)))
        sources = self._better(number)
        if not sources:
            return None
        source = sources[int(rng.integers(len(sources)))]
        return self._copied(number, source, self._explorer.explore(self._members[source].parameters, rng))

    def copied(self, number: int) -> Basis | None:
        """The checkpoint of another member that this one begins with."""
        basis = self._members[number].basis
        return None if basis is None or basis.number == number else basis

    def ends(self, number: int) -> bool:
        """Whether a member comes to its end with the checkpoint that it has, and trains no more."""
        return self.is_closing and self._members[number].basis is not None

    def since(self, number: int) -> int:
        """The attempts up to this one are nothing to go on from."""
        return self._members[number].since

    def spent(self, number: int) -> list[int]:
        """Attempts of a member, told once each, whose checkpoints nobody goes on from any more."""
        member = self._members[number]
        needed = {other.basis[:2] for other in self._members.values() if other.basis}
        spent = [each for each in member.kept if each <= member.since and (number, each) not in needed]
        member.kept = [each for each in member.kept if each not in spent]
        return spent

    # Helpers, in call order

    def _better(self, number: int) -> list[int]:
        """The members of which one is copied: none, if the member is not among the worst."""
        member = self._members[number]
        if member.is_lost:
            return self._sources(number, max(1, self._count(len(self._losses(MAX_STEP)))))
        if member.basis is None or member.step < self._burn_in:
            return []
        losses = self._losses(member.step)
        ranked = list(losses)
        count = self._count(len(ranked))
        if number not in ranked[len(ranked) - count :]:
            return []
        return [each for each in ranked[:count] if losses[each] < losses[number]]

    def _sources(self, number: int, most: int) -> list[int]:
        """The best of the others that have left a checkpoint."""
        return [each for each in self._losses(MAX_STEP) if each != number][:most]

    def _losses(self, step: int) -> dict[int, float]:
        """By member what it had come to at a step, smaller is better, the best first; without those not known."""
        there = ((number, member.value_at(step)) for number, member in self._members.items() if not member.is_out)
        losses = {number: self._sign * value for number, value in there if value is not None}
        return dict(sorted(losses.items(), key=lambda each: (each[1], each[0])))

    def _count(self, members: int) -> int:
        """So many are the best, and as many the worst."""
        return min(math.ceil(self._share * members), members // 2)

    def _copied(self, number: int, source: int, after: dict[str, Any]) -> Copy:
        member, basis = self._members[number], self._members[source].basis
        if basis is None:
            raise ValueError(f"trial {source} has left no checkpoint")
        member.copies += 1
        copy = Copy(
            turn=member.copies,
            step=member.step,
            value=member.value_at(member.step),
            source=basis.number,
            source_attempt=basis.attempt,
            source_step=basis.step,
            source_value=basis.value,
            before=member.parameters,
            after=after,
        )
        member.values.append((member.step, None))
        member.parameters, member.basis, member.since = after, basis, member.attempt
        return copy
