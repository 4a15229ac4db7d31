"""What becomes of a job whose scheduler cannot be understood, and of a task that nobody wants any more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from store.artifacts import Artifacts
from store.errors import OtherVersion
from store.messages import (
    Assignment,
    AttemptKey,
    Decision,
    Finish,
    Report,
    Request,
    Settled,
    Take,
    TakeTask,
    TaskAssignment,
)
from worker.ending import Ending
from worker.jobs import Bench, perform
from worker.progress import Progress
from worker.reporter import Reporter
from worker.tasks import Workplace
from worker.triallog import LogKeeper
from worker.wear import Wear

TRIAL = Assignment(
    attempt=AttemptKey(1, 0, 1),
    study="s",
    parameters={},
    trial={"kind": "objective", "name": "any"},
    metric="loss",
    direction="minimize",
)


class Scheduler:
    """Hands out a trial; its answers to some kind of request are of another version."""

    def __init__(self, unreadable: type[Request]) -> None:
        self.heard: list[Request] = []
        self._unreadable = unreadable

    def call(self, request: Request, *_: Any, **__: Any) -> Assignment | Decision | Settled:
        self.heard.append(request)
        if isinstance(request, self._unreadable):
            raise OtherVersion("the scheduler is of another version")
        match request:
            case Take():
                return TRIAL
            case Report():
                return Decision(decision="continue")
            case _:
                return Settled()


class Reports:
    """An objective that reports once."""

    def run(self, assignment: Assignment, reporter: Reporter, _should_leave: Callable[[], bool]) -> Ending:
        reporter.report(0, {assignment.metric: 1.0})
        return Ending("finished", {assignment.metric: 1.0})


class Builder:
    """A task that leaves a file; the scheduler then says whether anybody wants it."""

    keeps_log: ClassVar[bool] = True

    def __init__(self, *, gone: bool) -> None:
        self._settled = Settled(stale=gone, gone=gone)

    def call(self, request: Request, *_: Any, **__: Any) -> TaskAssignment | Settled:
        is_taken = isinstance(request, TakeTask)
        return TaskAssignment(attempt=AttemptKey(1, 5, 1), task="build", request={}) if is_taken else self._settled

    def run(self, _request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        place.folder.write("ensemble.json", b"{}")
        return {}


def bench(scheduler: object, folder: Path) -> Bench:
    return Bench(
        worker="w",
        device="cpu",
        caller=cast(Any, scheduler),
        artifacts=Artifacts(str(folder)),
        kinds={"objective": cast(Any, Reports())},
        tasks={"build": cast(Any, scheduler)},
        pull_seconds=0.0,
        began=lambda _attempt: None,
        ended=lambda _attempt, _refused: None,
        should_leave=lambda: False,
        should_rest=lambda: False,
        spools=folder / "spools",
        report_patience=1.0,
        lease=1.0,
        wear=Wear(1000, 1000),
        progress=Progress(lambda _word: None, 1.0),
        logs=LogKeeper(),
    )


def test_a_trial_whose_scheduler_became_another_is_given_back_and_has_not_failed(tmp_path: Path) -> None:
    scheduler = Scheduler(Report)

    perform(bench(scheduler, tmp_path), 1, 0)

    [finish] = [request for request in scheduler.heard if isinstance(request, Finish)]
    assert (finish.outcome, finish.reason) == ("returned", "the scheduler is of another version")


@pytest.mark.parametrize("unreadable", [Take, Finish])
def test_a_job_ends_in_good_order_although_an_answer_cannot_be_read(tmp_path: Path, unreadable: type[Request]) -> None:
    scheduler = Scheduler(unreadable)

    perform(bench(scheduler, tmp_path), 1, 0)  # else its runner would die of it

    assert isinstance(scheduler.heard[-1], unreadable)


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_task_leaves_that_was_deleted_meanwhile_is_taken_away(tmp_path: Path, gone: bool) -> None:
    own = bench(Builder(gone=gone), tmp_path)

    perform(own, 1, 5, "task")

    assert ("ensemble.json" in own.artifacts.task(1, 5).names()) is not gone
