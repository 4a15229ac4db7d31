"""How long after its start does a scheduler answer, when it has a large study to load?

    python -m benchmarks.restart [--quick]

A study of 10,000 finished trials with 20 reports each (TPE, Hyperband) on PostgreSQL. A request waits in the stream; a
scheduler that has nothing in memory takes over and answers it. The imports are not in the time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import optuna
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, update

from benchmarks.past import write_past
from search.lease import FREE
from search.scheduler import Scheduler
from store.bus import STREAM, Inbox, answer_key, open_redis
from store.messages import Reply, Take
from store.migrate import upgrade
from store.models import SchedulerLeaseRow
from store.session import connect, writes
from store.settings import Settings
from tests.services import RedisServer, postgres_server

REPORTS = 20


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    sizes, rounds = ((1000,), 1) if parser.parse_args().quick else ((1_000, 10_000), 5)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("trials", "reports", "seconds to the first answer", "computing", "rounds", box=None)
    figures = {}
    for trials in sizes:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restart-")))
            redis_url = stack.enter_context(RedisServer(folder)).url
            url = stack.enter_context(postgres_server(durable=True))
            upgrade(url)
            engine = connect(url)
            study_id = write_past(engine, "past", trials, REPORTS)
            seconds = [restart(engine, redis_url, study_id, turn) for turn in range(rounds)]
            engine.dispose()
        wall, used = (round(statistics.median(each), 3) for each in zip(*seconds, strict=True))
        figures[str(trials)] = {"seconds": wall, "of_them_computing": used}
        each = " ".join(f"{value:.2f}" for value, _ in seconds)
        table.add_row(f"{trials:,}", f"{trials * REPORTS:,}", f"{wall:.2f}", f"{used:.2f}", each)
    Console().print(table)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "restart", **machine, "seconds": figures, "peak_mib": memory}))


if __name__ == "__main__":
    main()
