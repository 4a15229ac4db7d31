"""A scheduler on a real database and a real Redis, turned by hand, a batch at a time, and workers that speak to it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from search.definition import parse
from search.lease import FREE
from search.scheduler import Scheduler
from store.bus import STREAM, answer_key, open_redis, worker_key
from store.messages import (
    PROTOCOL,
    Answer,
    Ask,
    Assignment,
    AttemptKey,
    Decision,
    Finish,
    Handed,
    Preflighted,
    PreflightTask,
    Reply,
    Report,
    Request,
    Settled,
    Take,
    Wake,
)
from store.models import AttemptRow, EventRow, ReportRow, SchedulerLeaseRow, StudyRow, StudyState, TrialRow
from store.queue import TrialQueue, WaitingJob, queue_name
from store.session import writes
from store.settings import Settings

METRIC = "val/loss"


def study(name: str = "s", **sections: Any) -> dict[str, Any]:
    """A small valid study of an operator's own objective; any section may be replaced."""
    document: dict[str, Any] = {
        "name": name,
        "objective": {"metric": METRIC, "direction": "minimize"},
        "parameters": {"x": {"low": 0.0, "high": 1.0}, "k": {"values": ["a", "b", "c"]}},
        "sampler": {"name": "random", "seed": 7},
        "budget": {"trials": 4, "parallel": 2},
        "trial": {"kind": "objective", "name": "mine"},
    }
    return document | sections


class Clock:
    """Wall time and monotonic time that move together, and only when told."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self._set = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._set + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def jump(self, by: timedelta) -> None:
        """Somebody sets the wall clock; the monotonic one goes on as before."""
        self._set += by

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class Yard:
    """The world of a test: `scheduler` may be replaced to play a restart."""

    engine: Engine
    redis_url: str
    clock: Clock = field(default_factory=Clock)
    settings: Settings = field(default_factory=lambda: Settings(idle_seconds=0.001, lease_seconds=8))

    def __post_init__(self) -> None:
        self.client: redis.Redis = open_redis(self.redis_url)
        self.sequences = itertools.count(1)
        self.scheduler = self.new_scheduler()

    def new_scheduler(self) -> Scheduler:
        """A scheduler that has just taken over, with nothing in memory, as after a kill of the one before."""
        return Scheduler(self.settings, self.engine, self.client, self.clock.now, self.clock.monotonic)

    def start(self) -> None:
        assert self.scheduler._lease.try_acquire()

    def restart(self) -> None:
        """What `kill -9` and a new process amount to: all memory is gone, the database and Redis stay."""
        self.abandon()
        self.scheduler = self.new_scheduler()
        self.start()
        self.turn()

    def abandon(self) -> None:
        """Make the active scheduler one that is known to be dead, although it lives in this very process."""
        with writes(self.engine).begin() as session:
            session.execute(update(SchedulerLeaseRow).values(holder=FREE))

    def turn(self, times: int = 2) -> None:
        """Let the scheduler work on what has come in, and look round."""
        for _ in range(times):
            self.clock.advance(0.01)
            self.scheduler.run_once()

    def submit(self, document: Mapping[str, Any]) -> int:
        """What the API does: write the study, wake the scheduler."""
        definition = parse(document)
        external = definition.kind == "external"
        row = StudyRow(
            name=definition.name,
            state=str(StudyState.RUNNING if external else StudyState.PREPARING),
            definition=definition.document(),
            created_at=self.clock.now(),
            started_at=self.clock.now() if external else None,
        )
        with writes(self.engine).begin() as session:
            session.add(row)
        self.wake(row.id)
        return row.id

    def set_state(self, study_id: int, state: StudyState) -> None:
        """What the API does on pause, resume and cancel."""
        columns: dict[str, Any] = {"state": str(state), "ended_at": self.clock.now() if state.ended else None}
        with writes(self.engine).begin() as session:
            session.execute(update(StudyRow).where(StudyRow.id == study_id).values(columns))
        self.wake(study_id)

    def wake(self, study_id: int) -> None:
        self.client.xadd(STREAM, {"m": Wake(study_id=study_id).model_dump_json()})
        self.turn()

    def worker(self, name: str = "w1") -> Worker:
        return Worker(self, name)

    def begin(self, document: Mapping[str, Any]) -> int:
        """Submit a study and let a worker find nothing wrong with it."""
        study_id = self.submit(document)
        worker = self.worker("preflighter")
        assert isinstance(worker.take(study_id, None), PreflightTask)
        worker.say(Preflighted(study_id=study_id))
        return study_id

    def study(self, study_id: int) -> StudyRow:
        with Session(self.engine) as session:
            return session.get_one(StudyRow, study_id)

    def trials(self, study_id: int) -> list[TrialRow]:
        with Session(self.engine) as session:
            query = select(TrialRow).where(TrialRow.study_id == study_id).order_by(TrialRow.number)
            return list(session.scalars(query))

    def states(self, study_id: int) -> list[str]:
        return [trial.state for trial in self.trials(study_id)]

    def attempts(self, study_id: int, number: int) -> list[AttemptRow]:
        with Session(self.engine) as session:
            query = select(AttemptRow).where(AttemptRow.study_id == study_id, AttemptRow.number == number)
            return list(session.scalars(query.order_by(AttemptRow.attempt)))

    def reports(self, study_id: int, number: int) -> list[ReportRow]:
        with Session(self.engine) as session:
            query = select(ReportRow).where(ReportRow.study_id == study_id, ReportRow.number == number)
            return list(session.scalars(query.order_by(ReportRow.attempt, ReportRow.step)))

    def events(self, study_id: int) -> list[EventRow]:
        with Session(self.engine) as session:
            query = select(EventRow).where(EventRow.study_id == study_id).order_by(EventRow.sequence)
            return list(session.scalars(query))

    def jobs(self) -> set[WaitingJob]:
        return TrialQueue(self.client).waiting()

    def oldest_job(self) -> tuple[int, int | None] | None:
        """The study and the trial (None: its preflight) of the job that RQ would hand out next."""
        names = self.client.lrange(f"rq:queue:{queue_name('default', gpus=0)}", 0, 0)
        if not names:
            return None
        kind, study_id, *rest = names[0].decode().split("-")  # type: ignore[index]
        return int(study_id), int(rest[0]) if kind == "trial" else None

    def pop(self, job: WaitingJob) -> None:
        """What RQ does when a worker takes a job."""
        what = f"trial-{job.study_id}-{job.number}" if job.number is not None else f"preflight-{job.study_id}"
        self.client.lrem(f"rq:queue:{queue_name('default', gpus=0)}", 0, f"{what}-{job.attempt}")


@dataclass
class Worker:
    """A worker as the scheduler sees one."""

    yard: Yard
    name: str
    beats: int = 0

    def post(self, request: Request, sequence: int | None = None) -> int:
        """Put a request on the stream without letting the scheduler look at it."""
        sequence = next(self.yard.sequences) if sequence is None else sequence
        message = request.model_copy(update={"sender": self.name, "sequence": sequence})
        self.yard.client.xadd(STREAM, {"m": message.model_dump_json()})
        return sequence

    def answer(self) -> Answer | None:
        """The oldest answer that waits for this worker."""
        text = self.yard.client.lpop(answer_key(self.name))
        return None if text is None else Reply.model_validate_json(text).answer  # type: ignore[arg-type]

    def say(self, request: Request, sequence: int | None = None) -> Answer:
        self.post(request, sequence)
        self.yard.turn()
        answer = self.answer()
        assert answer is not None, f"no answer to {request}"
        return answer

    def beat(self, state: str = "busy") -> None:
        self.beats += 1
        fields = {"pool": "default", "gpus": "0", "state": state, "beat": str(self.beats), "protocol": str(PROTOCOL)}
        self.yard.client.hset(worker_key(self.name), mapping=fields)  # type: ignore[arg-type]

    def take(self, study_id: int, number: int | None) -> Answer:
        """Pick up the job of a trial (None: of the preflight) and ask what to do."""
        for job in self.yard.jobs():
            if job[:2] == (study_id, number):
                self.yard.pop(job)
        return self.say(Take(study_id=study_id, number=number, worker=self.name, device="cpu"))

    def start(self, study_id: int, number: int) -> Assignment:
        answer = self.take(study_id, number)
        assert isinstance(answer, Assignment), answer
        return answer

    def report(self, attempt: AttemptKey, step: int, value: float | dict[str, float]) -> Decision:
        """A value is the objective's."""
        metrics = value if isinstance(value, dict) else {METRIC: value}
        answer = self.say(Report(attempt=attempt, step=step, metrics=metrics))
        assert isinstance(answer, Decision), answer
        return answer

    def finish(self, attempt: AttemptKey, value: float | None = None, **more: Any) -> Settled:
        metrics = {} if value is None else {METRIC: value}
        answer = self.say(Finish(attempt=attempt, **({"outcome": "finished", "metrics": metrics} | more)))
        assert isinstance(answer, Settled), answer
        return answer

    def ask(self, study_id: int, count: int = 1) -> Handed:
        answer = self.say(Ask(study_id=study_id, worker=self.name, count=count))
        assert isinstance(answer, Handed), answer
        return answer
