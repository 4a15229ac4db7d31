"""What people ask of a study through the API."""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy.orm import Session, sessionmaker

from search.amending import amended
from search.isolation import FORESEEN
from search.ledger import Ledger
from search.live_study import LiveStudy
from search.loading import load_study, load_trial
from store.errors import DefinitionError
from store.messages import Amend, CancelTrial, Done, Enqueue, Refused, RetryTrial
from store.models import StudyRow, StudyState

log = structlog.get_logger(__name__)


def fulfil(
    reads: sessionmaker[Session],
    study: LiveStudy,
    request: Enqueue | CancelTrial | RetryTrial | Amend,
    ledger: Ledger,
) -> Done | Refused:
    """Do what a person asked for, or say why not."""
    if study.state is StudyState.CANCELLED:
        return Refused(message=_cancelled(study.definition.name))
    if study.state.ended:
        return Refused(message="the study is ending at this moment; ask again")
    match request:
        case Enqueue():
            return study.enqueue(request, ledger)
        case CancelTrial():
            return study.cancel_trial(request, ledger)
        case Amend():
            try:
                return study.amend(request, ledger)
            except DefinitionError as error:
                return Refused(message=str(error.problems[0]))
    with reads() as session:
        trial = load_trial(session, study.id, request.number)
    return study.retry(trial, ledger) if trial else _no_trial(request)


def take_up(session: Session, request: Amend | RetryTrial, ledger: Ledger) -> LiveStudy | Refused:
    """A study that has ended, to go on with what a person gave it to do, or why it cannot."""
    row = session.get(StudyRow, request.study_id)
    if row is None or row.ended_at is None:
        return Refused(message="there is no such study any more")
    if row.state == StudyState.CANCELLED:
        return Refused(message=_cancelled(row.name))
    try:
        study = load_study(session, row.id)
        if study.state is StudyState.FAILED and not study.counts.total():
            return Refused(message=f"the study {row.name!r} failed before its first trial; submit one that is right")
        match request:
            case RetryTrial():
                trial = load_trial(session, study.id, request.number)
                answer = study.take_up_trial(trial, row.ended_at, ledger) if trial else _no_trial(request)
            case Amend():
                answer = _amended(session, study, request, row.ended_at, ledger)
    except DefinitionError as error:
        return Refused(message=str(error.problems[0]))
    except FORESEEN:
        raise
    except Exception as error:
        log.exception("a study cannot be taken up", study=row.id)
        return Refused(message=f"the study cannot be loaded ({type(error).__name__}: {error}); it stays {row.state}")
    return answer if isinstance(answer, Refused) else study


def _amended(session: Session, study: LiveStudy, request: Amend, ended_at: datetime, ledger: Ledger) -> Done | Refused:
    """Raises: DefinitionError"""
    if request.changes_space and study.definition.sampler.name == "grid" and _is_tried(session, study, request):
        why = "every point of this grid was tried; give a parameter more values"
        return Refused(message=f"the study has ended ({study.state}), and this gives it nothing to do: {why}")
    return study.take_up(request, ended_at, ledger)


def _no_trial(request: RetryTrial) -> Refused:
    return Refused(message=f"there is no trial {request.number}")


def _cancelled(name: str) -> str:
    cure = f"a new one learns from its trials with warm_start: {{study: {name}}}"
    return f"the study {name!r} was cancelled and changes no more; {cure}"


def _is_tried(session: Session, study: LiveStudy, request: Amend) -> bool:
    """Whether the grid that a study would have with another space has no point left.

    Raises:
        DefinitionError: it would not be valid.
    """
    changed = amended(study.definition, request, study.optuna, study.optuna.enqueued)
    return load_study(session, study.id, changed).optuna.is_exhausted
