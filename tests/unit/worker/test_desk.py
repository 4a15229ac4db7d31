"""What a runner and the processes of a group say to each other, and which of many deaths is told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from store.errors import StaleAttempt
from store.messages import Assignment, AttemptKey, DecisionName
from worker.desk import Desk, Ended, EpochDone, Failed, Visitor
from worker.group import _failure
from worker.guarded import End
from worker.oom import OomWatch

FIRST, SECOND = AttemptKey(7, 1, 1), AttemptKey(7, 2, 1)
PATIENCE_SECONDS = 10.0


class Listener:
    def __init__(self, error: Exception | None = None) -> None:
        self.epochs: list[int] = []
        self._error = error

    def report(self, epoch: int, metrics: Mapping[str, float]) -> DecisionName:
        self.epochs.append(epoch)
        if self._error is not None:
            raise self._error
        return "prune" if metrics["loss"] > 1 else "continue"

    def log(self, line: str) -> None: ...


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "socket")
    yield desk
    desk.close()


@pytest.fixture
def visit(desk: Desk, tmp_path: Path) -> Iterator[Callable[[], Visitor]]:
    with ExitStack() as open_ones:
        yield lambda: open_ones.enter_context(closing(Visitor(tmp_path / "socket")))


def assignment(key: AttemptKey) -> Assignment:
    return Assignment(attempt=key, study="s", parameters={}, trial={}, metric="loss", direction="minimize", ranks=2)


def epoch(number: int, loss: float = 0.5) -> EpochDone:
    return EpochDone(attempt=FIRST, epoch=number, metrics={"loss": loss})


def test_the_first_rank_hears_decisions_and_that_its_worker_leaves(desk: Desk, visit: Callable[[], Visitor]) -> None:
    rank, listener, leaves = visit(), Listener(), [False]
    desk.begin(assignment(FIRST), listener, lambda: leaves[0])
    assert next(rank.assignments()).attempt == FIRST

    assert rank.ask(epoch(1)) == "continue"
    leaves[0] = True
    assert rank.ask(epoch(2)) == "leave"
    assert rank.ask(epoch(3, loss=2.0)) == "prune"  # a decision comes first
    rank.say(Ended(attempt=FIRST, outcome="pruned", metrics={}))

    assert desk.wait(PATIENCE_SECONDS)
    assert desk.ended is not None
    assert listener.epochs == [1, 2, 3]


def test_words_of_a_trial_that_has_ended_are_not_of_the_next(desk: Desk, visit: Callable[[], Visitor]) -> None:
    slow, first = visit(), visit()
    desk.begin(assignment(SECOND), Listener(), lambda: False)
    slow.say(Failed(attempt=FIRST, outcome="diverged", reason="late"))
    assert next(slow.assignments()).attempt == SECOND  # so the late word has been heard

    assert not desk.wait(0)
    first.say(Ended(attempt=SECOND, outcome="finished", metrics={}))
    assert desk.wait(PATIENCE_SECONDS)
    assert desk.failures == []


def test_a_report_that_is_refused_leaves_the_rank_waiting_for_its_end(desk: Desk, visit: Callable[[], Visitor]) -> None:
    rank = visit()
    desk.begin(assignment(FIRST), Listener(StaleAttempt("attempt 7.1.1 has ended already")), lambda: False)
    rank.say(epoch(1))

    assert desk.wait(PATIENCE_SECONDS)
    assert isinstance(desk.error, StaleAttempt)
    assert desk.ended is None


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        # One rank has no memory left; the other loses it, and the agent both.
        (
            [("lost", "gloo: closed"), ("infeasible", "out of memory"), ("lost", "process 1 …")],
            "infeasible: out of memory",
        ),
        ([("lost", "gloo: closed"), ("lost", "process 1 was killed")], "lost: process 1 was killed"),
        ([], "lost: the agent of its processes was killed by signal 9 (SIGKILL), whether"),
    ],
)
def test_of_many_deaths_the_first_cause_is_told(failures: list[tuple[str, str]], told: str) -> None:
    words = [Failed.model_validate({"attempt": None, "outcome": outcome, "reason": why}) for outcome, why in failures]
    failure = _failure(words, End(-signal.SIGKILL), OomWatch(Path("/nowhere")))
    assert f"{failure.outcome}: {failure}".startswith(told)
