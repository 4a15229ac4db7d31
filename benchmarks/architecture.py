"""Which sampler finds good architectures in fewest trials? All 6,561 networks of NAS-Bench-Macro, looked up: of one
objective how far the best network found is behind the best there is, and of two (accuracy, parameters) how much of the
hypervolume that the true front covers.

    TRIALYARD_DATA_DIR=… python -m benchmarks.architecture [--quick] [--seeds 10]

A trial sees one of three trained seeds, at random; what it found is judged by the mean over the three.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from rich.console import Console
from rich.table import Table

from search.definition import parse
from search.fronts import Losses, hypervolumes, losses_of
from search.optuna_study import OptunaStudy
from search.sections import Objective
from store.models import TrialState

MARKS = (25, 50, 100, 200, 400)  # trials
SAMPLERS: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "tpe": {"name": "tpe"},
    "auto": {"name": "auto"},
    "nsga2": {"name": "nsga2", "population_size": 20},
}
ACCURACY = Objective(metric="accuracy", direction="maximize")
PARAMS = Objective(metric="params", direction="minimize")


class Trained(NamedTuple):
    """A trial: the accuracy that it showed, and what its network is worth in truth."""

    seen: float
    accuracy: float
    params: float


class Networks:
    """The table: eight layers of three kinds (Su et al. 2021)."""

    parameters: Mapping[str, Any] = {f"model.cells.{place}": {"values": ["0", "1", "2"]} for place in range(8)}

    def __init__(self, path: Path) -> None:
        self._rows: dict[str, Any] = json.loads(path.read_bytes())
        every = [self.truth(code) for code in self._rows]
        self.best = max(accuracy for accuracy, _ in every)
        self._losses = losses_of([ACCURACY, PARAMS], every)
        self._worst = self._losses.max(axis=0)
        self._whole = self.covered(every)

    @staticmethod
    def code(parameters: Mapping[str, Any]) -> str:
        return "".join(parameters[name] for name in Networks.parameters)

    def truth(self, code: str) -> tuple[float, float]:
        """The mean accuracy in per cent, and the parameters."""
        return self._rows[code]["mean_acc"], self._rows[code]["params"]

    def seen(self, code: str, seed: int) -> tuple[float, float]:
        """What one training shows."""
        accuracies = self._rows[code]["test_acc"]
        return accuracies[seed % len(accuracies)], self._rows[code]["params"]

    def covered(self, points: Sequence[tuple[float, float]]) -> float:
        """The hypervolume of points, counted from the worst of both objectives, each range taken as 1."""
        spread: Losses = np.ptp(self._losses, axis=0)
        scaled = (losses_of([ACCURACY, PARAMS], points) - self._worst) / spread
        return max(hypervolumes(scaled, np.zeros(2)))[1]

    def share(self, points: Sequence[tuple[float, float]]) -> float:
        """Of the hypervolume of the true front."""
        return self.covered(points) / self._whole


def search(table: Networks, sampler: str, objectives: Sequence[Objective], seed: int) -> Iterator[Trained]:
    """Each trial in turn; the search itself sees one training of it."""
    documents = [each.model_dump() for each in objectives]
    study = OptunaStudy(
        parse(
            {
                "name": f"architecture-{seed}",
                "objective": documents if len(documents) > 1 else documents[0],
                "parameters": dict(table.parameters),
                "sampler": {**SAMPLERS[sampler], "seed": seed},
                "budget": {"trials": 1_000_000},
                "trial": {"kind": "external"},
            }
        )
    )
    draws = np.random.default_rng(seed)
    while True:
        proposal = study.propose()
        code = table.code(proposal.parameters)
        seen = table.seen(code, int(draws.integers(2**31)))
        study.finish(proposal.number, TrialState.COMPLETE, seen[: len(objectives)])
        yield Trained(seen[0], *table.truth(code))


def regrets(table: Networks, sampler: str, seed: int, marks: Sequence[int]) -> list[float]:
    """Points of accuracy behind the best network, of the one that a person would take at each mark."""
    found: list[float] = []
    best = (-np.inf, -np.inf)
    for count, (seen, accuracy, _) in enumerate(search(table, sampler, [ACCURACY], seed), start=1):
        best = max(best, (seen, accuracy))
        if count in marks:
            found.append(table.best - best[1])
        if count == marks[-1]:
            return found
    return found


def shares(table: Networks, sampler: str, seed: int, marks: Sequence[int]) -> list[float]:
    """Of the true front's hypervolume, what the trials so far cover."""
    points: list[tuple[float, float]] = []
    found: list[float] = []
    for _, accuracy, params in search(table, sampler, [ACCURACY, PARAMS], seed):
        points.append((accuracy, params))
        if len(points) in marks:
            found.append(table.share(points))
        if len(points) == marks[-1]:
            return found
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, fifty trials")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if not folder:
        print("TRIALYARD_DATA_DIR is not set; name the folder with hpo/nas_bench_macro_cifar10.json", file=sys.stderr)
        return 2
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = Networks(Path(folder) / "hpo" / "nas_bench_macro_cifar10.json")
    seeds, marks = (2, MARKS[:2]) if options.quick else (options.seeds, MARKS)
    regret = {name: [regrets(table, name, seed, marks) for seed in range(seeds)] for name in SAMPLERS}
    several = [name for name in SAMPLERS if name != "auto"]  # which knows one objective
    covered = {name: [shares(table, name, seed, marks) for seed in range(seeds)] for name in several}
    show("points of accuracy behind the best network: median (quartiles)", regret, marks, "{:.2f}")
    show("share of the true front's hypervolume: median (quartiles)", covered, marks, "{:.4f}")
    print(json.dumps({"benchmark": "architecture", "trials": marks, "regret": regret, "hypervolume": covered}))
    return 0


def show(title: str, runs: Mapping[str, Sequence[Sequence[float]]], marks: Sequence[int], form: str) -> None:
    table = Table("sampler", *(f"{mark} trials" for mark in marks), title=title, box=None)
    for name, values in runs.items():
        cells = []
        for column in zip(*values, strict=True):
            low, middle, high = statistics.quantiles(column, n=4, method="inclusive")
            cells.append(f"{form.format(middle)} ({form.format(low)}-{form.format(high)})")
        table.add_row(name, *cells)
    Console(width=140, stderr=True).print(table)


if __name__ == "__main__":
    sys.exit(main())
