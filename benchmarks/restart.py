"""How long after its start does a scheduler answer, when it has a large study to load, and what is it like then?

    python -m benchmarks.restart [--quick]

Studies of 1,000 and 10,000 finished trials with 20 reports each, and one of 100,000 with 5 (TPE, Hyperband) on
PostgreSQL. A request waits in the stream; a scheduler that has nothing in memory takes over and answers it. The imports
are not in the time. Then the processor time of a proposal and of a report, and the memory of the process, each size in
a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import optuna
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, update

from benchmarks.past import write_past
from search.lease import FREE
from search.loading import load_study
from search.optuna_study import OptunaStudy
from search.scheduler import Scheduler
from store.bus import STREAM, Inbox, answer_key, open_redis
from store.messages import Reply, Take
from store.migrate import upgrade
from store.models import SchedulerLeaseRow, TrialState
from store.session import connect, reads, writes
from store.settings import Settings
from tests.services import RedisServer, postgres_server


def restart(engine: Engine, redis_url: str, study_id: int, turn: int) -> tuple[float, float]:
    """Seconds from a new scheduler's first step to its answer, and how many of them it was computing."""
    client = open_redis(redis_url)
    Inbox(client).make_group()
    request = Take(study_id=study_id, number=0, worker=f"w{turn}", device="none")
    message = request.model_copy(update={"sender": f"w{turn}", "sequence": 1})
    client.xadd(STREAM, {"m": message.model_dump_json()})
    with writes(engine).begin() as session:
        session.execute(update(SchedulerLeaseRow).values(holder=FREE))
    start, used = time.perf_counter(), time.process_time()
    scheduler = Scheduler(Settings(idle_seconds=0.001), engine, client)
    assert scheduler._lease.try_acquire()
    while (answer := client.lpop(answer_key(f"w{turn}"))) is None:
        scheduler.run_once()
    seconds = time.perf_counter() - start, time.process_time() - used
    assert Reply.model_validate_json(answer).sequence == 1  # type: ignore[arg-type]
    return seconds


def measure(trials: int, reports: int, rounds: int) -> dict[str, float]:
    """The figures of one size."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bare = resident_mib()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restart-")))
        redis_url = stack.enter_context(RedisServer(folder)).url
        url = stack.enter_context(postgres_server(durable=True))
        upgrade(url)
        engine = connect(url)
        study_id = write_past(engine, "past", trials, reports)
        seconds = [restart(engine, redis_url, study_id, turn) for turn in range(rounds)]
        wall, used = (statistics.median(each) for each in zip(*seconds, strict=True))
        with reads(engine)() as session:
            study = load_study(session, study_id).optuna
        engine.dispose()
    ask, report = turns(study)
    return {
        "seconds": round(wall, 3),
        "of_them_computing": round(used, 3),
        "ask_ms": round(ask, 2),
        "report_ms": round(report, 3),
        "mib": round(resident_mib() - bare),
    }


def turns(study: OptunaStudy, count: int = 15) -> tuple[float, float]:
    """Medians of the milliseconds that a proposal takes, and a report with its decision."""
    asks, reports = [], []
    for _ in range(count):
        start = time.process_time()
        proposal = study.propose()
        asks.append(time.process_time() - start)
        for step in (1, 2, 3):
            start = time.process_time()
            study.report(proposal.number, step, [sum(proposal.parameters.values()) + 1 / step])
            study.standing(proposal.number)
            reports.append(time.process_time() - start)
        study.finish(proposal.number, TrialState.COMPLETE, [sum(proposal.parameters.values())])
    return 1000 * statistics.median(asks), 1000 * statistics.median(reports)


def resident_mib() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    quick = parser.parse_args().quick
    sizes = ((1_000, 20, 1),) if quick else ((1_000, 20, 5), (10_000, 20, 5), (100_000, 5, 3))
    table = Table(
        "trials", "reports", "seconds to the first answer", "computing", "ask, ms", "report, ms", "MiB", box=None
    )
    figures = {}
    for trials, reports, rounds in sizes:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            found = figures[str(trials)] = alone.submit(measure, trials, reports, rounds).result()
        table.add_row(f"{trials:,}", f"{trials * reports:,}", *map(str, found.values()))
    Console().print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "restart", **machine, "trials": figures}))


if __name__ == "__main__":
    main()
