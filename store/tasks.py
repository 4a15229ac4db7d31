"""The tasks of a study: jobs that follow its trials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.errors import NotFound
from store.models import StudyRow, TaskRow, TaskState

SHOWN = 5  # numbers of a kind, in an error; tasks of all kinds are counted together


class Tasks:
    """Reads and writes the tasks of one study. Nothing here commits: the caller's boundary does."""

    def __init__(self, session: Session, study: StudyRow) -> None:
        self._session = session
        self._study = study

    def add(self, kind: str, request: dict[str, Any], at: datetime) -> TaskRow:
        """A new task, QUEUED; the scheduler hands it to a worker of the study's pool.

        Raises:
            NotFound: the study was deleted at this very moment.
        """
        counted = update(StudyRow).where(StudyRow.id == self._study.id).values(last_task=StudyRow.last_task + 1)
        number = self._session.scalar(counted.returning(StudyRow.last_task))
        if number is None:
            raise NotFound(f"there is no study named {self._study.name!r}")
        task = TaskRow(
            study_id=self._study.id,
            number=number,
            kind=kind,
            state=str(TaskState.QUEUED),
            request=request,
            created_at=at,
        )
        self._session.add(task)
        self._session.flush()
        return task

    def get(self, number: int, kind: str) -> TaskRow:
        """Raises: NotFound."""
        task = self._session.get(TaskRow, (self._study.id, number))
        if task is None or task.kind != kind:
            others = ", ".join(str(each.number) for each in reversed(self.page(kind, None, SHOWN)))
            known = f"; it has {others}" if others else ""
            raise NotFound(f"the study {self._study.name!r} has no {kind} {number}{known}")
        return task

    def page(self, kind: str, before: int | None, most: int) -> Sequence[TaskRow]:
        """The newest first: at most `most` of a kind."""
        query = select(TaskRow).where(TaskRow.study_id == self._study.id, TaskRow.kind == kind)
        if before is not None:
            query = query.where(TaskRow.number < before)
        return self._session.scalars(query.order_by(TaskRow.number.desc()).limit(most)).all()

    def delete(self, number: int) -> None:
        self._session.execute(delete(TaskRow).where(TaskRow.study_id == self._study.id, TaskRow.number == number))
