"""What does the default search make of few trials, and what does it save? `auto` with `asha`, and without a pruner.

    TRIALYARD_DATA_DIR=… python -m benchmarks.few_trials [--quick] [--seeds 4] [--into FILE]

Each study has so many trials, as a person would say, on simulated workers; problems are those of `search_quality` with
whole trainings of more than ten epochs. A run is kept in the file of `--into`, one JSON line each, and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from rich.console import Console
from rich.table import Table

from benchmarks.curves import Problem, tables
from benchmarks.made_up import made_up
from benchmarks.simulated import Outcome, whole

WHOLE, CUT, COMPLETED = "none", "asha, least_complete 0", "asha"
PRUNERS: dict[str, dict[str, Any]] = {
    WHOLE: {"name": "none"},
    CUT: {"name": "asha", "least_complete": 0},
    COMPLETED: {"name": "asha"},
}
LEAST_SCORE = 0.001  # added to regrets, which may be 0; ranks begin at 1


class Key(NamedTuple):
    problem: str
    pruner: str
    trials: int
    workers: int
    seed: int


Runs = dict[Key, Outcome]


class Row(NamedTuple):
    """A pruner beside none, at as many trials and at half as many; geometric means with the logarithms' errors."""

    trials: int
    workers: int
    pruner: str
    runs: int
    score: float
    score_error: float
    over_half: float
    over_half_error: float
    epochs: float  # of those that whole trainings take
    complete: float  # median


def measure(problems: Sequence[Problem], seeds: Iterable[int], known: Runs) -> Iterator[tuple[Key, Outcome]]:
    """Every study that is not known yet, all pruners by turns."""
    for seed, trials, workers, problem in product(seeds, (12, 24, 48), (1, 4), problems):
        own = zlib.crc32(f"{problem.name}{seed}".encode())
        for name, pruner in PRUNERS.items():
            key = Key(problem.name, name, trials, workers, seed)
            if key not in known:
                bound = {} if name == WHOLE else {"max_resource": problem.epochs}
                yield key, whole(problem, {"sampler": {"name": "auto"}, "pruner": pruner | bound}, own, workers, trials)


def compare(runs: Runs) -> list[Row]:
    """By trials, workers and pruner, over the problems and seeds of all."""
    groups: dict[tuple[int, int, str], list[Key]] = defaultdict(list)
    for key in runs:
        groups[key.trials, key.workers, key.pruner].append(key)
    return [_row(runs, *group, keys) for group, keys in sorted(groups.items())]


def _row(runs: Runs, trials: int, workers: int, pruner: str, keys: list[Key]) -> Row:
    beside = _pairs(runs, keys, trials)
    half = _ratio(_pairs(runs, keys, trials // 2))
    score, error = _ratio(beside)
    epochs = statistics.fmean(ours.epochs / theirs.epochs for ours, theirs in beside)
    complete = statistics.median(ours.complete for ours, _ in beside)
    return Row(trials, workers, pruner, len(beside), score, error, *half, epochs, complete)


def _pairs(runs: Runs, keys: Iterable[Key], trials: int) -> list[tuple[Outcome, Outcome]]:
    """Each run and the one of so many whole trainings on the same problem."""
    beside = [(runs[key], key._replace(pruner=WHOLE, trials=trials)) for key in keys]
    return [(ours, runs[other]) for ours, other in beside if other in runs]


def _ratio(pairs: Sequence[tuple[Outcome, Outcome]]) -> tuple[float, float]:
    """The geometric mean of the scores' ratios, and the standard error of its logarithm; NaN if too few are known."""
    logs = [math.log((ours.score + LEAST_SCORE) / (theirs.score + LEAST_SCORE)) for ours, theirs in pairs]
    if len(logs) < 2:
        return math.nan, math.nan
    return math.exp(statistics.fmean(logs)), statistics.stdev(logs) / math.sqrt(len(logs))


def show(rows: Iterable[Row]) -> None:
    heads = ("trials", "workers", "pruner", "runs", "score / none", "/ none with half the trials", "epochs", "complete")
    table = Table(*heads, box=None)
    for row in rows:
        half = "" if math.isnan(row.over_half) else f"{row.over_half:.2f} ({row.over_half_error:.2f})"
        score = f"{row.score:.2f} ({row.score_error:.2f})"
        cells = (row.trials, row.workers, row.pruner, row.runs, score, half, f"{row.epochs:.2f}", f"{row.complete:g}")
        table.add_row(*map(str, cells))
    Console(width=140).print(table)


def read(path: Path | None) -> Runs:
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {Key(*row["key"]): Outcome(*row["outcome"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--from-seed", type=int, default=0, help="the first one")
    parser.add_argument("--into", type=Path, help="where runs are kept")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    problems = [each for each in (*(tables(Path(folder)) if folder else ()), *made_up()) if each.epochs > 10]
    seeds = range(options.from_seed, options.from_seed + options.seeds)
    if options.quick:
        problems, seeds = problems[-1:], range(2)
    runs = read(options.into)
    for key, outcome in measure(problems, seeds, runs):
        runs[key] = outcome
        if options.into:
            with options.into.open("a") as file:
                file.write(json.dumps({"key": key, "outcome": outcome}) + "\n")
    rows = compare(runs)
    show(rows)
    print(json.dumps({"benchmark": "few_trials", "rows": [row._asdict() for row in rows]}))


if __name__ == "__main__":
    main()
