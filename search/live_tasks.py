"""The tasks that have not ended, as the scheduler holds them: who does which, and what becomes of one that is lost.

SQL is where they stand. The API writes a task QUEUED and deletes those that nobody waits for any more; whatever else
happens to one is written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from search.ledger import Ledger
from store.messages import AttemptKey, FinishTask, Nothing, Settled, TakeTask, TaskAssignment
from store.models import StudyRow, TaskRow, TaskState
from store.queue import TrialQueue, WaitingJob

MOST_RETRIES = 2  # a task whose processes died more often will kill the next one, too
COLLECT = "collect"
OPEN = (str(TaskState.QUEUED), str(TaskState.RUNNING))


class TaskKey(NamedTuple):
    study_id: int
    number: int


@dataclass
class LiveTask:
    """A task's columns that change, and where it may run."""

    key: TaskKey
    kind: str
    request: dict[str, Any]
    pool: str
    gpus: int
    state: TaskState
    attempt: int
    retries: int
    worker: str
    started_at: datetime | None

    @property
    def attempt_key(self) -> AttemptKey:
        return AttemptKey(*self.key, self.attempt)


class LiveTasks:
    """The open tasks of all studies, ended ones too."""

    def __init__(self) -> None:
        self._open: dict[TaskKey, LiveTask] = {}
        self._enqueued: set[WaitingJob] = set()  # jobs made by us; the queue itself may be wiped
        self._deleted: set[TaskKey] = set()  # while a worker did them, and it has not come to their end

    def follow(self, session: Session) -> None:
        """Take over the tasks that were made, and drop those that were deleted."""
        query = select(TaskRow.study_id, TaskRow.number).where(TaskRow.state.in_(OPEN))
        there = {TaskKey(*row) for row in session.execute(query)}
        for key in self._open.keys() - there:
            if self._open.pop(key).state is TaskState.RUNNING:
                self._deleted.add(key)
        for key in sorted(there - self._open.keys()):
            self._open[key] = _load(session, key)

    def reconcile(self, queue: TrialQueue) -> None:
        """Find out which jobs a wipe has taken."""
        self._enqueued &= queue.waiting_tasks()

    def enqueue(self, queue: TrialQueue) -> None:
        """Make the jobs that are missing; before all others, but for the house's own."""
        queued = (task for task in self._open.values() if task.state is TaskState.QUEUED)
        jobs = {WaitingJob(*task.key, task.attempt + 1): task for task in queued}
        for job in jobs.keys() - self._enqueued:
            task = jobs[job]
            queue.enqueue_task(job, pool=task.pool, gpus=task.gpus, at_front=task.kind != COLLECT)
        self._enqueued = set(jobs)

    def workers(self) -> set[str]:
        """Who does a task now."""
        return {task.worker for task in self._open.values() if task.state is TaskState.RUNNING}

    def take(self, request: TakeTask, ledger: Ledger) -> TaskAssignment | Nothing:
        """A worker has a task's job in hand."""
        task = self._open.get(TaskKey(request.study_id, request.number))
        if task is None or (task.state is TaskState.RUNNING and task.worker != request.worker):
            return Nothing()
        if task.state is TaskState.QUEUED:
            task.state, task.worker, task.started_at = TaskState.RUNNING, request.worker, ledger.at
            task.attempt += 1
            _write(task, ledger)
        return TaskAssignment(attempt=task.attempt_key, task=task.kind, request=task.request)

    def finish(self, request: FinishTask, ledger: Ledger) -> Settled:
        """Accept the end of an attempt, once."""
        key = TaskKey(request.attempt.study_id, request.attempt.number)
        if key in self._deleted:
            self._deleted.remove(key)
            return Settled(stale=True, gone=True)
        task = self._open.get(key)
        if task is None or task.state is not TaskState.RUNNING or task.attempt != request.attempt.attempt:
            return Settled(stale=True)
        match request.outcome:
            case "finished":
                self._end(task, TaskState.COMPLETE, ledger, result=request.result)
            case "failed":
                self._end(task, TaskState.FAILED, ledger, reason=request.reason or "it failed without a reason")
            case "returned":
                self._again(task, ledger)
            case "lost":
                self._lose(task, request.reason or "its process died", ledger)
        return Settled()

    def lose_those_of(self, worker: str, why: str, ledger: Ledger, but: TaskKey | None = None) -> None:
        """A worker is gone, or has gone on to something else."""
        for task in list(self._open.values()):
            if task.state is TaskState.RUNNING and task.worker == worker and task.key != but:
                self._lose(task, why, ledger)

    def _lose(self, task: LiveTask, why: str, ledger: Ledger) -> None:
        if task.retries >= MOST_RETRIES:
            reason = f"lost {task.retries + 1} times, the last time because {why}"
            self._end(task, TaskState.FAILED, ledger, reason=reason)
        else:
            task.retries += 1
            self._again(task, ledger)

    def _again(self, task: LiveTask, ledger: Ledger) -> None:
        task.state, task.worker = TaskState.QUEUED, ""
        _write(task, ledger)

    def _end(
        self,
        task: LiveTask,
        state: TaskState,
        ledger: Ledger,
        result: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> None:
        task.state = state
        _write(task, ledger, ended_at=ledger.at, result=result, reason=reason)
        del self._open[task.key]


def _load(session: Session, key: TaskKey) -> LiveTask:
    task, definition = session.execute(
        select(TaskRow, StudyRow.definition)
        .join(StudyRow, StudyRow.id == TaskRow.study_id)
        .where(TaskRow.study_id == key.study_id, TaskRow.number == key.number)
    ).one()
    resources = definition["resources"]
    return LiveTask(
        key=key,
        kind=task.kind,
        request=task.request,
        pool=resources["pool"],
        gpus=resources["gpus"],
        state=TaskState(task.state),
        attempt=task.attempt,
        retries=task.retries,
        worker=task.worker or "",
        started_at=task.started_at,
    )


def _write(task: LiveTask, ledger: Ledger, **columns: Any) -> None:
    row = {name: getattr(task, name) for name in ("attempt", "retries", "worker", "started_at")}
    ledger.change_task(*task.key, row | {"state": str(task.state)} | columns)
