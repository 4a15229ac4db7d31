"""What a slot tells the scheduler when its runner dies: the right end of the right thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from store.messages import AttemptKey, Decision, Finish, FinishTask, Holds, Preflighted
from store.queue import Errand
from worker import slot as slots
from worker.channel import Began, Done, Ended
from worker.child import RunnerDied
from worker.memory import Excess
from worker.slot import Slot

ATTEMPT = AttemptKey(1, 3, 1)
EXCESS = Excess("it used 2.0GiB of memory, and its slot has 1.0GiB (--memory-per-slot)", is_lasting=True)
SCARCE = Excess("the machine had hardly any memory left", is_lasting=False)


class Stub:
    """Takes any call, and does nothing."""

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class DyingOnce(Stub):
    """A runner that begins the errand and dies; asked again, it is done at once."""

    def __init__(self, *first: Began) -> None:
        self._words: Iterator[Began | Done | RunnerDied] = iter((*first, RunnerDied("killed"), Done()))

    def listen(self, _timeout: float) -> Began | Done:
        word = next(self._words)
        if isinstance(word, RunnerDied):
            raise word
        return word


class Bound:
    """Of a slot whose first errand used too much, where there is an excess."""

    def __init__(self, excess: Excess | None) -> None:
        self._found = iter([None, excess, None])  # before the errand, at the death, before the second run

    def take_excess(self) -> Excess | None:
        return next(self._found)


class Saying(Stub):
    """A runner that says these words, None for a look in which it says nothing."""

    def __init__(self, *words: Began | Ended | Done | None) -> None:
        self._words = iter(words)
        self.stopped = 0

    def listen(self, _timeout: float) -> Began | Ended | Done | None:
        return next(self._words)

    def stop(self, _seconds: float) -> None:
        self.stopped += 1


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the scheduler hears."""
    told: list[Any] = []

    class Caller:
        def __init__(self, _client: object, _name: str) -> None: ...

        def call(self, request: Any, _patience: float) -> None:
            told.append(request)

    monkeypatch.setattr(slots, "Caller", Caller)
    return told


@pytest.mark.parametrize(("kind", "request_type"), [("trial", Finish), ("task", FinishTask)])
@pytest.mark.parametrize(
    ("excess", "end"),
    [(EXCESS, ("failed", EXCESS.reason)), (SCARCE, ("lost", SCARCE.reason)), (None, ("lost", "killed"))],
)
def test_a_death_ends_what_ran_and_nothing_of_the_same_number(
    told: list[Any], kind: Any, request_type: type[Any], excess: Excess | None, end: tuple[str, str]
) -> None:
    stub = cast(Any, Stub())
    Slot(stub, "w", cast(Any, DyingOnce(Began(attempt=ATTEMPT))), stub, cast(Any, Bound(excess))).do(
        Errand(1, 3, kind), lambda: None
    )
    [finish] = told
    assert isinstance(finish, request_type)
    assert (finish.attempt, finish.outcome, finish.reason) == (ATTEMPT, *end)


@pytest.mark.parametrize(("excess", "hears"), [(EXCESS, [EXCESS.reason]), (SCARCE, []), (None, [])])
def test_a_preflight_that_uses_too_much_is_not_tried_again(
    told: list[Any], excess: Excess | None, hears: list[str]
) -> None:
    stub = cast(Any, Stub())
    Slot(stub, "w", cast(Any, DyingOnce()), stub, cast(Any, Bound(excess))).do(Errand(1, None), lambda: None)
    assert all(isinstance(request, Preflighted) for request in told)
    assert [request.problems[0]["message"].partition(": ")[2] for request in told] == hears


@pytest.mark.parametrize(
    ("words", "stopped"),
    [
        ((Began(attempt=ATTEMPT), None, None), 1),
        ((Began(attempt=ATTEMPT), None, Ended(attempt=ATTEMPT), None, None, None, Done()), 0),
        ((None, None, None, None, Done()), 0),
    ],
    ids=["silent", "at its end just then", "nothing begun"],
)
def test_a_runner_is_replaced_once_it_says_nothing_of_an_attempt_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, words: tuple[Any, ...], stopped: int
) -> None:
    asked: list[Any] = []

    class Caller:
        def __init__(self, _client: object, _name: str) -> None: ...

        def call(self, request: Any, _patience: float) -> Decision:
            asked.append(request)
            return Decision(decision="stop", stale=True)

    monkeypatch.setattr(slots, "Caller", Caller)
    stub, runner = cast(Any, Stub()), Saying(*words)

    Slot(stub, "w", cast(Any, runner), stub, stub).do(Errand(1, 3), lambda: None)

    assert runner.stopped == stopped
    assert asked == [Holds(attempt=ATTEMPT)] * (words[0] is not None)


def test_it_is_asked_in_every_third_silent_look_whether_a_trial_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    runner = Saying(Began(attempt=ATTEMPT), *[None] * 7, Done())

    class Caller:
        def __init__(self, _client: object, _name: str) -> None: ...

        def call(self, _request: Any, _patience: float) -> Decision:
            looks.append(len(list(meanwhile)))
            return Decision(decision="continue")

    meanwhile: list[None] = []
    monkeypatch.setattr(slots, "Caller", Caller)
    stub = cast(Any, Stub())

    Slot(stub, "w", cast(Any, runner), stub, stub).do(Errand(1, 3), lambda: meanwhile.append(None))

    assert (looks, runner.stopped) == ([1, 4, 7], 0)
