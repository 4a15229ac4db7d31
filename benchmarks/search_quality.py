"""Which search finds the better model at the same cost? Stock Optuna with each pruner, and ours, at equal epochs.

    TRIALYARD_DATA_DIR=… python -m benchmarks.search_quality [--quick] [--live] [--into FILE] [--picture FILE]

Simulated workers train side by side on a simulated clock; samplers, pruners and rungs are those of the scheduler, and
Optuna's by their names are Optuna's to the last bit. Learning-curve tables need the folder of TRIALYARD_DATA_DIR;
functions with made-up curves do not; `--live` trains small networks on digits. Runs are kept in the file of `--into`,
one JSON line each: what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console
from rich.table import Table

from benchmarks.curves import Problem, tables
from benchmarks.made_up import made_up
from benchmarks.simulated import search

MARKS = (250, 500, 1000, 2000)
JUDGED = (500, 1000, 2000)
SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "tpe": {"name": "tpe"},
    "tpe-univariate": {"name": "tpe", "multivariate": False},
    "cmaes": {"name": "cmaes"},
}
PRUNERS = ("none", "median", "successive_halving", "hyperband")
OURS = "auto+asha"


@dataclass(frozen=True)
class Run:
    """One search: its scores at `MARKS`."""

    problem: str
    candidate: str
    workers: int
    seed: int
    scores: tuple[float, ...]

    @property
    def key(self) -> tuple[str, str, int, int]:
        return self.problem, self.candidate, self.workers, self.seed


def sections(candidate: str, problem: Problem) -> dict[str, Any] | None:
    """What a study file would say; None where the two do not fit."""
    sampler, pruner = candidate.split("+")
    ranges = any("low" in each for each in problem.parameters.values())
    if (sampler == "cmaes" and not ranges) or (pruner != "none" and problem.epochs == 1 and candidate != OURS):
        return None
    section: dict[str, Any] = {"name": pruner}
    if pruner in ("hyperband", "asha"):
        section["max_resource"] = problem.epochs
    return {"sampler": SAMPLERS.get(sampler, {"name": sampler}), "pruner": section}


def measure(
    problems: Iterable[Problem], candidates: Sequence[str], seeds: int, workers: Sequence[int], known: Mapping[Any, Run]
) -> Iterator[Run]:
    """Every search that is not known yet, all candidates by turns."""
    problems = list(problems)
    for count in workers:
        for seed in range(seeds):
            for problem in problems:
                for candidate in candidates:
                    chosen = sections(candidate, problem)
                    if chosen is None or (problem.name, candidate, count, seed) in known:
                        continue
                    own = zlib.crc32(f"{problem.name}{seed}".encode())
                    yield Run(problem.name, candidate, count, seed, tuple(search(problem, chosen, own, count, MARKS)))


def ratios(runs: Iterable[Run]) -> dict[tuple[str, int], dict[str, Any]]:
    """By problem and workers: the stock combination with the best mean of medians, and ours over it at each mark."""
    groups: dict[tuple[str, int], dict[str, list[tuple[float, ...]]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        groups[run.problem, run.workers][run.candidate].append(run.scores)
    found = {}
    for key, candidates in sorted(groups.items()):
        medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in candidates.items()}
        stock = {name: each for name, each in medians.items() if not name.startswith("auto")}
        ours = medians.get(OURS)
        best = [min(each[place] for each in stock.values()) for place in range(len(MARKS))] if stock else None
        found[key] = {"medians": medians, "best_stock": best, "ours": ours}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument("--candidates", nargs="*")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    problems = [*(tables(Path(folder)) if folder else ()), *made_up()]
    problems = [each for each in problems if options.only in each.name]
    stock = [f"{sampler}+{pruner}" for sampler in SAMPLERS for pruner in PRUNERS]
    candidates = options.candidates or [*stock, OURS]
    known = {}
    if options.into and options.into.exists():
        for line in options.into.read_text().splitlines():
            row = json.loads(line)
            run = Run(row["problem"], row["candidate"], row["workers"], row["seed"], tuple(row["scores"]))
            known[run.key] = run
    runs = list(known.values())
    for run in measure(problems, candidates, options.seeds, options.workers, known):
        runs.append(run)
        if options.into:
            with options.into.open("a") as file:
                file.write(json.dumps(run.__dict__) + "\n")
    for key, row in ratios(runs).items():
        print(key)
        for name, med in sorted(row["medians"].items(), key=lambda x: sum(x[1])):
            print("   ", name.ljust(36), " ".join(f"{each:10.4g}" for each in med))


if __name__ == "__main__":
    main()
