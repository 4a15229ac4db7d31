"""What does the service add to a trial? An objective that returns at once, through everything: SQL, Redis, RQ, runner.

    python -m benchmarks.overhead [--trials 1000] [--quick]

The service is the one that `trialyard run` starts (SQLite, embedded Redis, all as processes), with 1, 2 and 4 workers.
A round's time runs from its first trial's start to its last one's end, as SQL has them: starting processes, importing
and the preflight are not in it. Milliseconds a trial are those of one worker, from one start to the next.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from store.settings import Settings
from trialyard.client import Client
from trialyard.follow import follow
from trialyard.local import LocalService, free_port, local_service
from trialyard.signals import StopSignals

WORKERS = (1, 2, 4)

OBJECTIVES = '[objectives]\nnothing = "overhead_objective:nothing"\n'
OBJECTIVE = "def nothing(trial):\n    return {'loss': trial.parameters['x']}\n"


@dataclass(frozen=True)
class Round:
    """What one number of workers did."""

    workers: int
    trials: int
    seconds: float

    @property
    def trials_per_second(self) -> float:
        return self.trials / self.seconds

    @property
    def milliseconds_per_trial(self) -> float:
        return 1000 * self.workers * self.seconds / self.trials


def measure(workers: int, trials: int) -> Round:
    """Run one study on a service of its own."""
    with service(workers) as running, Client(running.server_url) as client:
        study = client.create_study(definition(trials, workers))
        ended = follow(client, study, Console(stderr=True), running.check)
        assert ended.counts.complete == trials, ended
        found = list(client.trials(study.name))
    started = min(trial.started_at for trial in found if trial.started_at)
    last = max(trial.ended_at for trial in found if trial.ended_at)
    return Round(workers, trials, (last - started).total_seconds())


@contextmanager
def service(workers: int) -> Iterator[LocalService]:
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder, StopSignals() as signals:
        home = Path(folder)
        (home / "objectives.toml").write_text(OBJECTIVES)
        (home / "overhead_objective.py").write_text(OBJECTIVE)
        settings = Settings(home_dir=home, port=free_port(), objectives_file=home / "objectives.toml")
        slots = ["--gpus", "none", "--cpu-slots", str(workers)]
        with local_service(settings, slots, signals, complain) as running:
            yield running


def definition(trials: int, workers: int) -> dict[str, Any]:
    return {
        "name": "overhead",
        "objective": {"metric": "loss", "direction": "minimize"},
        "parameters": {"x": {"low": 0.0, "high": 1.0}},
        "sampler": {"name": "random", "seed": 1},
        "budget": {"trials": trials, "parallel": workers},
        "trial": {"kind": "objective", "name": "nothing"},
    }


def complain(text: str) -> None:
    print(text, file=sys.stderr)


def table_of(rounds: Sequence[Round]) -> Table:
    table = Table("workers", "trials", "seconds", "trials/s", "ms a trial", box=None)
    for each in rounds:
        figures = (f"{each.seconds:.2f}", f"{each.trials_per_second:.1f}", f"{each.milliseconds_per_trial:.1f}")
        table.add_row(str(each.workers), str(each.trials), *figures)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="trials of each round")
    parser.add_argument("--quick", action="store_true", help="a smoke run of 20 trials: its figures mean nothing")
    options = parser.parse_args()
    rounds = [measure(workers, 20 if options.quick else options.trials) for workers in WORKERS]
    Console().print(table_of(rounds))
    figures = [
        asdict(each) | {"trials_per_second": each.trials_per_second, "ms_per_trial": each.milliseconds_per_trial}
        for each in rounds
    ]
    print(
        json.dumps({"benchmark": "overhead", "cores": os.cpu_count(), "machine": platform.machine(), "rounds": figures})
    )


if __name__ == "__main__":
    main()
