"""How long does a slot stand still between two trials, and what do many slots at once wait for?

    python -m benchmarks.pool [--quick] [--only pauses slots crowd] [--minutes 10] [--without-ray]

`slots`: 64 simulated slots whose trials sleep and report as learning curves say, half a second an epoch, TPE and
Hyperband over PostgreSQL: which share of the slots' time lies in trials. They pull for five seconds and then take a job
from the queue, as workers do. `crowd`: 500 simulated workers that send 2,000 reports a second for so many minutes:
how long a report waits for its decision, whether all of them arrive, and by how much each trial that ends lets the
scheduler's memory grow.

`pauses`, from one trial's end to the next one's first step: one slot and an objective that notes when it begins and
returns at once; medians and 99th percentiles, over rounds by turns. Ours is the whole service (SQLite, a Redis of its
own, RQ, the runner), by random search and by TPE. Peers: RQ's stock worker (a fork a job), RQ's SimpleWorker (in the
worker's own process), both with jobs that wait in the queue and no search at all; Optuna over SQLite in this process;
Ray Tune, if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import redis
from rich.console import Console
from rich.table import Table

from benchmarks.coordinator import Crew, service
from benchmarks.crowd import Outcome, run_crowd
from store.embedded_redis import embedded_redis
from store.settings import Settings
from tests.services import RedisServer, postgres_server
from trialyard.client import Client
from trialyard.follow import follow
from trialyard.local import free_port, local_service
from trialyard.signals import StopSignals

ROUNDS = 3
WARM = 5  # first pauses of a round that are left out: imports, connections
CROWD_PACE = 0.235  # seconds an epoch: 500 slots send 2,000 reports a second, if each waits no longer than 15 ms

OBJECTIVE = '''
import os
import time


def note(trial=None):
    """Says when it began and when it ended, on the clock that all processes of a machine share."""
    began = time.monotonic()
    x = 0.5 if trial is None else trial.parameters["x"]
    with open(os.environ["POOL_TIMES"], "a") as file:
        file.write(f"{began} {time.monotonic()}\\n")
    return {"loss": x}
'''


def ours(folder: Path, trials: int) -> None:
    (folder / "objectives.toml").write_text('[objectives]\nnote = "pool_objective:note"\n')
    settings = Settings(home_dir=folder / "home", port=free_port(), objectives_file=folder / "objectives.toml")
    with (
        StopSignals() as signals,
        local_service(settings, ["--gpus", "none", "--cpu-slots", "1"], signals, print) as running,
        Client(running.server_url) as client,
    ):
        for sampler in ("random", "tpe"):
            document = {
                "name": f"pool-{sampler}",
                "objective": {"metric": "loss", "direction": "minimize"},
                "parameters": {"x": {"low": 0.0, "high": 1.0}},
                "sampler": {"name": sampler, "seed": 1},
                "budget": {"trials": trials, "parallel": 1},
                "trial": {"kind": "objective", "name": "note"},
            }
            ended = follow(client, client.create_study(document), Console(stderr=True), running.check)
            assert ended.counts.complete == trials, ended


def rq_worker(folder: Path, trials: int, kind: str) -> None:
    from rq import Queue

    with embedded_redis(folder / "home") as url:
        queue = Queue("pool", connection=redis.Redis.from_url(url))
        queue.enqueue_many([Queue.prepare_data("pool_objective.note") for _ in range(trials)])
        code = (
            f"import redis; from rq import {kind}; import pool_objective; "
            f"{kind}(['pool'], connection=redis.Redis.from_url({url!r})).work(burst=True, logging_level='ERROR')"
        )
        subprocess.run([sys.executable, "-P", "-c", code], check=True)


def optuna_sqlite(folder: Path, trials: int) -> None:
    import optuna

    sys.path.insert(0, str(folder))
    note = importlib.import_module("pool_objective").note
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{folder / 'optuna.db'}", sampler=optuna.samplers.TPESampler(seed=1))

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_float("x", 0.0, 1.0)
        return float(note()["loss"])

    study.optimize(objective, n_trials=trials, n_jobs=1)
    sys.path.remove(str(folder))


def ray_tune(folder: Path, trials: int) -> None:
    code = (
        "import ray, pool_objective\n"
        "from ray import tune\n"
        "ray.init(num_cpus=1, include_dashboard=False, logging_level='ERROR')\n"
        "def trainable(config):\n    tune.report(pool_objective.note())\n"
        f"tune.Tuner(trainable, tune_config=tune.TuneConfig(num_samples={trials}, max_concurrent_trials=1),\n"
        f"    run_config=tune.RunConfig(storage_path={str(folder)!r}, verbose=0)).fit()\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True)


def pauses(run: Callable[[Path, int], None], trials: int, studies: int) -> list[list[float]]:
    """Milliseconds from each trial's end to the next one's beginning, of each study after the other."""
    with tempfile.TemporaryDirectory(prefix="pool-") as name:
        folder = Path(name)
        (folder / "pool_objective.py").write_text(OBJECTIVE)
        os.environ["POOL_TIMES"] = str(folder / "times")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [name, _PYTHONPATH]))
        run(folder, trials)
        times = sorted(tuple(map(float, line.split())) for line in (folder / "times").read_text().splitlines())
    assert len(times) == trials * studies, f"{len(times)} of {trials * studies} trials ran"
    found = []
    for first in range(0, len(times), trials):
        of_study = [1000 * (later[0] - earlier[1]) for earlier, later in pairwise(times[first : first + trials])]
        found.append(of_study[WARM:] if len(of_study) > 2 * WARM else of_study)
    return found


_PYTHONPATH = os.environ.get("PYTHONPATH", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", nargs="+", choices=("pauses", "slots", "crowd"), default=("pauses", "slots", "crowd"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the crowd")
    parser.add_argument("--without-ray", action="store_true", help="which takes half a minute a round to start")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    if {"slots", "crowd"} & set(arguments.only):
        minutes = min(arguments.minutes, 0.2) if arguments.quick else arguments.minutes
        figures |= measure_crowds(arguments.only, 15.0 if arguments.quick else 120.0, 60 * minutes)
    if "pauses" in arguments.only:
        figures["pauses"] = measure_pauses(arguments.quick, not arguments.without_ray)
    print(json.dumps({"benchmark": "pool", "cores": os.cpu_count(), "load": os.getloadavg()[0], **figures}))


def measure_crowds(only: Collection[str], slots_seconds: float, crowd_seconds: float) -> dict[str, Any]:
    """The figures of `slots` and `crowd`, which share one service."""
    crew = Crew(1)
    figures: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pool-")))
        redis_url = stack.enter_context(RedisServer(folder)).url
        ours = stack.enter_context(service(stack.enter_context(postgres_server(durable=True)), redis_url))
        if "slots" in only:
            figures["slots"] = figures_of(run_crowd(crew, ours, 64, slots_seconds, 0.5, "tpe", by_jobs=True))
        if "crowd" in only:
            crowd = run_crowd(crew, ours, 500, crowd_seconds, CROWD_PACE, "random", by_jobs=False)
            figures["crowd"] = figures_of(crowd)
    table = Table("", *figures, box=None)
    for figure in next(iter(figures.values())):
        table.add_row(figure, *(str(each[figure]) for each in figures.values()))
    Console().print(table)
    return figures


def figures_of(crowd: Outcome) -> dict[str, Any]:
    return {
        "share_in_trials": round(crowd.share("held"), 4),
        "share_training": round(crowd.share("trained"), 4),
        "reports_per_second": round(crowd.reports / (crowd.end - crowd.begin), 1),
        "p50_ms": round(crowd.percentile(50), 1),
        "p99_ms": round(crowd.percentile(99), 1),
        "lost": crowd.reports - crowd.stored,
        "refused": crowd.refused,
        "sent_again": crowd.resent,
        "memory_first_mib": round(crowd.memory[0][1]),
        "memory_last_mib": round(crowd.memory[-1][1]),
        "bytes_a_trial": round(crowd.growth),
    }


def measure_pauses(quick: bool, with_ray: bool) -> dict[str, Any]:
    """The pauses of every system, by turns."""
    systems: dict[tuple[str, ...], tuple[Callable[[Path, int], None], int]] = {
        ("Trialyard, random", "Trialyard, TPE"): (ours, 200),
        ("RQ SimpleWorker",): (lambda folder, trials: rq_worker(folder, trials, "SimpleWorker"), 200),
        ("RQ Worker",): (lambda folder, trials: rq_worker(folder, trials, "Worker"), 60),
        ("Optuna, TPE, SQLite",): (optuna_sqlite, 40),
    }
    if importlib.util.find_spec("ray") is None:
        print("Ray Tune is left out: pip install 'trialyard[bench]'", file=sys.stderr)
    elif with_ray and not quick:
        systems["Ray Tune",] = (ray_tune, 20)
    found: dict[str, list[list[float]]] = {name: [] for names in systems for name in names}
    for _ in range(1 if quick else ROUNDS):
        for names, (run, trials) in systems.items():
            started = time.monotonic()
            of_studies = pauses(run, max(5, trials // 10) if quick else trials, len(names))
            for name, each in zip(names, of_studies, strict=True):
                found[name].append(each)
            print(f"{' and '.join(names)}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return report(found)


def report(found: dict[str, list[list[float]]]) -> dict[str, Any]:
    table = Table("one slot", "median, ms", "p99, ms", "medians of the rounds", box=None)
    figures: dict[str, Any] = {}
    for name, rounds in found.items():
        medians = [statistics.median(each) for each in rounds]
        whole = sorted(pause for each in rounds for pause in each)
        p99 = whole[int(0.99 * (len(whole) - 1))]
        middle = statistics.median(medians)
        table.add_row(name, f"{middle:.2f}", f"{p99:.1f}", " ".join(f"{median:.2f}" for median in medians))
        figures[name] = {"median_ms": round(middle, 3), "p99_ms": round(p99, 2), "medians_ms": medians}
    Console().print(table)
    return figures


if __name__ == "__main__":
    main()
