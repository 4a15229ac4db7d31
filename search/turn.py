"""One turn of the scheduler: a batch of messages as it was taken in, with what it changes and what is answered."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from search.lease import SchedulerLease
from search.ledger import Ledger
from search.live_study import LiveStudy
from search.rows import batch
from store.bus import Received
from store.messages import Finish, Holds, Reply, Report
from store.outage import Slowness

QUICK_SECONDS = 0.002  # about as long as a commit: who waits for one does not wait for a longer proposal beside it
RETURN_SECONDS = 0.0003  # about what a worker needs for its next message
MOST_LOOKS = 4  # for such messages, before a batch goes without the rest of them
SLOW_SECONDS = 0.001  # of idly waiting for a commit, from which on it is worth to wait for messages to spare one
SLOW_COMMIT_SECONDS = 1.0  # about as long as somebody waits at an epoch's end without minding
PAUSE_SECONDS = 0.002  # while PostgreSQL writes, between two looks at what has come in; then twice as long, and so on

Job = tuple[int, int | None, int]  # a study, a trial or None for the preflight, an attempt


@dataclass
class Turn:
    """What is still to be done once the messages are folded into memory."""

    ledger: Ledger
    received: list[Received] = field(default_factory=list)
    replies: list[tuple[str, Reply]] = field(default_factory=list)
    # That should be in the queue when the ledger is written
    jobs: Mapping[Job, LiveStudy] = field(default_factory=dict)


@dataclass
class Sent:
    """A ledger on its way into SQL.

    Attributes:
        commit: waits until all is committed, and gives the newest event's number of each study that got events.
        socket: what has something to read once all is done; None if nothing is done before `commit` is called.
        idle_seconds: for how long it was waited for with nothing to do beside it.
    """

    commit: Callable[[], dict[int, int]]
    socket: int | None
    idle_seconds: float = field(default=0.0, init=False)

    def wait(self) -> dict[int, int]:
        """To be called before anything else is written: what `commit` gives."""
        began = time.monotonic()
        events = self.commit()
        self.idle_seconds += time.monotonic() - began
        return events

    def meanwhile(self) -> Iterator[None]:
        """Until all is done, ever less often: when to look what has come in."""
        pause, is_done = PAUSE_SECONDS, self.socket is None
        while not is_done:
            yield
            is_done = self._is_done(0.0)
            if not is_done:
                began = time.monotonic()
                is_done = self._is_done(pause)
                self.idle_seconds += time.monotonic() - began
                pause *= 2

    def _is_done(self, seconds: float) -> bool:
        answer = select.poll()
        answer.register(self.socket or 0, select.POLLIN)
        return bool(answer.poll(1000 * seconds))


def can_be_folded_ahead(received: Sequence[Received], studies: Mapping[int, LiveStudy]) -> bool:
    """Whether messages ask memory alone, as SQL does not show yet what came before them; and are folded quickly, as
    the answers to those before them wait."""
    for request in (each.request for each in received):
        if not isinstance(request, Report | Holds | Finish) or request.attempt.study_id not in studies:
            return False
        pulls = isinstance(request, Finish) and request.pull
        if pulls and studies[request.attempt.study_id].proposal_seconds > QUICK_SECONDS:
            return False
    return True


def with_returning(
    received: Sequence[Received], away: int, read: Callable[[], Sequence[Received]]
) -> Iterator[Sequence[Received]]:
    """What has come in, and then what those send who were answered a moment ago, so many of them.

    They come back one after the other, and without waiting for them one batch would be made of two. What is done with
    the first of it is done while the others are on their way.
    """
    looks = MOST_LOOKS
    while True:
        looked = time.monotonic()
        yield received
        if not looks or away <= 0:
            return
        time.sleep(max(0.0, looked + RETURN_SECONDS - time.monotonic()))
        received = read()
        away -= len(received)
        looks = looks - 1 if received else 0


class Outbox:
    """How ledgers come into SQL, one after the other."""

    def __init__(self, engine: Engine, lease: SchedulerLease) -> None:
        self._engine = engine
        self._lease = lease
        self._held: Connection | None = None
        self._slowness = Slowness("the database is slow; workers wait so long for an answer", SLOW_COMMIT_SECONDS)

    def send(self, ledger: Ledger) -> Sent:
        """Send a ledger on its way."""
        began = time.monotonic()
        with ExitStack() as stack:
            if ledger.is_of_trials_alone:
                connection = stack.enter_context(self._hold())  # the batch is a transaction of its own
            else:
                connection = stack.enter_context(self._engine.begin())
                with Session(connection) as session:
                    ledger.write_studies(session)
            rows = stack.enter_context(batch(connection))
            self._lease.renew(rows)
            newest = ledger.write(rows)
            socket = rows.send()
            sent = stack.pop_all()

        def wait() -> dict[int, int]:
            sent.close()
            self._slowness.took(time.monotonic() - began)
            return newest()

        return Sent(wait, socket if ledger.is_of_trials_alone else None)

    def close(self) -> None:
        """Give up the connection that is held from batch to batch."""
        if self._held is not None:
            self._held.close()
            self._held = None

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
