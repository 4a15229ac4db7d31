"""A study's event log: numbered from 1 without gaps, in the order of the commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from store.models import EventRow, StudyRow, StudyState, TrialRow, TrialState

OPEN_TRIAL = [str(state) for state in TrialState if not state.ended]


@dataclass(frozen=True)
class EventPage:
    """A stretch of the log. `is_last`: nothing follows now; `is_end`: the study has ended."""

    events: Sequence[EventRow]
    is_last: bool
    is_end: bool


def read_events(session: Session, study_id: int, after: int, most: int) -> EventPage:
    """What stands in the log behind event `after`, at most so many. A study that was deleted has an empty end.

    A study that was cancelled has not come to its end before the scheduler has settled its last open trial.
    """
    state = session.scalar(select(StudyRow.state).where(StudyRow.id == study_id))
    query = select(EventRow).where(EventRow.study_id == study_id, EventRow.sequence > after)
    events = session.scalars(query.order_by(EventRow.sequence).limit(most)).all()
    is_last = len(events) < most
    ended = state is None or (StudyState(state).ended and not _has_open_trials(session, study_id))
    return EventPage(events, is_last, is_last and ended)


def _has_open_trials(session: Session, study_id: int) -> bool:
    open_trial = exists().where(TrialRow.study_id == study_id, TrialRow.state.in_(OPEN_TRIAL))
    return bool(session.scalar(select(open_trial)))
