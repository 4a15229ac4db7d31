"""Tasks, inside the runner: what follows a study's trials, done by the workers that hold torch and the data."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from store.artifacts import Artifacts, Folder
from store.bus import Caller
from store.errors import TrialyardError
from store.messages import AttemptKey, FinishTask, TakeTask, TaskAssignment
from worker.ending import reason_of
from worker.reporter import PATIENCE_SECONDS
from worker.triallog import TrialLog


class Returned(TrialyardError):
    """The worker has to leave: the task is done elsewhere."""


@dataclass(frozen=True)
class Workplace:
    """What a task has to hand. `folder` is the task's own, and keeps what it leaves."""

    study_id: int
    folder: Folder
    artifacts: Artifacts
    should_leave: Callable[[], bool]

    def check(self) -> None:
        """To be called between two steps of a long task. Raises: Returned."""
        if self.should_leave():
            raise Returned


class TaskKind(Protocol):
    """How the tasks of one kind are done. Done twice, as after a crash, it comes to the same."""

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """What came of it, as JSON. Raises: Returned. Anything else: the task has failed."""


def do_task(
    kinds: Mapping[str, TaskKind],
    take: TakeTask,
    *,
    caller: Caller,
    artifacts: Artifacts,
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
    place = Workplace(
        take.study_id, artifacts.task(answer.attempt.study_id, answer.attempt.number), artifacts, should_leave
    )
    caller.call(_do(kinds, answer, place), PATIENCE_SECONDS)
    ended(answer.attempt)


def _do(kinds: Mapping[str, TaskKind], task: TaskAssignment, place: Workplace) -> FinishTask:
    """Whatever a task raises is its own end, and never the runner's."""
    with TrialLog(place.folder):
        try:
            place.check()
            result = kinds[task.task].run(task.request, place)
            return FinishTask(attempt=task.attempt, outcome="finished", result=result)
        except Returned:
            return FinishTask(attempt=task.attempt, outcome="returned")
        except Exception as error:  # noqa: BLE001 - a task may raise anything
            traceback.print_exc()
            return FinishTask(attempt=task.attempt, outcome="failed", reason=reason_of(error))
