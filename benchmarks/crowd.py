"""Simulated slots: they speak with a real scheduler as workers do, and wait where those train.

They live in one process, on one thread, each with a connection of its own: hundreds of real clients on the same
machine would take the processor away from what is measured.
"""

from __future__ import annotations

import heapq
import math
import random
import selectors
import socket
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hiredis import Reader, pack_command
from sqlalchemy import func, select

from benchmarks.coordinator import METRIC, Crew, Service
from benchmarks.made_up import MadeUp, hartmann, power
from store.bus import STREAM, answer_key, open_redis
from store.messages import Answer, Assignment, Decision, Finish, Reply, Report, Request, Settled, Take
from store.models import ReportRow
from store.session import connect, reads
from store.settings import Settings
from store.wire import Command

EPOCHS = 27
PRUNER = {"name": "hyperband", "min_resource": 1, "max_resource": EPOCHS, "reduction_factor": 3}
CURVES = MadeUp(hartmann, 6, power, EPOCHS, noise=0.03)
RESEND_SECONDS = 0.25  # after which a request is sent again, as workers do
BOUNDLESS = 1_000_000  # trials: time ends these studies
QUEUE = "rq:queue:trials:default"
STARTING_SECONDS = 5.0  # in which the slots begin one after the other, and which are left out


@dataclass
class Shift:
    """What one slot has done, times on the clock that all processes of a machine share."""

    waits: list[float] = field(default_factory=list)  # milliseconds from each report to its decision
    trained: list[tuple[float, float]] = field(default_factory=list)  # when it slept, begin and end
    held: list[tuple[float, float]] = field(default_factory=list)  # when it had a trial
    refused: int = 0
    resent: int = 0  # requests that were sent again

    @staticmethod
    def share(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
        """Of the time between two moments, how much lies in the spans."""
        return sum(max(0.0, min(end, there) - max(begin, here)) for here, there in spans) / (end - begin)


Step = float | Sequence[Command]  # seconds to wait, or what is sent to Redis; the last command's answer comes back


@dataclass
class Slot:
    """One slot. `by_jobs`: it takes a new job from the queue after `pull_seconds`, as workers do; else it always pulls.

    What it does is a generator, which goes on when its wait is over or its answer has come.
    """

    study_id: int
    number: int
    end: float
    epoch_seconds: float
    by_jobs: bool
    shift: Shift = field(default_factory=Shift)
    sequence: int = 0

    @property
    def worker(self) -> str:
        return f"slot-{self.study_id}-{self.number}"

    def live(self) -> Generator[Step, Any, None]:
        draws = random.Random(self.number)
        yield draws.uniform(0.0, STARTING_SECONDS)
        trial: int | None = self.number
        while trial is not None and time.monotonic() < self.end:
            took = time.monotonic()
            take = Take(study_id=self.study_id, number=trial, worker=self.worker, device="none")
            answer: Answer | None = yield from self._call(take)
            while isinstance(answer, Assignment):
                finish = yield from self._train(answer, draws)
                fresh = not self.by_jobs or time.monotonic() - took < Settings().pull_seconds
                pull = finish.outcome != "returned" and fresh
                settled = yield from self._call(finish.model_copy(update={"pull": pull}))
                assert isinstance(settled, Settled), settled
                self.shift.refused += settled.stale
                answer = settled.next
            trial = yield from self._next_job()

    def _train(self, trial: Assignment, draws: random.Random) -> Generator[Step, Any, Finish]:
        """Wait and report, epoch by epoch; how the attempt ended."""
        values = CURVES.train(trial.parameters, trial.attempt.number).values
        pace = self.epoch_seconds * draws.uniform(0.6, 1.4)
        began = time.monotonic()
        outcome: Any = "finished"
        for step, value in enumerate(values, 1):
            woken = time.monotonic()
            yield pace
            self.shift.trained.append((woken, time.monotonic()))
            sent = time.perf_counter()
            decision = yield from self._call(Report(attempt=trial.attempt, step=step, metrics={METRIC: value}))
            self.shift.waits.append(1000 * (time.perf_counter() - sent))
            assert isinstance(decision, Decision), decision
            self.shift.refused += decision.stale
            if time.monotonic() >= self.end or decision.decision != "continue":
                outcome = "pruned" if decision.decision == "prune" else "returned"
                break
        self.shift.held.append((began, time.monotonic()))
        return Finish(attempt=trial.attempt, outcome=outcome)

    def _call(self, request: Request) -> Generator[Step, Any, Answer]:
        """Send a request until it is answered, ever less often, as `Caller.call` does."""
        self.sequence += 1
        document = request.model_copy(update={"sender": self.worker, "sequence": self.sequence}).model_dump_json()
        key, wait = answer_key(self.worker), RESEND_SECONDS
        while True:
            popped = yield [("XADD", STREAM, "*", "m", document), ("BLPOP", key, wait)]
            while popped is not None:
                reply = Reply.model_validate_json(popped[1])
                if reply.sequence == self.sequence:
                    return reply.answer
                popped = yield [("BLPOP", key, wait)]  # that one was to an earlier sending
            self.shift.resent += 1
            wait = min(2 * wait, 5.0)

    def _next_job(self) -> Generator[Step, Any, int | None]:
        """The trial of the next job in the queue; None if none came in time. RQ's own bookkeeping is left out."""
        while time.monotonic() < self.end:
            popped = yield [("BLPOP", QUEUE, 1)]
            if popped is not None:
                return int(popped[1].decode().split("-")[2])
        return None


class Line:
    """What a slot does, and its connection to Redis."""

    def __init__(self, slot: Slot, path: str) -> None:
        self.life = slot.live()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._reader = Reader()
        self._awaited = 0

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, commands: Sequence[Command]) -> None:
        self._awaited = len(commands)
        self._socket.sendall(b"".join(map(pack_command, commands)))  # type: ignore[arg-type]  # see store/wire.py

    def hear(self) -> Sequence[Any]:
        """Read what has come in: the last command's answer, or nothing as long as that is on its way."""
        self._reader.feed(self._socket.recv(65536))
        while (answer := self._reader.gets()) is not False:
            self._awaited -= 1
            if not self._awaited:
                return [answer]
        return []

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Slots:
    """So many slots for so many seconds, in this process."""

    redis_url: str
    study_id: int
    size: int
    seconds: float
    epoch_seconds: float
    by_jobs: bool

    def __call__(self) -> list[Shift]:
        end = time.monotonic() + self.seconds
        slots = [Slot(self.study_id, number, end, self.epoch_seconds, self.by_jobs) for number in range(self.size)]
        lines = [Line(slot, urlsplit(self.redis_url).path) for slot in slots]
        with selectors.DefaultSelector() as selector:
            for place, line in enumerate(lines):
                selector.register(line, selectors.EVENT_READ, place)
            _let_live(lines, selector)
        for line in lines:
            line.close()
        return [slot.shift for slot in slots]


def _let_live(lines: Sequence[Line], selector: selectors.BaseSelector) -> None:
    asleep: list[tuple[float, int]] = []  # until when, and whose place among the lines

    def go_on(place: int, answer: Any = None) -> None:
        try:
            step = lines[place].life.send(answer)
        except StopIteration:
            selector.unregister(lines[place])
            return
        if isinstance(step, float):
            heapq.heappush(asleep, (time.monotonic() + step, place))
        else:
            lines[place].send(step)

    for place in range(len(lines)):
        go_on(place)
    while selector.get_map():
        while asleep and asleep[0][0] <= time.monotonic():
            go_on(heapq.heappop(asleep)[1])
        for key, _ in selector.select(max(0.0, asleep[0][0] - time.monotonic()) if asleep else None):
            for answer in lines[key.data].hear():
                go_on(key.data, answer)


@dataclass(frozen=True)
class Outcome:
    """What a crowd has come to. `stored`: reports in SQL; `memory`: the scheduler's, over the time: when, and MiB."""

    shifts: Sequence[Shift]
    begin: float
    end: float
    stored: int
    memory: Sequence[tuple[float, float]]

    @property
    def growth(self) -> float:
        """By how many bytes the scheduler's memory grew with each trial that ended, from a quarter of the time on."""
        (since, first), (until, last) = self.memory[len(self.memory) // 4], self.memory[-1]
        ended = sum(since < end <= until for shift in self.shifts for _, end in shift.held)
        return (last - first) * 2**20 / max(1, ended)

    @property
    def waits(self) -> list[float]:
        return sorted(wait for shift in self.shifts for wait in shift.waits)

    @property
    def reports(self) -> int:
        return sum(len(shift.waits) for shift in self.shifts)

    @property
    def refused(self) -> int:
        return sum(shift.refused for shift in self.shifts)

    @property
    def resent(self) -> int:
        return sum(shift.resent for shift in self.shifts)

    def percentile(self, percent: float) -> float:
        ordered = self.waits
        return ordered[math.ceil(percent / 100 * len(ordered)) - 1]

    def share(self, of: str) -> float:
        """Of all slots' time, in which they all had begun: `trained` or `held`."""
        shares = [Shift.share(getattr(shift, of), self.begin, self.end) for shift in self.shifts]
        return sum(shares) / len(shares)


def run_crowd(
    crew: Crew, ours: Service, size: int, seconds: float, epoch_seconds: float, sampler: str, by_jobs: bool
) -> Outcome:
    """So many slots on one study for so long."""
    seconds += STARTING_SECONDS
    name = f"crowd-{size}-{sampler}"
    study_id = ours.begin(name, sampler, BOUNDLESS, size, parameters=CURVES.parameters, pruner=PRUNER)
    if by_jobs:  # the slots begin with the numbers they have; jobs for these are of no use
        open_redis(ours.redis_url).delete(QUEUE)
    memory: list[tuple[float, float]] = []
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(ours, memory, max(1.0, seconds / 20), over))
    watch.start()
    began = time.monotonic()
    (shifts,), _ = crew.do([Slots(ours.redis_url, study_id, size, seconds, epoch_seconds, by_jobs)])
    over.set()
    watch.join()
    engine = connect(ours.database_url)
    with reads(engine)() as session:
        stored = session.scalar(select(func.count()).where(ReportRow.study_id == study_id)) or 0
    engine.dispose()
    return Outcome(shifts, began + STARTING_SECONDS, began + seconds, stored, memory)


def _watch(ours: Service, memory: list[tuple[float, float]], period: float, over: threading.Event) -> None:
    while not over.wait(period):
        pages = int(Path(f"/proc/{ours.scheduler.pid}/statm").read_text().split()[1])
        memory.append((time.monotonic(), pages * 4096 / 2**20))
