"""What one study makes us raise, in a way that nobody foresaw, ends that study and takes no other along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from search.ledger import Ledger
from search.live_study import LiveStudy
from store.errors import TrialyardError
from store.messages import (
    Amend,
    Answer,
    Ask,
    CancelTrial,
    Decision,
    Enqueue,
    Finish,
    Handed,
    Holds,
    Nothing,
    Refused,
    Report,
    Request,
    RetryTrial,
    Settled,
)

FORESEEN = (TrialyardError, SQLAlchemyError, RedisError)

log = structlog.get_logger(__name__)


@contextmanager
def by_itself(study: LiveStudy | None, ledger: Ledger) -> Iterator[None]:
    """End the study if anything inside fails in a way that nobody foresaw; without a study that is raised."""
    try:
        yield
    except FORESEEN:
        raise
    except Exception as error:
        if study is None:
            raise
        log.exception("a study has failed by a fault of ours or of its sampler's", study=study.id)
        study.fail(f"{type(error).__name__}: {error}", ledger)


def study_of(request: Request) -> int | None:
    """The study that a request is about; None if it is about none, or all."""
    if isinstance(request, Report | Holds | Finish):
        return request.attempt.study_id
    return getattr(request, "study_id", None)


def without_its_study(request: Request) -> Answer:
    """What is answered to a request whose study has ended, or has just failed over it."""
    match request:
        case Report() | Holds():
            return Decision(decision="stop", stale=True)
        case Finish():
            return Settled(stale=True)
        case Ask():
            return Handed(ended=True)
        case Enqueue() | CancelTrial() | RetryTrial() | Amend():
            return Refused(message="the study has just failed; its reason says why")
    return Nothing()
