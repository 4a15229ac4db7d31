"""Which search finds the better model at the same cost? Optuna's samplers with its pruners, and ours, at equal epochs.

    TRIALYARD_DATA_DIR=… python -m benchmarks.search_quality [--quick] [--live] [--into FILE]

Simulated workers train side by side on a simulated clock; samplers, pruners and rungs are those of the scheduler, and
Optuna's by their names are Optuna's to the last bit. Where a configuration is judged by the mean of its trainings, of
which a search sees one, a candidate `…+rescore` gives a tenth of its epochs to a race of its best trials.

Learning-curve tables need the folder of TRIALYARD_DATA_DIR; functions with made-up curves do not. A run is kept in the
file of `--into`, one JSON line each: what is there is not run again, so that a measurement of hours can be cut into
pieces.
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
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.curves import Problem, tables
from benchmarks.live import live
from benchmarks.live_wide import wide
from benchmarks.made_up import made_up
from benchmarks.simulated import search

MARKS = (250, 500, 1000, 2000)  # epochs spent
LIVE_MARKS = (125, 250, 500)
SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "tpe": {"name": "tpe"},
    "tpe-univariate": {"name": "tpe", "multivariate": False},
    "cmaes": {"name": "cmaes"},
    "auto": {"name": "auto"},
}
PRUNERS = ("none", "median", "successive_halving", "hyperband")
OURS = "auto+asha"
RESCORE = "rescore"
RACE = 0.1  # of the epochs
LEAST = 0.001  # is added to scores before their logarithms: a regret may be 0
STOCK = tuple(f"{sampler}+{pruner}" for sampler in SAMPLERS if sampler != "auto" for pruner in PRUNERS)


class Key(NamedTuple):
    problem: str
    candidate: str
    workers: int
    seed: int


Scores = tuple[float, ...]  # at each mark, smaller is better
Runs = dict[Key, Scores]


class Row(NamedTuple):
    """Ours beside the best stock combination, chosen anew at each mark."""

    problem: str
    workers: int
    candidate: str  # ours, with a race or without one
    seeds: tuple[int, int]  # of ours, and of the stock combination that has fewest
    ours: list[tuple[float, float, float]]  # at each mark: lower quartile, median, upper quartile
    stock: list[tuple[str, float]]  # at each mark: its name, its median


def sections(candidate: str, problem: Problem) -> dict[str, Any] | None:
    """What a study file would say; None where the two do not fit."""
    sampler, pruner, *race = candidate.split("+")
    ranges = any("low" in each for each in problem.parameters.values())
    stops = pruner in ("median", "successive_halving", "hyperband")
    if (sampler == "cmaes" and not ranges) or (stops and problem.epochs == 1) or (race and not problem.scores_the_mean):
        return None
    bound = {"max_resource": problem.epochs} if pruner in ("hyperband", "asha") else {}
    return {"sampler": SAMPLERS[sampler], "pruner": {"name": pruner, **bound}}


def measure(
    problems: Sequence[Problem],
    candidates: Sequence[str],
    seeds: Iterable[int],
    workers: Sequence[int],
    marks: Sequence[int],
    known: Runs,
) -> Iterator[tuple[Key, Scores]]:
    """Every search that is not known yet, all candidates by turns."""
    for count in workers:
        for seed in seeds:
            for problem in problems:
                own = zlib.crc32(f"{problem.name}{seed}".encode())
                for candidate in candidates:
                    key, chosen = Key(problem.name, candidate, count, seed), sections(candidate, problem)
                    if chosen is not None and key not in known:
                        race = RACE if candidate.endswith(f"+{RESCORE}") else 0.0
                        yield key, tuple(search(problem, chosen, own, count, marks, race))


def compare(runs: Runs) -> list[Row]:
    """By problem and number of workers, where both sides ran."""
    groups: dict[tuple[str, int], dict[str, list[Scores]]] = defaultdict(lambda: defaultdict(list))
    for key, scores in runs.items():
        groups[key.problem, key.workers][key.candidate].append(scores)
    rows = []
    for (problem, workers), by_candidate in sorted(groups.items()):
        stock = {name: each for name, each in by_candidate.items() if name in STOCK}
        for name in (OURS, f"{OURS}+{RESCORE}"):
            if stock and (ours := by_candidate.get(name)):
                seeds = len(ours), min(len(each) for each in stock.values())
                best = [_best(stock, place) for place in range(len(ours[0]))]
                quartiles = [_quartiles(each) for each in zip(*ours, strict=True)]
                rows.append(Row(problem, workers, name, seeds, quartiles, best))
    return rows


def _best(stock: dict[str, list[Scores]], place: int) -> tuple[str, float]:
    medians = {name: statistics.median(scores[place] for scores in each) for name, each in stock.items()}
    name = min(medians, key=medians.__getitem__)
    return name, medians[name]


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def against(runs: Runs, candidate: str) -> list[float | None]:
    """Ours over one stock combination at each mark: the geometric mean over problems of the medians' ratio."""
    logs: list[list[float]] = [[] for _ in next(iter(runs.values()), ())]
    of = {name: {(key.problem, key.workers) for key in runs if key.candidate == name} for name in (OURS, candidate)}
    for place, found in enumerate(logs):
        for cell in of[OURS] & of[candidate]:
            ours, theirs = (_median(runs, cell, name, place) for name in (OURS, candidate))
            if ours > 0 and theirs > 0:
                found.append(math.log(ours / theirs))
    return [round(math.exp(statistics.fmean(each)), 2) if each else None for each in logs]


def against_chosen(runs: Runs) -> list[float | None]:
    """Ours over the stock combination that suits each problem best, at each mark: the geometric mean over problems.

    It is chosen by all its seeds but one and judged by that one, each in turn. By the seeds that chose it the best of
    sixteen looks better than it is: with a few seeds of each, as good as chance makes one of them.
    """
    cells: dict[tuple[str, int], dict[str, dict[int, Scores]]] = defaultdict(lambda: defaultdict(dict))
    for key, scores in runs.items():
        cells[key.problem, key.workers][key.candidate][key.seed] = tuple(math.log(each + LEAST) for each in scores)
    found = []
    for place in range(len(next(iter(runs.values()), ()))):
        logs = [_over_chosen(cell, place) for cell in cells.values() if OURS in cell]
        known = [each for each in logs if each is not None]
        found.append(round(math.exp(statistics.fmean(known)), 2) if known else None)
    return found


def _over_chosen(cell: dict[str, dict[int, Scores]], place: int) -> float | None:
    """Of one problem, as a logarithm; None with fewer than two seeds that all stock combinations have."""
    stock = [{seed: each[place] for seed, each in runs.items()} for name, runs in cell.items() if name in STOCK]
    seeds = set.intersection(*map(set, stock)) if stock else set()
    if len(seeds) < 2:
        return None
    totals = [sum(each[seed] for seed in seeds) for each in stock]
    judged = [stock[min(range(len(stock)), key=lambda one: totals[one] - stock[one][held])][held] for held in seeds]
    return statistics.fmean(each[place] for each in cell[OURS].values()) - statistics.fmean(judged)


def _median(runs: Runs, cell: tuple[str, int], candidate: str, place: int) -> float:
    return statistics.median(
        scores[place] for key, scores in runs.items() if (key.problem, key.workers, key.candidate) == (*cell, candidate)
    )


def show(rows: Iterable[Row], marks: Sequence[int]) -> None:
    table = Table("problem", "workers", "ours", "seeds", *(f"{mark} epochs" for mark in marks), box=None)
    for row in rows:
        cells = []
        for (low, middle, high), (name, best) in zip(row.ours, row.stock, strict=True):
            cells.append(f"{middle:.3g} ({low:.3g}-{high:.3g}) | {best:.3g} {name}")
        table.add_row(row.problem, str(row.workers), row.candidate, f"{row.seeds[0]}/{row.seeds[1]}", *cells)
    Console(width=240).print(table)


def read(path: Path | None) -> Runs:
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        Key(row["problem"], row["candidate"], row["workers"], row["seed"]): tuple(map(float, row["scores"]))
        for row in rows
    }


def _problems(folder: Path | None, is_live: bool) -> list[Problem]:
    if is_live:
        torch.set_num_threads(1)
        return [*live(folder), *(wide(folder) if folder else ())]
    return [*(tables(folder) if folder else ()), *made_up()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--from-seed", type=int, default=0, help="the first one")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 16], help="simulated ones")
    parser.add_argument("--live", action="store_true", help="train small networks instead")
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument(
        "--candidates",
        nargs="*",
        default=[*STOCK, "auto+none", OURS, f"{OURS}+{RESCORE}"],
        help="such as tpe+hyperband or random+none+rescore",
    )
    parser.add_argument("--into", type=Path, help="where runs are kept")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.workers, options.only = 1, [1], options.only or "branin power"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    problems = [each for each in _problems(Path(folder) if folder else None, options.live) if options.only in each.name]
    runs = read(options.into)
    marks = LIVE_MARKS if options.live else MARKS
    seeds = range(options.from_seed, options.from_seed + options.seeds)
    for key, scores in measure(problems, options.candidates, seeds, options.workers, marks, runs):
        runs[key] = scores
        if options.into:
            with options.into.open("a") as file:
                file.write(json.dumps({**key._asdict(), "scores": scores}) + "\n")
    rows = compare(runs)
    show(rows, marks)
    ratios = {f"ours_over_{name}": against(runs, name) for name in STOCK}
    ratios["ours_over_the_one_chosen_by_other_seeds"] = against_chosen(runs)
    print(json.dumps({"benchmark": "search_quality", "epochs": marks, "ratios": ratios, "rows": rows}))


if __name__ == "__main__":
    main()
