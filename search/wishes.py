"""What people ask of a study through the API."""

from __future__ import annotations

from sqlalchemy.orm import Session, sessionmaker

from search.ledger import Ledger
from search.live_study import LiveStudy
from search.loading import load_trial
from store.messages import Amend, CancelTrial, Done, Enqueue, Refused, RetryTrial


def fulfil(
    reads: sessionmaker[Session],
    study: LiveStudy,
    request: Enqueue | CancelTrial | RetryTrial | Amend,
    ledger: Ledger,
) -> Done | Refused:
    """Do what a person asked for, or say why not."""
    match request:
        case Enqueue():
            return study.enqueue(request, ledger)
        case CancelTrial():
            return study.cancel_trial(request, ledger)
        case Amend():
            return study.amend(request, ledger)
    with reads() as session:
        trial = load_trial(session, study.id, request.number)
    return study.retry(trial, ledger) if trial else Refused(message=f"there is no trial {request.number}")
