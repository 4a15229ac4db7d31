"""The scheduler: reads what workers report, settles it in SQL, decides, and keeps the queue filled.

Its loop is the architecture: read a batch, fold it into memory and a ledger, commit the ledger in one transaction, then
acknowledge and answer, then enqueue. What a worker is told has been committed; what has been committed is only then
acknowledged. While PostgreSQL commits one batch the next may be folded, which waits for its turn to be committed. A
crash between any two lines repeats work, and every step accepts a repeat.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from search.garbage import spare_the_living
from search.given_answers import GivenAnswers
from search.gp_process import GpProcess
from search.isolation import by_itself, study_of, without_its_study
from search.keeping import Housekeeping, with_surplus
from search.lease import SchedulerLease, holder_name
from search.ledger import Ledger, TrialKey
from search.live_study import LiveStudy
from search.live_tasks import LiveTasks, TaskKey
from search.liveness import Liveness
from search.loading import load_studies, refusal_of, study_states
from search.pools import Pools, Seats
from search.solitude import Solitude
from search.turn import SLOW_SECONDS, Job, Outbox, Sent, Turn, can_be_folded_ahead, with_returning
from search.wishes import fulfil, take_up
from store.bus import Caller, Inbox, Received, StreamLost
from store.errors import LostLease
from store.messages import (
    Amend,
    Answer,
    Ask,
    CancelTrial,
    Done,
    Enqueue,
    Finish,
    FinishTask,
    Gone,
    Holds,
    Nothing,
    Preflighted,
    Refused,
    Reply,
    Report,
    Request,
    RetryTrial,
    Take,
    TakeTask,
    Wake,
)
from store.models import StudyState
from store.outage import Outage
from store.queue import TrialQueue
from store.session import reads, writes
from store.settings import Settings

RECONCILE_SECONDS = 5.0  # how often the queue is compared with what SQL says should be in it
SILENCE_SECONDS = 1.5 * RECONCILE_SECONDS  # after which a scheduler that has spoken in Redis is gone
RETRY_SECONDS = 0.5  # after Redis or the database was away

log = structlog.get_logger(__name__)


class Scheduler:
    """Everything one active scheduler does. `run` stands by until it may be the active one."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        client: redis.Redis,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._reads = reads(engine)
        self._clock = clock
        self._monotonic = monotonic
        self._holder = holder_name()
        self._lease = SchedulerLease(writes(engine), settings.scheduler_lease_seconds, self._holder, monotonic)
        self._outbox = Outbox(engine, self._lease)
        self._inbox = Inbox(client)
        self._liveness = Liveness(client, monotonic)
        self._solitude = Solitude(client, self._holder, SILENCE_SECONDS, monotonic)
        self._queue = TrialQueue(client)
        self._pools = Pools()
        self._gp = GpProcess(lambda study_id: Caller(client, "").send(Wake(study_id=study_id)))
        self._stopping = threading.Event()
        self._redis_away = Outage("redis is away", "redis is back", monotonic)
        self._database_away = Outage("the database failed; loading again", "the database is back", monotonic)
        self._forget()

    def _forget(self) -> None:
        """Know of nothing, as before the first turn."""
        self._studies: dict[int, LiveStudy] = {}
        self._gp.stop()
        self._tasks = LiveTasks()
        self._given = GivenAnswers()
        self._enqueued: set[Job] = set()  # jobs made by us; the queue itself may be wiped
        self._housekeeping = Housekeeping()
        self._seats = Seats()
        self._next_round = self._next_reconciliation = 0.0
        self._away = 0  # senders with an answer for whose next messages it is worth to wait
        self._catch_up = True  # read what was delivered and not acknowledged, before anything new
        self._put_off: Sequence[Received] = []  # read while a turn was committed, and to be folded when it is

    def stop(self) -> None:
        """Leave after the batch in hand."""
        self._stopping.set()

    def run(self) -> None:
        """Serve whenever this scheduler is the active one, until `stop`."""
        while not self._stopping.is_set():
            try:
                if not self._lease.try_acquire():
                    self._database_away.is_over()
                    self._gp.stop()  # its memory is for whoever is active
                    self._stopping.wait(self._settings.idle_seconds)
                elif not self._solitude.is_given():
                    self._stopping.wait(RETRY_SECONDS)
                else:
                    self._serve()
            except LostLease:
                log.warning("another scheduler has taken over; standing by")
            except DBAPIError as error:
                # The transaction failed, so memory is ahead of SQL: drop it and load again.
                self._database_away.goes_on(str(error.orig)[:500])
                self._stopping.wait(RETRY_SECONDS)
        self._gp.stop()
        self._outbox.close()
        self._liveness.fall_silent(self._holder)
        self._lease.release()

    def _serve(self) -> None:
        self._forget()
        if not self._database_away.lasts:  # else one that takes nothing would have it said twice a second
            log.info("the scheduler is active")
        while not self._stopping.is_set():
            try:
                self.run_once()
                self._redis_away.is_over()
                if self._database_away.lasts:
                    self._database_away.is_over()
                    self._next_round = self._next_reconciliation = 0.0  # say so at once
            except RedisError as error:
                # What was committed is remembered: the messages come again, and are answered again. One that only takes
                # nothing may let us read: the next round writes, and so tells whether it is back.
                self._redis_away.goes_on(str(error))
                self._catch_up = True
                self._next_round = self._next_reconciliation = 0.0
                self._liveness.forget()
                self._stopping.wait(RETRY_SECONDS)

    def run_once(self) -> None:
        """Take what the workers have sent and settle it, until nothing has come in meanwhile."""
        turn: Turn | None = self._begin()
        while turn is not None:
            turn = self._settle(turn) or self._load_outdated()
        self._drop_ended()
        self._gp.attend(self._studies)

    def _begin(self) -> Turn:
        """A turn of what has come in, or for a round that is due."""
        received = self._read(max(0.0, self._next_round - self._monotonic()))
        turn = Turn(Ledger(self._clock(), self._system_attrs))
        if self._monotonic() >= self._next_round:
            self._look_round(turn.ledger)
        self._fold(received, turn, self._away - len(received) if received else 0)
        return turn

    def _fold(self, received: Sequence[Received], turn: Turn, away: int = 0) -> None:
        """`away`: so many have just been answered and are about to go on: what they say is to be of this turn, too."""
        for messages in with_returning(received, away, self._read_ahead):
            replies = [self._reply(each.request, turn.ledger) for each in messages]
            turn.received += messages
            turn.replies += [reply for reply in replies if reply is not None]

    def _settle(self, turn: Turn) -> Turn | None:
        """Write a turn, acknowledge and answer; the next turn, if some of its messages have come in meanwhile."""
        sent = self._send(turn)
        following: Turn | None = None
        try:
            following = self._fold_meanwhile(sent)
        finally:
            events = sent.wait()
        self._away = len(turn.replies) if sent.idle_seconds > SLOW_SECONDS else 0
        try:
            self._inbox.settle(turn.received, turn.replies, events)
            self._enqueue(turn.jobs)
        except RedisError:
            if following is not None:  # memory is never ahead of SQL; its messages come again
                self._send(following).wait()
            raise
        if following is not None:
            self._fold([], following, self._away)
        return following

    def _send(self, turn: Turn) -> Sent:
        """Let a turn be written, with all that follows from it for its studies."""
        self._gp.hear()
        for study in self._studies.values():
            with by_itself(study, turn.ledger):
                study.go_on(turn.ledger)
        turn.jobs = {job: study for study in self._studies.values() for job in study.jobs()}
        return self._outbox.send(turn.ledger)

    def _fold_meanwhile(self, sent: Sent) -> Turn | None:
        """The next turn: of what comes in while PostgreSQL writes one, as far as it asks memory alone.

        It is written when that one is, and not answered before.
        """
        following: Turn | None = None
        for _ in sent.meanwhile():
            if self._put_off or self._stopping.is_set() or self._monotonic() >= self._next_round:
                break
            if received := self._read_ahead():
                following = following or Turn(Ledger(self._clock(), self._system_attrs))
                self._fold(received, following)
        return following

    def _read(self, wait: float) -> Sequence[Received]:
        """What has come in, if need be after so many seconds; after Redis was wiped nothing, but a round is due."""
        put_off, self._put_off = self._put_off, []
        try:
            if self._catch_up:
                self._inbox.make_group()
                received = self._inbox.read_unacknowledged()
                self._catch_up = False
                return received
            return put_off or self._inbox.read(wait or None)
        except StreamLost:
            log.warning("redis was wiped; rebuilding the queue")
            self._next_round = self._next_reconciliation = 0.0
            return []

    def _read_ahead(self) -> Sequence[Received]:
        """What has come in and asks memory alone; what does not is read the next time."""
        try:
            received = self._read(0.0)
        except RedisError as error:  # what was folded ahead already is to be written
            self._redis_away.goes_on(str(error))
            self._catch_up = True
            return []
        if can_be_folded_ahead(received, self._studies):
            return received
        self._put_off = received
        return []

    def _reply(self, request: Request, ledger: Ledger) -> tuple[str, Reply] | None:
        """Settle one request, or answer as before if it comes again; None where nobody waits for an answer."""
        if self._given.has_come_before(request):
            return self._given.again(request)
        answer: Answer | None = without_its_study(request)
        with by_itself(self._studies.get(study_of(request) or 0), ledger):
            answer = self._answer(request, ledger)
        if not request.sender or answer is None:
            return None
        self._liveness.see(request.sender)
        return self._given.keep(request, answer)

    def _answer(self, request: Request, ledger: Ledger) -> Answer | None:
        match request:
            case Report() | Holds() | Finish() if request.attempt.study_id not in self._studies:
                return without_its_study(request)
            case Report():
                self._liveness.see(request.attempt.token)  # how an external attempt shows that it lives
                return self._studies[request.attempt.study_id].report(request, ledger)
            case Holds():
                return self._studies[request.attempt.study_id].holds(request)
            case Finish():
                return self._studies[request.attempt.study_id].finish(request, ledger)
            case Take():
                self._drop_what_it_held(request, ledger)
                study = self._known(request.study_id, ledger)
                return study.take(request, ledger) if study and self._seats.fits(request, study) else Nothing()
            case TakeTask():
                self._drop_what_it_held(request, ledger)
                with self._reads() as session:
                    return with_surplus(session, self._tasks.take(request, ledger))
            case FinishTask():
                return self._tasks.finish(request, ledger)
            case Ask():
                study = self._known(request.study_id, ledger)
                return study.ask(request, ledger) if study else without_its_study(request)
            case Amend() | RetryTrial() if self._known(request.study_id, ledger) is None:
                return self._take_up(request, ledger)
            case Enqueue() | CancelTrial() | RetryTrial() | Amend():
                study = self._known(request.study_id, ledger)
                return fulfil(self._reads, study, request, ledger) if study else Refused(message="the study has ended")
            case Gone():
                self._lose_those_of(request, ledger)
                return None
            case Preflighted():
                if (study := self._studies.get(request.study_id)) is not None:
                    study.preflighted(request, ledger)
                return Nothing()
            case _:
                self._next_round = 0.0  # a Wake: look round at once, before anything else is waited for
                return None

    def _lose_those_of(self, gone: Gone, ledger: Ledger) -> None:
        """Names are never given twice: nothing of a worker that is gone can be running."""
        self._tasks.lose_those_of(gone.worker, gone.reason, ledger)
        for study in self._studies.values():
            study.lose_those_of(gone.worker, gone.reason, ledger)

    def _known(self, study_id: int, ledger: Ledger) -> LiveStudy | None:
        """A study, also one that was made a moment ago and is not in memory yet."""
        if study_id not in self._studies:
            self._follow_states(ledger)
        return self._studies.get(study_id)

    def _take_up(self, request: Amend | RetryTrial, ledger: Ledger) -> Answer:
        with self._reads() as session:
            found = take_up(session, request, ledger)
        if isinstance(found, Refused):
            return found
        self._studies[found.id] = found
        return Done(number=request.number if isinstance(request, RetryTrial) else None)

    def _drop_what_it_held(self, request: Take | TakeTask, ledger: Ledger) -> None:
        """A worker that takes a job does one thing at a time: whatever else it held, it has lost."""
        taken = TaskKey(request.study_id, request.number) if isinstance(request, TakeTask) else None
        self._tasks.lose_those_of(request.worker, "its worker went on to something else", ledger, but=taken)
        for study in self._studies.values():
            trial = study.running_on(request.worker)
            if trial is not None and (taken or (study.id, trial.number) != (request.study_id, request.number)):
                study.lose(trial, "its worker went on to another trial", ledger)

    # The round: what no message tells

    def _look_round(self, ledger: Ledger) -> None:
        """Once every `idle_seconds`: states that people changed, workers that fell silent, jobs that are missing."""
        self._next_round = self._monotonic() + self._settings.idle_seconds
        self._follow_states(ledger)
        self._liveness.expire(self._studies.values(), self._tasks, self._settings, ledger)
        self._enqueued -= self._seats.look(self._liveness.offers())
        self._pools.divide(self._studies.values(), self._seats.offers.values(), self._clock())
        if self._monotonic() >= self._next_reconciliation:
            self._next_reconciliation = self._monotonic() + RECONCILE_SECONDS
            self._liveness.announce(self._holder, self._database_away.error)
            self._enqueued &= self._queue.waiting()
            self._tasks.reconcile(self._queue)
            spare_the_living()
            with self._reads() as session:
                self._housekeeping.look_round(session, self._studies.values(), ledger)

    def _follow_states(self, ledger: Ledger) -> None:
        """Take over what people did to studies through the API: SQL is where it stands."""
        with self._reads() as session:
            states = study_states(session, set(self._studies))
            self._tasks.follow(session)
        for study_id in self._studies.keys() - states.keys():
            del self._studies[study_id]  # deleted
        for study_id, study in self._studies.items():
            if study.state is not states[study_id]:
                study.follow(states[study_id], ledger)
        if new := states.keys() - self._studies.keys():
            self._load(sorted(new), states, ledger)

    def _load(self, new: Sequence[int], states: Mapping[int, StudyState], ledger: Ledger) -> None:
        loaded, refused = load_studies(self._reads, new, self._studies.values())
        self._studies |= loaded
        for study_id, error in refused.items():
            log.error("a stored study cannot run here", study=study_id, error=str(error))
            ledger.abandon(refusal_of(study_id, states[study_id], error))

    def _enqueue(self, wanted: Mapping[Job, LiveStudy]) -> None:
        """Make the jobs that SQL says there should be and that we have not made, or that a wipe has taken."""
        for job in wanted.keys() - self._enqueued:
            resources = wanted[job].definition.resources
            self._queue.enqueue(*job, pool=resources.pool, gpus=resources.gpus)
        self._enqueued = set(wanted)
        self._tasks.enqueue(self._queue)

    def _load_outdated(self) -> Turn | None:
        """Load the studies that got another space in this batch, or another end, as after a restart: a turn, if some
        fail over it. One that was deleted before the batch was written goes in the next round.
        """
        outdated = [study.id for study in self._studies.values() if study.is_outdated and not study.state.ended]
        if not outdated:
            return None
        loaded, refused = load_studies(self._reads, outdated, self._studies.values())
        for study_id, fresh in loaded.items():
            fresh.stand_in_for(self._studies[study_id])
        self._studies |= loaded
        self._next_round = 0.0  # propose at once
        turn = Turn(Ledger(self._clock(), self._system_attrs))
        for study_id, error in refused.items():
            self._studies[study_id].fail(str(error.problems[0]), turn.ledger)
        return turn if refused else None

    def _drop_ended(self) -> None:
        for study_id in [study.id for study in self._studies.values() if study.state.ended]:
            log.info("study ended", study=study_id, state=str(self._studies[study_id].state))
            del self._studies[study_id]

    def _system_attrs(self, key: TrialKey) -> dict[str, Any]:
        return self._studies[key.study_id].optuna.system_attrs(key.number)
