"""One turn of the scheduler: a batch of messages as it was taken in, with what it changes and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from search.lease import SchedulerLease
from search.ledger import Ledger
from search.live_study import LiveStudy
from search.rows import batch
from store.bus import Received
from store.messages import Finish, Reply, Report

QUICK_SECONDS = 0.002  # about as long as a commit: who waits for one does not wait for a longer proposal beside it

FEW_PAGES = 64  # of a table; with fewer rows than that the planner would compare each with each, and keep to it

_TRIALS_COUNTED = "SELECT reltuples, pg_relation_size(oid) / 8192 FROM pg_class WHERE oid = 'trial'::regclass"

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


class Outbox:
    """How ledgers come into SQL, one after the other."""

    def __init__(self, engine: Engine, lease: SchedulerLease) -> None:
        self._engine = engine
        self._lease = lease
        self._held: Connection | None = None
        self._is_informed = False

    def send(self, ledger: Ledger) -> Callable[[], dict[int, int]]:
        """Send a ledger on its way.

        Returns:
            To be called before anything else is written: waits until all is committed, and gives the newest event's
            number of each study that got events.
        """
        with ExitStack() as stack:
            if ledger.is_of_trials_alone:
                connection = stack.enter_context(self._hold())  # the batch is a transaction of its own
            else:
                connection = stack.enter_context(self._engine.begin())
            if not ledger.is_of_trials_alone:
                with Session(connection) as session:
                    ledger.write_studies(session)
            rows = stack.enter_context(batch(connection))
            self._lease.renew(rows)
            newest = ledger.write(rows)
            rows.send()
            sent = stack.pop_all()

        def wait() -> dict[int, int]:
            sent.close()
            return newest()

        return wait

    def close(self) -> None:
        """Give up the connection that is held from batch to batch."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def inform_planner(self) -> None:
        """Let PostgreSQL count the trials of a database that is new, which it does by itself within a minute.

        As long as it does not know that they are of few studies, it looks each of them up by its study alone, and reads
        all trials of the study for it.
        """
        if self._is_informed or self._engine.dialect.name != "postgresql":
            return
        with self._engine.begin() as connection:
            counted, pages = connection.execute(text(_TRIALS_COUNTED)).one()
            if counted <= 0 and pages >= FEW_PAGES:
                connection.execute(text("ANALYZE trial, attempt"))
        self._is_informed = counted > 0

    @contextmanager
    def _hold(self) -> Iterator[Connection]:
        """A connection that is kept from one batch to the next: to take one from the pool and to give it back costs as
        much as three reports."""
        if self._held is None:
            self._held = self._engine.connect()
        try:
            yield self._held
        except BaseException:
            self._held.invalidate()
            self._held.close()
            self._held = None
            self._engine.dispose()  # if the database has ended it, it has ended those in the pool, too
            raise
