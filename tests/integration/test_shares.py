"""Studies that run at once in one pool, each with its share of the slots; and the budget of device time."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from search.shares import Claim, FairShares, due_shares
from store.messages import Amend, Assignment, Done
from tests.yard import Worker, Yard, study

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.mark.parametrize(
    ("claims", "due"),
    [
        ({1: Claim(3, 99, 0), 2: Claim(1, 99, 0)}, {1: 6.0, 2: 2.0}),
        ({1: Claim(1, 99, 8), 2: Claim(1, 99, 0), 3: Claim(2, 99, 0)}, {1: 2.0, 2: 2.0, 3: 4.0}),
        ({1: Claim(3, 2, 0), 2: Claim(1, 99, 0)}, {1: 2.0, 2: 6.0}),  # what the first does not want is the other's
        ({1: Claim(1, 1, 0), 2: Claim(1, 3, 0), 3: Claim(2, 99, 0)}, {1: 1.0, 2: 7 / 3, 3: 14 / 3}),
        ({1: Claim(5, 1, 0)}, {1: 1.0}),
    ],
)
def test_slots_are_due_in_proportion_and_what_is_not_wanted_goes_to_the_others(
    claims: dict[int, Claim], due: dict[int, float]
) -> None:
    assert due_shares(claims, 8) == pytest.approx(due)


def test_while_nobody_is_owed_anything_what_is_left_over_goes_to_the_largest_part_of_a_slot() -> None:
    # Of two slots 4/7, 6/7 and 4/7 are due.
    claims = {1: Claim(2, 9, 0), 2: Claim(3, 9, 0), 3: Claim(2, 9, 0)}

    assert FairShares().divide(claims, 1) == {1: 0, 2: 1, 3: 0}
    assert FairShares().divide(claims, 2) == {1: 1, 2: 1, 3: 0}


def test_two_studies_take_turns_in_one_slot_by_their_weights() -> None:
    """Trials of ten seconds; nobody is interrupted, so the share is looked at when one ends."""
    shares, running, seconds = FairShares(), 0, Counter[int]()
    for second in range(400):
        share = shares.divide({1: Claim(3, 9, seconds[1]), 2: Claim(1, 9, seconds[2])}, 1)
        assert sum(share.values()) == 1
        if second % 10 == 0:
            running = max(share, key=lambda each: share[each])
        seconds[running] += 1

    assert seconds == {1: 300, 2: 100}


@pytest.mark.parametrize("gap", [0.0, 1.0])
@pytest.mark.parametrize("slots", [1, 2, 3, 5])
def test_over_a_long_time_each_study_gets_its_part_of_what_is_used(slots: int, gap: float) -> None:
    """Trials of one to three seconds end at any moment; the share is looked at once a second. A slot goes on at once
    with the study that it had if that has its share, and else to one that has not, after a gap in which it is empty."""
    shares, lengths, seconds = FairShares(), random.Random(0), Counter[int]()
    share: dict[int, int] = {}
    has, until = [0] * slots, [0.0] * slots
    for tick in range(50_000):
        now = tick / 10
        if tick % 10 == 0:
            share = shares.divide({1: Claim(1, 9, seconds[1]), 2: Claim(3, 9, seconds[2])}, slots)
        for slot in range(slots):
            if now < until[slot]:
                continue
            had, has[slot] = has[slot], 0
            wanting = [study for study in share if share[study] > has.count(study)]
            if had and (gap or had not in wanting):
                until[slot] = now + gap
            elif wanting:
                has[slot] = had or lengths.choice(wanting)
                until[slot] = now + lengths.uniform(1, 3)
        seconds.update({study: has.count(study) / 10 for study in share})

    assert seconds[2] / seconds[1] == pytest.approx(3, rel=0.01)


def test_a_study_that_had_all_it_wanted_is_owed_nothing_for_the_gaps_between_its_trials() -> None:
    """Alone the first study is due both slots, and one of them stands empty half of the time."""
    shares = FairShares()
    for second in range(1000):
        shares.divide({1: Claim(1, 2, 1.5 * second)}, 2)

    # Of one slot each three quarters and a quarter are due.
    claims = {1: Claim(1, 2, 1500), 2: Claim(3, 2, 0)}
    assert shares.divide(claims, 1) == {1: 0, 2: 1}


def test_a_study_that_had_all_it_wanted_beside_another_is_owed_nothing_either() -> None:
    """Each is due one slot and wants no more; that of the second study stands empty half of the time."""
    shares = FairShares()
    for second in range(1000):
        shares.divide({1: Claim(1, 1, second), 2: Claim(1, 1, 0.5 * second)}, 2)

    # Of one slot each half is due: nobody is owed anything, and the first study is the first.
    assert shares.divide({1: Claim(1, 2, 1000), 2: Claim(1, 2, 500)}, 1) == {1: 1, 2: 0}


@dataclass
class Slot:
    """A worker that takes the oldest job, trains for some seconds, and pulls the study's next trial."""

    worker: Worker
    busy: Assignment | None = None
    until: float = 0.0
    taken: Counter[int] = field(default_factory=Counter)

    def turn(self, yard: Yard, lengths: random.Random) -> None:
        if self.busy is not None and yard.clock.seconds >= self.until:
            settled = self.worker.finish(self.busy.attempt, 0.5, pull=True)
            self.take(settled.next, yard, lengths)
        elif self.busy is None and (job := yard.oldest_job()) is not None:
            answer = self.worker.take(*job)
            self.take(answer if isinstance(answer, Assignment) else None, yard, lengths)

    def take(self, given: Assignment | None, yard: Yard, lengths: random.Random) -> None:
        self.busy = given
        if given is not None:
            self.until = yard.clock.seconds + lengths.uniform(5, 20)

    def count(self) -> None:
        if self.busy is not None:
            self.taken[self.busy.attempt.study_id] += 1


def simulate(yard: Yard, slots: list[Slot], seconds: int, lengths: random.Random) -> Counter[int]:
    """How many slot-seconds each study had."""
    for slot in slots:
        slot.taken = Counter()
    for _ in range(seconds):
        yard.clock.advance(1)
        for slot in slots:
            slot.worker.beat()
            slot.turn(yard, lengths)
        yard.turn(1)
        for slot in slots:
            slot.count()
    return sum((slot.taken for slot in slots), Counter[int]())


@on_sqlite
def test_studies_get_slots_by_their_priority_and_what_one_leaves_the_other_takes(yard: Yard) -> None:
    slots, lengths = [Slot(yard.worker(f"w{number}")) for number in range(4)], random.Random(1)
    for slot in slots:
        slot.worker.beat()
    endless = {"trials": 10_000, "max_failed": None}
    low = yard.begin(study("low", budget=endless))
    alone = simulate(yard, slots, 30, lengths)
    assert alone[low] >= 4 * 28  # all of the pool, but for the start

    high = yard.begin(study("high", budget=endless, priority=3))
    simulate(yard, slots, 20, lengths)  # until the trials that ran have ended
    shared = simulate(yard, slots, 60, lengths)
    assert shared[high] == pytest.approx(180, abs=15)
    assert shared[low] == pytest.approx(60, abs=15)

    assert yard.worker("api").say(Amend(study_id=high, priority=1)) == Done()
    simulate(yard, slots, 20, lengths)
    even = simulate(yard, slots, 40, lengths)
    assert even[high] == pytest.approx(80, abs=12)

    yard.worker("api").say(Amend(study_id=high, budget={"parallel": 1}))
    simulate(yard, slots, 20, lengths)
    bounded = simulate(yard, slots, 30, lengths)
    assert bounded[high] == pytest.approx(30, abs=3)
    assert bounded[low] == pytest.approx(90, abs=8)


@pytest.mark.parametrize("restarts", [False, True])
def test_the_time_of_all_attempts_is_what_device_hours_bound(yard: Yard, restarts: bool) -> None:
    """Two workers for 20 minutes each, one of them lost; then one for 20 more: an hour in all."""
    yard.settings = yard.settings.model_copy(update={"lease_seconds": 1e6})  # nobody is lost for being silent
    yard.restart()
    sections: dict[str, Any] = {"budget": {"trials": 9, "parallel": 2, "device_hours": 1.0}}
    study_id = yard.begin(study(**sections))
    first, second = yard.worker("w1"), yard.worker("w2")
    one = first.start(study_id, 0).attempt
    two = second.start(study_id, 1).attempt
    yard.clock.advance(20 * 60 - 1)
    second.finish(two, outcome="lost", reason="its machine went away")
    assert first.report(one, 1, 0.5).decision == "continue"
    first.finish(one, 0.5)
    if restarts:
        yard.restart()

    again = second.start(study_id, 1).attempt
    yard.clock.advance(19 * 60)
    assert second.report(again, 1, 0.5).decision == "continue"
    if restarts:
        yard.restart()
    yard.clock.advance(2 * 60)
    assert second.report(again, 2, 0.4).decision == "stop"
    second.finish(again)

    row = yard.study(study_id)
    assert (row.state, row.reason) == ("COMPLETE", "budget.device_hours was reached")
    assert [each.device_seconds for each in yard.attempts(study_id, 1)] == pytest.approx(
        [20 * 60 - 1, 21 * 60], abs=0.1
    )
    assert yard.states(study_id)[:2] == ["COMPLETE", "COMPLETE"]


def test_no_study_gets_a_slot_that_it_does_not_want_however_much_it_is_owed() -> None:
    shares = FairShares()
    shares.divide({1: Claim(1, 5, 0), 2: Claim(1, 5, 0), 3: Claim(1, 5, 0)}, slots=4)
    # Of four slots a third each is due, and the first had none of them.
    shares.divide({1: Claim(1, 5, 0), 2: Claim(1, 5, 20), 3: Claim(1, 5, 10)}, slots=4)

    claims = {1: Claim(1, 1, 0), 2: Claim(1, 5, 20), 3: Claim(1, 5, 10)}  # 1, 1.5 and 1.5 are due
    assert shares.divide(claims, slots=4) == {1: 1, 2: 1, 3: 2}
