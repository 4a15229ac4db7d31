"""Studies as people see and move them: made, listed, paused, resumed, cancelled, deleted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session, load_only

from store.errors import Conflict, NotFound
from store.models import (
    AttemptRow,
    EventRow,
    ReportRow,
    StudyRow,
    StudyState,
    TaskRow,
    TaskState,
    TrialRow,
    TrialState,
    WarmTrialRow,
)


@dataclass(frozen=True)
class Move:
    """What a person may do to a study's state: from one of `sources` to `target`."""

    done: str  # as in "the study cannot be paused"
    sources: frozenset[StudyState]
    target: StudyState


PAUSE = Move("paused", frozenset({StudyState.RUNNING}), StudyState.PAUSED)
RESUME = Move("resumed", frozenset({StudyState.PAUSED}), StudyState.RUNNING)
CANCEL = Move(
    "cancelled",
    frozenset({StudyState.PREPARING, StudyState.RUNNING, StudyState.PAUSED}),
    StudyState.CANCELLED,
)


class Studies:
    """Reads and writes the studies of one database session. Nothing here commits: the caller's boundary does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        name: str,
        definition: dict[str, Any],
        state: StudyState,
        at: datetime,
        warm_start: dict[str, Any] | None = None,
        warm_trials: Sequence[WarmTrialRow] = (),
    ) -> StudyRow:
        """Store a new study, with the first event of its log, and with what it begins with of another one's trials.

        Raises:
            Conflict: the name is taken.
            IntegrityError: another transaction took the name at this very moment.
        """
        if (taken := self._session.scalar(select(StudyRow).where(StudyRow.name == name))) is not None:
            raise Conflict(f"there is a study named {name!r} already{self._ways_round(taken)}")
        started_at = at if state is StudyState.RUNNING else None
        study = StudyRow(
            name=name,
            state=str(state),
            definition=definition,
            reason=None,
            errors=None,
            facts=None,
            warm_start=warm_start,
            last_event=1,
            created_at=at,
            started_at=started_at,
            ended_at=None,
        )
        self._session.add(study)
        self._session.flush()
        self._session.add(_state_event(study, at))
        for trial in warm_trials:
            trial.study_id = study.id
        self._session.add_all(warm_trials)
        self._session.flush()
        return study

    def get(self, name: str) -> StudyRow:
        """Raises: NotFound."""
        study = self._session.scalar(select(StudyRow).where(StudyRow.name == name))
        if study is None:
            raise NotFound(f"there is no study named {name!r}")
        return study

    def page(self, states: Collection[StudyState], before: int | None, most: int) -> Sequence[StudyRow]:
        """The newest first: at most `most` studies in one of the states (in any, if none is named)."""
        query = select(StudyRow).order_by(StudyRow.id.desc()).limit(most)
        if states:
            query = query.where(StudyRow.state.in_([str(state) for state in states]))
        if before is not None:
            query = query.where(StudyRow.id < before)
        return self._session.scalars(query).all()

    def names(self, study_ids: Collection[int]) -> dict[int, str]:
        query = select(StudyRow).where(StudyRow.id.in_(study_ids)).options(load_only(StudyRow.name))
        return {study.id: study.name for study in self._session.scalars(query)}

    def counts(self, study_ids: Collection[int]) -> dict[int, Counter[TrialState]]:
        """How many trials each study has in each state."""
        counts: dict[int, Counter[TrialState]] = {study_id: Counter() for study_id in study_ids}
        query = select(TrialRow.study_id, TrialRow.state, func.count()).where(TrialRow.study_id.in_(study_ids))
        for study_id, state, count in self._session.execute(query.group_by(TrialRow.study_id, TrialRow.state)):
            counts[study_id][TrialState(state)] = count
        return counts

    def move(self, name: str, move: Move, at: datetime) -> tuple[StudyRow, bool]:
        """Take a study to another state, and write that into its log. The scheduler then settles the trials.

        Returns:
            The study, and whether it moved: one that is where it shall go stays there.

        Raises:
            NotFound: there is no such study.
            Conflict: its state does not allow it.
        """
        columns: dict[str, Any] = {"state": str(move.target), "last_event": StudyRow.last_event + 1}
        if move.target.ended:
            columns["ended_at"] = at
        # Guarded by the states, so that what the scheduler decides at the same moment is not overwritten.
        statement = update(StudyRow).where(StudyRow.name == name, StudyRow.state.in_(list(map(str, move.sources))))
        study = self._session.scalar(statement.values(columns).returning(StudyRow))
        if study is None:
            return self._unmoved(name, move), False
        self._session.add(_state_event(study, at))
        self._session.flush()
        return study, True

    def delete(self, name: str) -> int:
        """Delete an ended or paused study with its trials, reports and events.

        Returns:
            Its number, below which its artifacts lie.

        Raises:
            NotFound: there is no such study.
            Conflict: it is not at rest.
        """
        # The lock holds off the scheduler, which could begin an attempt between the look and the deletion.
        study = self._session.scalar(select(StudyRow).where(StudyRow.name == name).with_for_update())
        if study is None:
            raise NotFound(f"there is no study named {name!r}")
        if not (StudyState(study.state).ended or study.state == StudyState.PAUSED):
            raise Conflict(f"the study {name!r} is {study.state}; cancel or pause it, then delete it")
        running = exists().where(AttemptRow.study_id == study.id, AttemptRow.ended_at.is_(None))
        if self._session.scalar(select(running)):
            raise Conflict(f"trials of the study {name!r} are still running; delete it when they have stopped")
        busy = exists().where(TaskRow.study_id == study.id, TaskRow.state == str(TaskState.RUNNING))
        if self._session.scalar(select(busy)):
            raise Conflict(f"a worker is at work on the models of the study {name!r}; delete it when that has ended")
        # One statement each: cascades go row by row.
        for table in (ReportRow, AttemptRow, TrialRow, WarmTrialRow, EventRow, TaskRow):
            self._session.execute(delete(table).where(table.study_id == study.id))
        self._session.execute(delete(StudyRow).where(StudyRow.id == study.id))
        return study.id

    def _ways_round(self, study: StudyRow) -> str:
        """What can be done where a study has the name: one that was cancelled or never had a trial goes on no more."""
        another, delete = "give this one another name", f"delete that one (`trialyard delete {study.name}`)"
        has_trials = self._session.scalar(select(exists().where(TrialRow.study_id == study.id)))
        if StudyState(study.state).ended and not has_trials:
            return f", {study.state} without a trial; {another}, or {delete}"
        if study.state == StudyState.CANCELLED:
            learn = f"warm_start: {{study: {study.name}}} learns from its trials"
            return f", CANCELLED for good; {another} ({learn}), or {delete}"
        return f"; {another}, or give that one more to do (`trialyard edit {study.name}`), or delete it"

    def _unmoved(self, name: str, move: Move) -> StudyRow:
        study = self.get(name)
        state = StudyState(study.state)
        if state is move.target:
            return study
        if state.ended:
            raise Conflict(f"the study {name!r} has ended ({state}) and cannot be {move.done}")
        allowed = " or ".join(sorted(move.sources))
        raise Conflict(f"the study {name!r} is {state}; only one that is {allowed} can be {move.done}")


def _state_event(study: StudyRow, at: datetime) -> EventRow:
    body: dict[str, Any] = {"state": study.state, "reason": study.reason, "errors": study.errors}
    if study.warm_start is not None and study.last_event == 1:
        body["warm_start"] = study.warm_start
    return EventRow(study_id=study.id, sequence=study.last_event, kind="study", body=body, at=at)
