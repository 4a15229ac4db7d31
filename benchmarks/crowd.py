"""Simulated slots: threads that speak with a real scheduler as workers do, and sleep where those train."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import func, select

from benchmarks.coordinator import METRIC, PATIENCE, Crew, Service
from benchmarks.made_up import MadeUp, hartmann, power
from store.bus import Caller, open_redis
from store.messages import Assignment, Decision, Finish, Report, Settled, Take
from store.models import ReportRow
from store.session import connect, reads
from store.settings import Settings

EPOCHS = 27
PRUNER = {"name": "hyperband", "min_resource": 1, "max_resource": EPOCHS, "reduction_factor": 3}
CURVES = MadeUp(hartmann, 6, power, EPOCHS, noise=0.03)
PROCESSES = 4
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

    @staticmethod
    def share(spans: Sequence[tuple[float, float]], begin: float, end: float) -> float:
        """Of the time between two moments, how much lies in the spans."""
        return sum(max(0.0, min(end, there) - max(begin, here)) for here, there in spans) / (end - begin)


@dataclass(frozen=True)
class Slots:
    """The slots of one process, for so many seconds."""

    redis_url: str
    study_id: int
    numbers: Sequence[int]
    seconds: float
    epoch_seconds: float
    by_jobs: bool  # take a new job from the queue after `pull_seconds`, as workers do; else always pull

    def __call__(self) -> list[Shift]:
        shifts = [Shift() for _ in self.numbers]
        end = time.monotonic() + self.seconds
        errors: list[BaseException] = []

        def work(number: int, shift: Shift) -> None:
            try:
                self._work(number, shift, end)
            except BaseException as error:  # noqa: BLE001 - it is raised where the threads are waited for
                errors.append(error)

        threads = [threading.Thread(target=work, args=each) for each in zip(self.numbers, shifts, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return shifts

    def _work(self, number: int, shift: Shift, end: float) -> None:
        client = open_redis(self.redis_url)
        worker = f"slot-{self.study_id}-{number}"
        caller = Caller(client, worker)
        draws = random.Random(number)
        time.sleep(draws.uniform(0.0, STARTING_SECONDS))
        trial: int | None = number
        while trial is not None and time.monotonic() < end:
            took = time.monotonic()
            take = Take(study_id=self.study_id, number=trial, worker=worker, device="none")
            answer: Any = caller.call(take, PATIENCE)
            while isinstance(answer, Assignment):
                finish = self._train(caller, answer, shift, draws, end)
                fresh = not self.by_jobs or time.monotonic() - took < Settings().pull_seconds
                pull = finish.outcome != "returned" and fresh
                settled = caller.call(finish.model_copy(update={"pull": pull}), PATIENCE)
                assert isinstance(settled, Settled), settled
                shift.refused += settled.stale
                answer = settled.next
            trial = next_job(client, end)

    def _train(self, caller: Caller, trial: Assignment, shift: Shift, draws: random.Random, end: float) -> Finish:
        """Sleep and report, epoch by epoch; how the attempt ended."""
        values = CURVES.train(trial.parameters, trial.attempt.number).values
        pace = self.epoch_seconds * draws.uniform(0.6, 1.4)
        began = time.monotonic()
        outcome: Any = "finished"
        for step, value in enumerate(values, 1):
            woken = time.monotonic()
            time.sleep(pace)
            shift.trained.append((woken, time.monotonic()))
            sent = time.perf_counter()
            decision = caller.call(Report(attempt=trial.attempt, step=step, metrics={METRIC: value}), PATIENCE)
            shift.waits.append(1000 * (time.perf_counter() - sent))
            assert isinstance(decision, Decision), decision
            shift.refused += decision.stale
            if time.monotonic() >= end or decision.decision != "continue":
                outcome = "pruned" if decision.decision == "prune" else "returned"
                break
        shift.held.append((began, time.monotonic()))
        return Finish(attempt=trial.attempt, outcome=outcome)


def next_job(client: redis.Redis, end: float) -> int | None:
    """The trial of the next job in the queue; None if none came in time. RQ's own bookkeeping is left out."""
    while (left := end - time.monotonic()) > 0:
        popped: Any = client.blpop([QUEUE], timeout=min(left, 1.0))
        if popped is not None:
            return int(popped[1].decode().split("-")[2])
    return None


@dataclass(frozen=True)
class Outcome:
    """What a crowd has come to. `stored`: reports in SQL; `memory`: the scheduler's, MiB, over the time."""

    shifts: Sequence[Shift]
    begin: float
    end: float
    stored: int
    memory: Sequence[float]

    @property
    def waits(self) -> list[float]:
        return sorted(wait for shift in self.shifts for wait in shift.waits)

    @property
    def reports(self) -> int:
        return sum(len(shift.waits) for shift in self.shifts)

    @property
    def refused(self) -> int:
        return sum(shift.refused for shift in self.shifts)

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
    parts = [range(first, size, PROCESSES) for first in range(PROCESSES)]
    memory: list[float] = []
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(ours, memory, max(1.0, seconds / 20), over))
    watch.start()
    began = time.monotonic()
    errands = [Slots(ours.redis_url, study_id, part, seconds, epoch_seconds, by_jobs) for part in parts]
    shifts = [shift for each in crew.do(errands)[0] for shift in each]
    over.set()
    watch.join()
    engine = connect(ours.database_url)
    with reads(engine)() as session:
        stored = session.scalar(select(func.count()).where(ReportRow.study_id == study_id)) or 0
    engine.dispose()
    return Outcome(shifts, began + STARTING_SECONDS, began + seconds, stored, memory)


def _watch(ours: Service, memory: list[float], period: float, over: threading.Event) -> None:
    while not over.wait(period):
        pages = int(Path(f"/proc/{ours.scheduler.pid}/statm").read_text().split()[1])
        memory.append(pages * 4096 / 2**20)
