"""How long does a report wait for its decision, in a study with a long past, when the service is half busy?

    python -m benchmarks.decision [--quick]

A study of 10,000 finished trials, TPE and Hyperband, and eight workers whose trials report up to 27 steps: first as
fast as they can, then spread evenly at half of that rate, and of these the time from a report to its decision counts.
Proposals, ends and the history's growth go on all the while. Ours is a scheduler process over PostgreSQL and Redis,
with workers as processes. The peers are eight processes on Optuna's storages, `rdb` on the same PostgreSQL and
`journal` on a Redis of its own, by `trial.report` and `trial.should_prune`, each at half of its own rate. All commits
reach the disk.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from rich.console import Console
from rich.table import Table
from sqlalchemy import select

from benchmarks.coordinator import PATIENCE, Crew, Service, service
from benchmarks.optuna_storages import peers, storage_of
from benchmarks.past import METRIC, SPACE, loss, value_at, write_past, write_peers_past
from store.bus import Caller, open_redis
from store.messages import Assignment, Decision, Finish, Report, Settled, Take, Wake
from store.models import TrialRow
from store.session import connect, reads
from tests.services import RedisServer, postgres_server

WORKERS = 8
STEPS = 27
PAST_REPORTS = 3
PRUNER = {"name": "hyperband", "min_resource": 1, "max_resource": STEPS, "reduction_factor": 3}


@dataclass(frozen=True)
class Scale:
    """How much is measured: trials of the past, seconds at full rate and at half of it."""

    trials: int
    full_seconds: float
    half_seconds: float


FULL = Scale(trials=10_000, full_seconds=10.0, half_seconds=30.0)
QUICK = Scale(trials=1_000, full_seconds=2.0, half_seconds=4.0)


class Pace:
    """Reports so many seconds apart at least, over a span that begins when the first one is due."""

    def __init__(self, seconds: float, gap: float) -> None:
        self._gap = gap
        self._next = time.monotonic() + random.uniform(0.0, gap)
        self._end = time.monotonic() + seconds
        self.waits: list[float] = []  # milliseconds that the reports took

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def begin(self) -> float:
        """Wait until a report is due; when it began."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = max(self._next + self._gap, time.monotonic())
        return time.perf_counter()

    def note(self, began: float) -> None:
        self.waits.append(1000 * (time.perf_counter() - began))


@dataclass(frozen=True)
class Work:
    """What a worker of ours does: trial after trial until the time is over, then hand the last one back."""

    redis_url: str
    study_id: int
    number: int
    worker: str
    seconds: float
    gap: float

    def __call__(self) -> list[float]:
        caller = Caller(open_redis(self.redis_url), self.worker)
        take = Take(study_id=self.study_id, number=self.number, worker=self.worker, device="none")
        answer: Any = caller.call(take, PATIENCE)
        assert isinstance(answer, Assignment), answer
        pace = Pace(self.seconds, self.gap)
        while isinstance(answer, Assignment):
            ended = self._report(caller, answer, pace)
            outcome = ended if ended != "continue" else "returned" if pace.is_over else "finished"
            settled = caller.call(Finish(attempt=answer.attempt, outcome=outcome, pull=not pace.is_over), PATIENCE)
            assert isinstance(settled, Settled), settled
            answer = settled.next
        return pace.waits

    def _report(self, caller: Caller, assignment: Assignment, pace: Pace) -> Any:
        final = loss(assignment.parameters)
        for step in range(1, STEPS + 1):
            if pace.is_over:
                break
            report = Report(attempt=assignment.attempt, step=step, metrics={METRIC: value_at(final, step)})
            began = pace.begin()
            answer = caller.call(report, PATIENCE)
            pace.note(began)
            assert isinstance(answer, Decision), answer
            if answer.decision == "prune":
                return "pruned"
        return "continue"


@dataclass(frozen=True)
class PeerWork:
    """What a process of a peer does: trial after trial, until the time is over."""

    storage: tuple[str, str]
    study: str
    seconds: float
    gap: float

    def __call__(self) -> list[float]:
        study = load(self.storage, self.study)
        study.tell(study.ask(SPACE), state=optuna.trial.TrialState.FAIL)  # the past is read here
        pace = Pace(self.seconds, self.gap)
        while not pace.is_over:
            trial = study.ask(SPACE)
            state = self._run(trial, pace)
            study.tell(trial, loss(trial.params) if state is optuna.trial.TrialState.COMPLETE else None, state=state)
        return pace.waits

    def _run(self, trial: optuna.Trial, pace: Pace) -> optuna.trial.TrialState:
        final = loss(trial.params)
        for step in range(1, STEPS + 1):
            if pace.is_over:
                return optuna.trial.TrialState.FAIL
            began = pace.begin()
            trial.report(value_at(final, step), step)
            pruned = trial.should_prune()
            pace.note(began)
            if pruned:
                return optuna.trial.TrialState.PRUNED
        return optuna.trial.TrialState.COMPLETE


def load(storage: tuple[str, str], name: str) -> optuna.Study:
    pruner = optuna.pruners.HyperbandPruner(**{key: value for key, value in PRUNER.items() if key != "name"})
    sampler = optuna.samplers.TPESampler()
    return optuna.load_study(study_name=name, storage=storage_of(*storage), sampler=sampler, pruner=pruner)


@dataclass(frozen=True)
class Waits:
    """What one contestant has shown: reports a second at full rate, and the milliseconds of those at half of it."""

    rate: float
    paced_rate: float
    waits: list[float]

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, math.ceil(percent / 100 * len(ordered)) - 1)]


def measure_ours(crew: Crew, ours: Service, scale: Scale) -> Waits:
    engine = connect(ours.database_url)
    study_id = write_past(engine, "decision", scale.trials, PAST_REPORTS, pruner=PRUNER)
    engine.dispose()
    Caller(open_redis(ours.redis_url), "starter").send(Wake(study_id=study_id))

    def work(turn: int, seconds: float, gap: float) -> list[list[float]]:
        numbers = enumerate(queued(ours, study_id))
        return crew.do([Work(ours.redis_url, study_id, each, f"w{turn}-{n}", seconds, gap) for n, each in numbers])[0]

    return at_half_load(work, scale)


def queued(ours: Service, study_id: int) -> list[int]:
    """The numbers of the trials that are queued, as soon as there is one for every worker."""
    engine = connect(ours.database_url)
    query = select(TrialRow.number).where(TrialRow.study_id == study_id, TrialRow.state == "QUEUED")
    deadline = time.monotonic() + PATIENCE
    found: list[int] = []
    while len(found) < WORKERS:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
        with reads(engine)() as session:
            found = list(session.scalars(query.order_by(TrialRow.number)))
    engine.dispose()
    return found[:WORKERS]


def measure_peer(crew: Crew, where: tuple[str, str], name: str, scale: Scale) -> Waits:
    write_peers_past(optuna.create_study(study_name=name, storage=storage_of(*where)), scale.trials, PAST_REPORTS)
    return at_half_load(lambda _turn, seconds, gap: crew.do([PeerWork(where, name, seconds, gap)] * WORKERS)[0], scale)


def at_half_load(work: Callable[[int, float, float], list[list[float]]], scale: Scale) -> Waits:
    """`work`: run all workers, given a turn, seconds and the seconds between a worker's reports; their waits."""
    rate = sum(len(each) for each in work(0, scale.full_seconds, 0.0)) / scale.full_seconds
    waits = [wait for each in work(1, scale.half_seconds, WORKERS / (rate / 2)) for wait in each]
    return Waits(rate, len(waits) / scale.half_seconds, waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    scale = QUICK if parser.parse_args().quick else FULL
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)
    crew = Crew(WORKERS)
    found: dict[str, Waits] = {}
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="decision-"))) for _ in range(2)]
        redis_url = stack.enter_context(RedisServer(folders[0])).url
        journal_url = stack.enter_context(RedisServer(folders[1], durable=True)).url
        server_url = stack.enter_context(postgres_server(durable=True))
        ours = stack.enter_context(service(server_url, redis_url))
        others = stack.enter_context(peers(server_url, journal_url, proxied=False))
        found["ours"] = measure_ours(crew, ours, scale)
        for name, where in others.items():
            found[name] = measure_peer(crew, where, f"decision-{name}", scale)
    report(found, scale)


def report(found: dict[str, Waits], scale: Scale) -> None:
    table = Table("storage", "reports/s", "at half load", "p50, ms", "p95, ms", "p99, ms", box=None)
    figures = {}
    for name, each in found.items():
        percentiles = {f"p{percent}": round(each.percentile(percent), 2) for percent in (50, 95, 99)}
        table.add_row(name, f"{each.rate:.0f}", f"{each.paced_rate:.0f}", *map(str, percentiles.values()))
        figures[name] = {"reports_per_second": round(each.rate, 1), "milliseconds": percentiles}
    Console().print(table)
    ratios = {
        f"p95_{name}_over_ours": round(each.percentile(95) / found["ours"].percentile(95), 2)
        for name, each in found.items()
        if name != "ours"
    }
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    head = {"benchmark": "decision", "trials": scale.trials, **machine}
    print(json.dumps({**head, "contestants": figures, "ratios": ratios}))


if __name__ == "__main__":
    main()
