"""The one active scheduler of a database, by a lease row with a fencing number.

Every transaction of the holder raises `beat` under its own fence, so a holder that was presumed dead and comes back
cannot commit. Nobody's clock is compared with another's: a standby watches the beat on its own monotonic clock.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from search.rows import Batch
from store.errors import LostLease
from store.models import SchedulerLeaseRow

FREE = ""  # the holder's name after it left in good order

_BEAT = "UPDATE scheduler_lease SET beat = beat + 1 WHERE id = 1 AND fence = {number}"

log = structlog.get_logger(__name__)


class SchedulerLease:
    """One scheduler's claim to be the active one."""

    def __init__(
        self,
        writes: sessionmaker[Session],
        lease_seconds: float,
        holder: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writes = writes
        self._seconds = lease_seconds
        self._holder = holder
        self._monotonic = monotonic
        self._fence = 0  # ours; 0 while we hold nothing
        self._seen: tuple[int, int] | None = None  # fence and beat of the present holder …
        self._seen_at = 0.0  # … and when we first saw that beat

    def try_acquire(self) -> bool:
        """Become the active scheduler if nobody is: no holder, one that left, one that is silent or known dead."""
        with self._writes.begin() as session:
            row = session.get(SchedulerLeaseRow, 1)
            if row is None:
                return self._found(session)
            if self._fence and (row.fence, row.holder) == (self._fence, self._holder):
                return True
            if not self._is_abandoned(row):
                return False
            return self._take_over(session, row)

    def renew(self, rows: Batch) -> None:
        """Part of every transaction of the active scheduler.

        Raises:
            LostLease: another one has taken over, and the transaction does not commit; on PostgreSQL it is the batch
                that raises it.
        """
        rows.require(_BEAT, self._fence, LostLease("another scheduler has taken over"))

    def release(self) -> None:
        """Leave in good order, so that a standby need not wait; if the database is away, it will have to."""
        if not self._fence:
            return
        ours = (SchedulerLeaseRow.id == 1, SchedulerLeaseRow.fence == self._fence)
        self._fence = 0
        try:
            with self._writes.begin() as session:
                session.execute(update(SchedulerLeaseRow).where(*ours).values(holder=FREE))
        except DBAPIError as error:
            log.warning("could not give the lease back", error=str(error.orig)[:500])

    def _found(self, session: Session) -> bool:
        session.add(SchedulerLeaseRow(id=1, holder=self._holder, fence=1, beat=0))
        try:
            session.flush()
        except IntegrityError:  # another one was faster
            session.rollback()
            return False
        self._fence = 1
        return True

    def _is_abandoned(self, row: SchedulerLeaseRow) -> bool:
        if row.holder == FREE or is_dead(row.holder):
            return True
        if self._seen != (row.fence, row.beat):
            self._seen, self._seen_at = (row.fence, row.beat), self._monotonic()
            return False
        return self._monotonic() - self._seen_at > self._seconds

    def _take_over(self, session: Session, row: SchedulerLeaseRow) -> bool:
        unchanged = (SchedulerLeaseRow.fence == row.fence, SchedulerLeaseRow.beat == row.beat)
        statement = update(SchedulerLeaseRow).where(SchedulerLeaseRow.id == 1, *unchanged)
        statement = statement.values(holder=self._holder, fence=row.fence + 1, beat=row.beat + 1)
        taken = session.execute(statement.returning(SchedulerLeaseRow.fence)).scalar_one_or_none()
        self._fence = taken or 0
        return taken is not None


def holder_name() -> str:
    """This process, such that others on the same machine can tell whether it still lives."""
    return f"{_place()}/{os.getpid()}/{_start_time(os.getpid())}"


def is_dead(holder: str) -> bool:
    """Whether a holder is known to be dead: a process of this very machine and process namespace that is no more."""
    place, _, process = holder.rpartition("/")[0].rpartition("/")
    started = holder.rpartition("/")[2]
    return place == _place() and process.isdigit() and _start_time(int(process)) != started


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:  # no /proc: then nobody is ever known to be dead
        return f"{socket.gethostname()}/{time.time_ns()}"
    return f"{socket.gethostname()}/{boot}/{namespace}"


def _start_time(process: int) -> str:
    """When a process began, in clock ticks since boot; "" if there is none of this number (or only its zombie)."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
