"""Tasks, inside the runner: what follows a study's trials, done by the workers that hold torch and the data."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from store.artifacts import Artifacts, Folder
from store.bus import Caller
from store.errors import TrialyardError
from store.messages import AttemptKey, FinishTask, TakeTask, TaskAssignment
from worker.ending import reason_of
from worker.reporter import PATIENCE_SECONDS
from worker.triallog import LogKeeper, TrialLog

ASK_SECONDS = 2.0  # between two questions whether a task is still wanted


class Returned(TrialyardError):
    """The worker has to leave, so that the task is done elsewhere; or nobody wants it any more."""


@dataclass(frozen=True)
class Workplace:
    """What a task has to hand. `folder` is the task's own, and keeps what it leaves."""

    study_id: int
    number: int
    folder: Folder
    artifacts: Artifacts
    should_leave: Callable[[], bool]
    is_wanted: Callable[[], bool]

    def check(self) -> None:
        """To be called between two steps of a long task. Raises: Returned."""
        if self.should_leave() or not self.is_wanted():
            raise Returned


class TaskKind(Protocol):
    """How the tasks of one kind are done. Done twice, as after a crash, it comes to the same.

    `keeps_log`: what it prints is kept beside what it leaves.
    """

    keeps_log: ClassVar[bool]

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """What came of it, as JSON. Raises: Returned. Anything else: the task has failed."""


def do_task(
    kinds: Mapping[str, TaskKind],
    take: TakeTask,
    *,
    caller: Caller,
    artifacts: Artifacts,
    logs: LogKeeper,
    began: Callable[[AttemptKey], None],
    ended: Callable[[AttemptKey], None],
    should_leave: Callable[[], bool],
) -> None:
    """Take a task, do it, and say what came of it.

    Raises:
        Unavailable: the scheduler did not answer.
    """
    answer = caller.call(take, PATIENCE_SECONDS)
    if not isinstance(answer, TaskAssignment):
        return
    began(answer.attempt)
    folder = artifacts.task(take.study_id, take.number)
    wanted = _Wanted(take, answer, caller)
    place = Workplace(take.study_id, take.number, folder, artifacts, should_leave, wanted)
    caller.call(_do(kinds, answer, place, logs), PATIENCE_SECONDS)
    ended(answer.attempt)


class _Wanted:
    """Whether a task is still ours to do: taking it again says so, every few seconds at most."""

    def __init__(self, take: TakeTask, answer: TaskAssignment, caller: Caller) -> None:
        self._take, self._answer, self._caller = take, answer, caller
        self._ask_at = time.monotonic() + ASK_SECONDS

    def __call__(self) -> bool:
        if time.monotonic() < self._ask_at:
            return True
        self._ask_at = time.monotonic() + ASK_SECONDS
        again = self._caller.call(self._take, PATIENCE_SECONDS)
        return isinstance(again, TaskAssignment) and again.attempt == self._answer.attempt


def _do(kinds: Mapping[str, TaskKind], task: TaskAssignment, place: Workplace, logs: LogKeeper) -> FinishTask:
    """Whatever a task raises is its own end, and never the runner's."""
    kind = kinds[task.task]
    with TrialLog(place.folder, logs) if kind.keeps_log else nullcontext():
        try:
            place.check()
            result = kind.run(task.request, place)
            return FinishTask(attempt=task.attempt, outcome="finished", result=result)
        except Returned:
            return FinishTask(attempt=task.attempt, outcome="returned")
        except Exception as error:  # noqa: BLE001 - a task may raise anything
            traceback.print_exc()
            return FinishTask(attempt=task.attempt, outcome="failed", reason=reason_of(error))
