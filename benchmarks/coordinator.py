"""How many trials a second does the scheduler settle? Ask, one report with its decision, and tell, beside Optuna alone.

    python -m benchmarks.coordinator [--cores N] [--rounds N] [--quick]

Ours is a real scheduler process over PostgreSQL and Redis, with workers as processes that speak to it as real ones do,
except that their trials do nothing. The peers are eight processes on Optuna's storages: `rdb` on the same PostgreSQL,
`journal` on a Redis that syncs every write to disk (its only copy), and `grpc`, Optuna's proxy in front of `rdb`; it
is left out where grpcio is not installed. All commits reach the disk. The five float parameters, the samplers and the
pruner (none) are the same everywhere.

So is the past: with each storage a round begins with the same 1,000 finished random trials, which are written and read
before the clock starts, as what a TPE proposal costs depends on how many trials it looks back at. Then ours runs a
fixed number of trials, the peers for a fixed time. What is new in a round makes ours the longer history, to the peers'
advantage with TPE.

All of it, servers and workers too, shares one core, which is busy with every contestant then: what is compared is the
processor time a trial costs, which the machine's training loses. With more cores (`--cores`) it is also how long each
message waits for the next process, which is what a worker sees whose trials do nothing.

Rounds are interleaved, and medians are given.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from rich.console import Console
from rich.table import Table

from benchmarks.optuna_storages import PeerWork, database, peers, storage_of
from benchmarks.past import METRIC, loss, write_past, write_peers_past
from store.bus import Caller, open_redis
from store.messages import Assignment, Decision, Finish, Preflighted, PreflightTask, Report, Settled, Take, Wake
from store.migrate import upgrade
from store.models import StudyState
from store.session import connect
from tests.services import RedisServer, postgres_server

SAMPLERS = ("random", "tpe")
WORKERS = (1, 8, 32)
PEERS = ("rdb", "journal", "grpc")
PEER_WORKERS = 8
PATIENCE = 60.0

Errand = Callable[[], Any]  # what a process is sent to do, and what it answers: here how many trials it did


@dataclass(frozen=True)
class Scale:
    """How much is measured: trials of the past, of ours a round (with one worker fewer), seconds of a peer's."""

    rounds: int
    past: int
    trials: int
    trials_alone: int
    peer_seconds: float


FULL = Scale(rounds=5, past=1000, trials=1500, trials_alone=500, peer_seconds=5.0)
QUICK = Scale(rounds=1, past=100, trials=200, trials_alone=50, peer_seconds=1.0)


@dataclass(frozen=True)
class Work:
    """What a worker of ours does: begin with the trial of a number, and pull on until there is no more."""

    redis_url: str
    study_id: int
    number: int

    def __call__(self) -> int:
        worker = f"w{self.number}-{self.study_id}"
        caller = Caller(open_redis(self.redis_url), worker)
        take = Take(study_id=self.study_id, number=self.number, worker=worker, device="none")
        answer: Any = caller.call(take, PATIENCE)
        done = 0
        while isinstance(answer, Assignment):
            value = loss(answer.parameters)
            decision = caller.call(Report(attempt=answer.attempt, step=1, metrics={METRIC: value}), PATIENCE)
            assert decision == Decision(decision="continue"), decision
            finish = Finish(attempt=answer.attempt, outcome="finished", metrics={METRIC: value}, pull=True)
            settled = caller.call(finish, PATIENCE)
            assert isinstance(settled, Settled), settled
            assert not settled.stale
            answer, done = settled.next, done + 1
        return done


class Crew:
    """Processes that are there from the start and do what they are sent: their own start is not measured."""

    def __init__(self, size: int) -> None:
        context = multiprocessing.get_context("fork")  # before there is any thread or connection
        self._lines: list[Connection] = []
        self._processes: list[BaseProcess] = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._lines.append(ours)
            self._processes.append(process)

    def do(self, errands: Sequence[Errand]) -> tuple[list[Any], float]:
        """Send each to a process of its own; what they answered, and the seconds until the last was back."""
        start = time.perf_counter()
        lines = self._lines[: len(errands)]
        for line, errand in zip(lines, errands, strict=True):
            line.send(errand)
        done = [line.recv() for line in lines]
        seconds = time.perf_counter() - start
        for each in done:
            if isinstance(each, BaseException):
                raise each
        return done, seconds


def _serve(line: Connection) -> None:
    warnings.simplefilter("ignore", ExperimentalWarning)
    while True:
        errand = line.recv()
        try:
            line.send(errand())
        except Exception as error:  # noqa: BLE001 - it is raised where the errand came from
            line.send(error)


@dataclass(frozen=True)
class Service:
    """Ours: where it is, and the process of its scheduler."""

    database_url: str
    redis_url: str
    scheduler: subprocess.Popen[bytes]

    def begin(self, name: str, sampler: str, trials: int, parallel: int, past: int = 0, **sections: Any) -> int:
        """Make a study that runs, with as many trials queued as may run at once.

        Args:
            trials: beside those of the past.
            sections: of its definition.
        """
        engine = connect(self.database_url)
        study_id = write_past(
            engine,
            name,
            past,
            1,
            StudyState.PREPARING,
            sampler={"name": sampler, "seed": 1},
            budget={"trials": past + trials, "parallel": parallel},
            **{"pruner": {"name": "none"}} | sections,
        )
        engine.dispose()
        caller = Caller(open_redis(self.redis_url), f"preflighter-{study_id}")
        caller.send(Wake(study_id=study_id))
        task = caller.call(Take(study_id=study_id, worker="preflighter", device="none"), PATIENCE)
        assert isinstance(task, PreflightTask), task
        caller.call(Preflighted(study_id=study_id), PATIENCE)
        return study_id

    def cpu_seconds(self) -> float:
        """What the scheduler has used."""
        fields = Path(f"/proc/{self.scheduler.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def service(server_url: str, redis_url: str) -> Iterator[Service]:
    """A scheduler process on a database of its own."""
    url = database(server_url, "ours")
    upgrade(url)
    settings = {"TRIALYARD_DATABASE_URL": url, "TRIALYARD_REDIS_URL": redis_url, "TRIALYARD_LEASE_SECONDS": "60"}
    process = subprocess.Popen([sys.executable, "-m", "trialyard", "scheduler"], env={**os.environ, **settings})
    try:
        yield Service(url, redis_url, process)
    finally:
        process.terminate()
        process.wait()


Figures = dict[tuple[str, str, int], list[float]]  # trials a second by contestant, sampler and workers


class Contest:
    """All contestants, and what they have shown so far."""

    def __init__(self, crew: Crew, ours: Service, others: dict[str, tuple[str, str]], scale: Scale) -> None:
        self._crew = crew
        self._ours = ours
        self._others = others
        self._scale = scale
        self.rates: Figures = defaultdict(list)
        self.cpu: Figures = defaultdict(list)  # milliseconds of the scheduler a trial

    def run(self) -> None:
        for turn in range(self._scale.rounds):
            for sampler in SAMPLERS:
                for workers in WORKERS:
                    self._run_ours(f"{sampler}-{workers}-{turn}", sampler, workers)
                for peer in self._others:
                    self._run_peer(peer, f"{sampler}-{peer}-{turn}", sampler)

    def _run_ours(self, name: str, sampler: str, workers: int) -> None:
        trials, past = self._scale.trials_alone if workers == 1 else self._scale.trials, self._scale.past
        study_id = self._ours.begin(name, sampler, trials, workers, past)
        used = self._ours.cpu_seconds()
        numbers = range(past, past + workers)
        done, seconds = self._crew.do([Work(self._ours.redis_url, study_id, number) for number in numbers])
        assert sum(done) == trials, (done, trials)
        self.rates["ours", sampler, workers].append(trials / seconds)
        self.cpu["ours", sampler, workers].append(1000 * (self._ours.cpu_seconds() - used) / trials)

    def _run_peer(self, peer: str, name: str, sampler: str) -> None:
        where = self._others[peer]
        past_goes_to = self._others["rdb"] if peer == "grpc" else where  # the proxy is in front of the same database
        write_peers_past(optuna.create_study(study_name=name, storage=storage_of(*past_goes_to)), self._scale.past, 1)
        errand = PeerWork(where, name, sampler, self._scale.peer_seconds)
        self._crew.do([replace(errand, seconds=0.0)] * PEER_WORKERS)  # no trials: the study is opened
        done, seconds = self._crew.do([errand] * PEER_WORKERS)
        self.rates[peer, sampler, PEER_WORKERS].append(sum(done) / seconds)


def ratios(rates: Figures) -> dict[str, float]:
    """Ours over each peer at eight workers, and ours with 32 workers over ours with eight."""
    medians = {key: statistics.median(values) for key, values in rates.items()}
    found = {
        f"{sampler}_over_{peer}": medians["ours", sampler, PEER_WORKERS] / medians[peer, sampler, PEER_WORKERS]
        for sampler in SAMPLERS
        for peer in PEERS
        if (peer, sampler, PEER_WORKERS) in medians
    }
    return found | {
        f"{sampler}_32_over_8": medians["ours", sampler, 32] / medians["ours", sampler, 8] for sampler in SAMPLERS
    }


def table_of(contest: Contest) -> Table:
    table = Table("storage", "sampler", "workers", "trials/s", "rounds", "scheduler ms a trial", box=None)
    for key, values in sorted(contest.rates.items(), key=lambda item: (item[0][1], item[0][0], item[0][2])):
        contestant, sampler, workers = key
        cpu = f"{statistics.median(contest.cpu[key]):.2f}" if key in contest.cpu else ""
        rounds = " ".join(f"{value:.0f}" for value in values)
        table.add_row(contestant, sampler, str(workers), f"{statistics.median(values):.1f}", rounds, cpu)
    return table


def share_cores(most: int) -> int:
    """Keep this process, and those that it will start, to so many cores, or to all there are; how many these are."""
    cores = sorted(os.sched_getaffinity(0))[-max(1, most) :]
    os.sched_setaffinity(0, cores)
    return len(cores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--rounds", type=int, help="how often each storage has its turn")
    parser.add_argument("--cores", type=int, default=1, help="how many everything shares (default: 1)")
    options = parser.parse_args()
    cores = share_cores(options.cores)
    scale = QUICK if options.quick else FULL
    scale = replace(scale, rounds=options.rounds or scale.rounds)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", ExperimentalWarning)
    crew = Crew(max(WORKERS))
    with ExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coordinator-"))) for _ in range(2)]
        redis_url = stack.enter_context(RedisServer(folders[0])).url
        journal_url = stack.enter_context(RedisServer(folders[1], durable=True)).url
        server_url = stack.enter_context(postgres_server(durable=True))
        ours = stack.enter_context(service(server_url, redis_url))
        contest = Contest(crew, ours, stack.enter_context(peers(server_url, journal_url)), scale)
        contest.run()
    Console().print(table_of(contest))
    rates = {"_".join(map(str, key)): statistics.median(values) for key, values in contest.rates.items()}
    figures = {name: round(value, 2) for name, value in ratios(contest.rates).items()}
    machine = {"cores": cores, "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "coordinator", **machine, "trials_per_second": rates, "ratios": figures}))


if __name__ == "__main__":
    main()
