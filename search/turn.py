"""One turn of the scheduler: a batch of messages as it was taken in, with what it changes and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from search.lease import SchedulerLease
from search.ledger import Ledger
from search.live_study import LiveStudy
from search.rows import batch
from store.bus import Received
from store.messages import Finish, Reply, Report

QUICK_SECONDS = 0.002  # about as long as a commit: who waits for one does not wait for a longer proposal beside it

Job = tuple[int, int | None, int]  # a study, a trial or None for the preflight, an attempt


@dataclass(frozen=True)
class Turn:
    """What is still to be done once the messages are folded into memory, in this order."""

    received: Sequence[Received]
    ledger: Ledger
    replies: Sequence[tuple[str, Reply]]
    jobs: Mapping[Job, LiveStudy]  # those that should be in the queue when the ledger is written


def can_be_folded_ahead(received: Sequence[Received], studies: Mapping[int, LiveStudy]) -> bool:
    """Whether messages ask memory alone, as SQL does not show yet what came before them; and are folded quickly, as
    the answers to those before them wait."""
    for request in (each.request for each in received):
        if not isinstance(request, Report | Finish) or request.attempt.study_id not in studies:
            return False
        pulls = isinstance(request, Finish) and request.pull
        if pulls and studies[request.attempt.study_id].proposal_seconds > QUICK_SECONDS:
            return False
    return True


def send(engine: Engine, lease: SchedulerLease, ledger: Ledger) -> Callable[[], dict[int, int]]:
    """Send a ledger on its way to SQL.

    Returns:
        To be called before anything else is written: waits until all is committed, and gives the newest event's number
        of each study that got events.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(engine.begin())
        if not ledger.is_of_trials_alone:
            with Session(connection) as session:
                ledger.write_studies(session)
        rows = stack.enter_context(batch(connection))
        lease.renew(rows)
        newest = ledger.write(rows)
        rows.send()
        transaction = stack.pop_all()

    def wait() -> dict[int, int]:
        transaction.close()
        return newest()

    return wait
