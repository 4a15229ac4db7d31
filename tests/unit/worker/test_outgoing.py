"""What an attempt tells a scheduler that is away for a while, and what its spool then holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from store.errors import CutOff, StaleAttempt, Unavailable
from store.messages import Answer, AttemptKey, Decision, Done, Finish, Report, Request, Settled
from tests.yard import Clock
from worker.outgoing import PAUSE_SECONDS, Outgoing
from worker.spool import Spool, left_behind

KEY = AttemptKey(1, 2, 3)
GO_ON = Decision(decision="continue")
AWAY = None
CUT = Done()  # which no attempt is ever answered with


class Line:
    """A caller whose every call comes to the next of the given answers; None is silence."""

    def __init__(self, answers: Iterable[Answer | None]) -> None:
        self._answers = iter(answers)
        self.heard: list[Request] = []
        self.patience: list[float] = []

    def call(
        self,
        request: Request,
        patience: float,
        meanwhile: Callable[[], None] = lambda: None,
        on_wait: Callable[[], None] = lambda: None,  # noqa: ARG002
    ) -> Answer:
        self.patience.append(patience)
        meanwhile()
        answer = next(self._answers)
        if answer is None:
            raise Unavailable("nobody answers")
        if answer is CUT:
            raise CutOff("Redis could not be reached")
        self.heard.append(request)
        return answer


def report(step: int) -> Report:
    return Report(attempt=KEY, step=step, metrics={"loss": 1 / (step + 1)})


def outgoing(folder: Path, line: Line, clock: Clock) -> Outgoing:
    return Outgoing(line, KEY, folder, patience=8.0, lease=16.0, monotonic=clock.monotonic)  # type: ignore[arg-type]


def test_a_training_that_is_cut_off_goes_on_and_tries_again_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    line = Line([AWAY, GO_ON, GO_ON, GO_ON, Settled()])
    out = outgoing(tmp_path, line, clock)

    assert out.report(report(0)) == "continue"  # after the full patience
    assert out.report(report(1)) == "continue"  # at once: it has just tried
    assert line.patience == [8.0]
    assert (tmp_path / "1.2.3.jsonl").read_text().count("\n") == 2
    clock.advance(PAUSE_SECONDS)
    out.report(report(2))
    assert line.heard == [report(0), report(1), report(2)]
    out.finish(Finish(attempt=KEY, outcome="finished"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("then", "gives_up"),
    [
        ([(8, CUT)], False),  # 8 s after the first try
        ([(8, CUT), (8, CUT)], True),  # 16 s, which is the lease
        ([(8, AWAY), (8, CUT), (8, CUT)], False),  # Redis was there meanwhile, and with it our signs of life
        ([(8, AWAY), (8, AWAY), (8, AWAY)], False),  # the scheduler alone is away: no lease runs out
        ([(8, GO_ON), (8, CUT), (8, CUT)], False),
    ],
)
def test_who_could_not_reach_redis_for_a_lease_gives_up(
    tmp_path: Path, then: list[tuple[int, Answer | None]], gives_up: bool
) -> None:
    clock = Clock()
    answers = [answer for _, answer in then for _ in range(1 + (answer is GO_ON))]  # two reports are heard then
    out = outgoing(tmp_path, Line([CUT, *answers]), clock)
    out.report(report(0))
    for step, (seconds, _) in enumerate(then, start=1):
        clock.advance(seconds)
        assert out.report(report(step)) == "continue"

    assert out.gives_up == gives_up


def test_a_late_decision_to_prune_counts_and_what_came_after_it_is_dropped(tmp_path: Path) -> None:
    clock = Clock()
    line = Line([AWAY, Decision(decision="prune"), Settled()])
    out = outgoing(tmp_path, line, clock)
    out.report(report(0))
    clock.advance(PAUSE_SECONDS)

    assert out.report(report(1)) == "prune"
    out.finish(Finish(attempt=KEY, outcome="pruned"))
    assert [type(each) for each in line.heard] == [Report, Finish]


def test_a_worker_that_comes_back_late_is_refused_and_the_messages_are_counted(tmp_path: Path) -> None:
    clock = Clock()
    stale = Decision(decision="stop", stale=True)
    line = Line([AWAY, stale, Settled(stale=True)])
    out = outgoing(tmp_path, line, clock)
    out.report(report(0))
    clock.advance(PAUSE_SECONDS)

    with pytest.raises(StaleAttempt):
        out.report(report(1))
    out.finish(Finish(attempt=KEY, outcome="returned"))
    assert out.refused == 3  # two reports and the end
    assert list(tmp_path.iterdir()) == []


def test_an_end_that_nobody_hears_stays_on_disk_for_whoever_comes(tmp_path: Path) -> None:
    finish = Finish(attempt=KEY, outcome="finished", metrics={"loss": 0.25})
    out = outgoing(tmp_path, Line([AWAY, AWAY]), Clock())
    out.report(report(0))

    with pytest.raises(Unavailable):
        out.finish(finish)

    with left_behind(tmp_path / "1.2.3.jsonl") as requests:
        assert requests == [report(0), finish]


def test_an_end_is_on_disk_while_its_answer_is_waited_for_and_afterwards_is_not(tmp_path: Path) -> None:
    finish, path = Finish(attempt=KEY, outcome="finished", metrics={"loss": 0.25}), tmp_path / "1.2.3.jsonl"
    line, found = Line([Settled()]), []
    call = line.call

    def look(request: Request, patience: float, meanwhile: Callable[[], None], on_wait: Callable[[], None]) -> Answer:
        answer = call(request, patience, meanwhile, on_wait)
        found.append(path.read_text())
        return answer

    line.call = look  # type: ignore[method-assign,assignment]
    outgoing(tmp_path, line, Clock()).finish(finish)
    assert found == [finish.model_dump_json() + "\n"]
    assert not path.exists()


def test_a_spool_in_use_is_nobody_elses_and_a_torn_line_is_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path, KEY)
    spool.append(report(0))
    with left_behind(tmp_path / "1.2.3.jsonl") as requests:
        assert requests is None
    spool.close()
    with (tmp_path / "1.2.3.jsonl").open("a") as file:
        file.write('{"v":1,"kind":"fini')
    with left_behind(tmp_path / "1.2.3.jsonl") as requests:
        assert requests == [report(0)]


def test_a_disk_that_takes_nothing_costs_no_trial(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = Line([Settled()])
    outgoing(tmp_path / "file", line, Clock()).finish(Finish(attempt=KEY, outcome="finished"))
    assert len(line.heard) == 1
