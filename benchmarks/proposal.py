"""How long does a TPE proposal take when many trials have finished? Ours and Optuna's, which propose the same.

    python -m benchmarks.proposal [--quick]

One `ask` with its suggestions, milliseconds of the process's own time, for a space of five floats and for a mixed one;
ours and stock by turns in the same process, on studies with the same history. Between two proposals a trial finishes.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import time

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from rich.console import Console
from rich.table import Table

from search.tpe import HistoryTPESampler

TRIALS = (1_000, 5_000, 10_000)
SPACES: dict[str, dict[str, BaseDistribution]] = {
    "floats": {f"x{place}": FloatDistribution(0.0, 1.0) for place in range(5)},
    "mixed": {
        "lr": FloatDistribution(1e-5, 1e-1, log=True),
        "momentum": FloatDistribution(0.0, 0.99),
        "dropout": FloatDistribution(0.0, 0.6, step=0.1),
        "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
        "batch": IntDistribution(16, 256, log=True),
        "layers": IntDistribution(1, 6),
    },
}


def history(space: dict[str, BaseDistribution], count: int) -> list[FrozenTrial]:
    """Finished trials as a search leaves them: drawn at random, better ones with smaller values."""
    study = optuna.create_study(sampler=RandomSampler(seed=5))
    draws = random.Random(1)
    found = []
    for _ in range(count):
        params = study.ask(space).params
        found.append(create_trial(params=params, distributions=space, value=value_of(params) + 0.1 * draws.random()))
    return found


def value_of(params: dict[str, object]) -> float:
    return sum(math.log10(1 + abs(each)) for each in params.values() if isinstance(each, int | float))


class Contestant:
    """A study with a history, from which proposals are asked one at a time."""

    def __init__(self, sampler: TPESampler, space: dict[str, BaseDistribution], trials: list[FrozenTrial]) -> None:
        self._space = space
        self._study = optuna.create_study(sampler=sampler)
        self._study.add_trials(trials)
        self.milliseconds: list[float] = []
        self._propose()  # the history is taken in here, once

    def run(self, proposals: int) -> None:
        for _ in range(proposals):
            self.milliseconds.append(1000 * self._propose())

    def last(self) -> dict[str, object]:
        return self._study.get_trials(deepcopy=False)[-1].params

    def _propose(self) -> float:
        start = time.process_time()
        trial = self._study.ask(self._space)
        seconds = time.process_time() - start
        self._study.tell(trial, value_of(trial.params))
        return seconds


def measure(space: str, count: int, rounds: int, proposals: int) -> tuple[float, float]:
    """The median milliseconds of ours and of stock."""
    trials = history(SPACES[space], count)
    ours = Contestant(HistoryTPESampler(seed=1), SPACES[space], trials)
    stock = Contestant(TPESampler(seed=1), SPACES[space], trials)
    for _ in range(rounds):
        for each in (ours, stock):
            each.run(proposals)
        assert ours.last() == stock.last(), "ours proposes something else than stock"
    return statistics.median(ours.milliseconds), statistics.median(stock.milliseconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    rounds, proposals = (1, 2) if parser.parse_args().quick else (5, 8)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("space", "finished trials", "ours ms", "stock ms", "ratio", box=None)
    figures, ratios = {}, {}
    for space in SPACES:
        for count in TRIALS:
            ours, stock = measure(space, count, rounds, proposals)
            table.add_row(space, f"{count:,}", f"{ours:.2f}", f"{stock:.2f}", f"{stock / ours:.1f}")
            figures[f"{space}_{count}"] = {"ours_ms": round(ours, 2), "stock_ms": round(stock, 2)}
            ratios[f"{space}_{count}_stock_over_ours"] = round(stock / ours, 2)
    Console().print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "proposal", **machine, "milliseconds": figures, "ratios": ratios}))


if __name__ == "__main__":
    main()
