"""What one attempt tells the scheduler, in order: at once, or, when nobody can be reached, from a spool later."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from store.bus import Caller
from store.errors import CutOff, OtherVersion, StaleAttempt, TrialyardError, Unavailable
from store.messages import AttemptKey, Decision, DecisionName, Finish, Report, Settled
from worker.spool import Spool

END_PATIENCE_SECONDS = 1800.0  # for the end to be heard; after that it is left to the machine's supervisor
TRY_SECONDS = 1.0  # how long a training that is cut off waits when it tries again,
PAUSE_SECONDS = 5.0  # and how long it goes on in between

log = structlog.get_logger(__name__)


class WrongAnswer(TrialyardError):
    """The scheduler answered something that does not fit the question."""


class Outgoing:
    """The reports of one attempt and its end. A training does not wait for a service that is away.

    Attributes:
        refused: how many messages came after the attempt had ended without us.
        gives_up: whether nobody has seen us for a lease, so that the trial may run elsewhere by now.
    """

    def __init__(
        self,
        caller: Caller,
        attempt: AttemptKey,
        spools: Path,
        patience: float,
        lease: float = math.inf,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            spools: the folder of this worker's spools.
            patience: seconds that a report waits for its answer before the training goes on without.
            lease: seconds without Redis after which the training gives up. While Redis is there and only the scheduler
                is not, the lease does not run out.
        """
        self.refused = 0
        self.gives_up = False
        self._caller = caller
        self._attempt = attempt
        self._patience = patience
        self._monotonic = monotonic
        self._spool = Spool(spools, attempt)
        self._unheard: deque[Report] = deque()
        self._try_at = 0.0
        self._lease = lease
        self._cut_off_since: float | None = None

    def report(self, report: Report) -> DecisionName:
        """Send a report and return its decision; "continue" while nobody can be reached.

        Raises:
            StaleAttempt: the attempt has ended without us; what it does is of no use any more.
        """
        is_cut_off = bool(self._unheard)
        self._unheard.append(report)
        if is_cut_off:
            self._spool.append(report)
            if self._monotonic() < self._try_at:
                return "continue"
        began_at = self._monotonic()
        try:
            return self._deliver(TRY_SECONDS if is_cut_off else self._patience)
        except Unavailable as error:
            self._watch_lease(error, began_at)
            if not is_cut_off:
                log.warning("the scheduler cannot be reached; going on without", attempt=self._attempt.token)
                self._spool.append(report)
            self._try_at = self._monotonic() + min(PAUSE_SECONDS, self._lease)
            return "continue"

    def finish(self, finish: Finish) -> Settled:
        """Send the end, after what was not heard before, and wait until it is settled.

        Raises:
            Unavailable: nobody answered for half an hour; the spool stays.
        """
        try:
            if self._unheard:
                self._spool.append(finish)
                self._spool.sync()
                with suppress(StaleAttempt):  # the end is refused as well, and the next trial is still to be asked for
                    self._deliver(END_PATIENCE_SECONDS)
                return self._settle(finish)
            return self._settle(finish, meanwhile=lambda: self._spool.append(finish))
        finally:
            self._spool.close()

    def _watch_lease(self, error: Unavailable, began_at: float) -> None:
        """Count from the first try that did not even reach Redis; a single one is not believed."""
        if not isinstance(error, CutOff):
            self._cut_off_since = None
        elif self._cut_off_since is None:
            self._cut_off_since = began_at
        elif self._monotonic() - self._cut_off_since >= self._lease and not self.gives_up:
            log.warning("cut off for longer than the lease; giving the trial up", attempt=self._attempt.token)
            self.gives_up = True

    def _settle(self, finish: Finish, meanwhile: Callable[[], None] = lambda: None) -> Settled:
        answer = self._caller.call(finish, END_PATIENCE_SECONDS, meanwhile, on_wait=self._spool.sync)
        if not isinstance(answer, Settled):
            raise WrongAnswer(f"the end of {self._attempt.token} was answered with {answer.kind!r}")
        self.refused += answer.stale
        self._spool.discard()
        return answer

    def _deliver(self, patience: float) -> DecisionName:
        """Send what is unheard, oldest first. Behind a decision to end, what came later is of no interest."""
        decision: DecisionName = "continue"
        while self._unheard and decision == "continue":
            try:
                answer = self._caller.call(self._unheard[0], patience)
            except OtherVersion:
                self._unheard.popleft()  # it was heard, and only its answer cannot be read
                raise
            if not isinstance(answer, Decision):
                raise WrongAnswer(f"a report of {self._attempt.token} was answered with {answer.kind!r}")
            if answer.stale:
                self.refused += len(self._unheard)
                self._unheard.clear()
                raise StaleAttempt(f"attempt {self._attempt.token} has ended already")
            self._unheard.popleft()
            self._cut_off_since = None
            decision = answer.decision
        self._unheard.clear()
        return decision
