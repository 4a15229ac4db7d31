"""The tasks of a study: jobs that follow its trials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from store.errors import NotFound
from store.models import StudyRow, TaskRow, TaskState

ENSEMBLE = "ensemble"  # the kind that people call by a number of its own
SHOWN = 5  # numbers, in an error


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
        raised = {"last_task": StudyRow.last_task + 1, "last_ensemble": StudyRow.last_ensemble + int(kind == ENSEMBLE)}
        counted = update(StudyRow).where(StudyRow.id == self._study.id).values(raised)
        numbers = self._session.execute(counted.returning(StudyRow.last_task, StudyRow.last_ensemble)).one_or_none()
        if numbers is None:
            raise NotFound(f"there is no study named {self._study.name!r}")
        task = TaskRow(
            study_id=self._study.id,
            number=numbers.last_task,
            ordinal=numbers.last_ensemble if kind == ENSEMBLE else None,
            kind=kind,
            state=str(TaskState.QUEUED),
            request=request,
            created_at=at,
        )
        self._session.add(task)
        self._session.flush()
        return task

    def ensemble(self, ordinal: int) -> TaskRow:
        """Raises: NotFound."""
        query = select(TaskRow).where(TaskRow.study_id == self._study.id, TaskRow.ordinal == ordinal)
        task = self._session.scalars(query).one_or_none()
        if task is None:
            newest = [str(each.ordinal) for each in reversed(self.page(ENSEMBLE, None, SHOWN))]
            known = f"; its newest are {', '.join(newest)}" if newest else ""
            raise NotFound(f"the study {self._study.name!r} has no ensemble {ordinal}{known}")
        return task

    def page(self, kind: str, before: int | None, most: int) -> Sequence[TaskRow]:
        """The newest first: at most `most` of a kind."""
        query = select(TaskRow).where(TaskRow.study_id == self._study.id, TaskRow.kind == kind)
        if before is not None:
            query = query.where(TaskRow.number < before)
        return self._session.scalars(query.order_by(TaskRow.number.desc()).limit(most)).all()

    def delete(self, number: int) -> None:
        self._session.execute(delete(TaskRow).where(TaskRow.study_id == self._study.id, TaskRow.number == number))
