"""How long does a proposal take when many trials have finished? Our TPE and Optuna's, which propose alike, and `auto`.

    python -m benchmarks.proposal [--quick]

One `ask` with its suggestions, milliseconds of the process's own time, for a space of five floats and for a mixed one;
all three by turns in the same process, on studies with the same history. Between two proposals a trial finishes.
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
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial
from rich.console import Console
from rich.table import Table

from search.auto import AutoSampler
from search.definition import parse
from search.space import Space
from search.tpe import HistoryTPESampler

WARM = 8  # proposals before the first that counts
TRIALS = (1_000, 5_000, 10_000)
SPACES: dict[str, dict[str, Any]] = {
    "floats": {f"x{place}": {"low": 0.0, "high": 1.0} for place in range(5)},
    "mixed": {
        "lr": {"low": 1e-5, "high": 1e-1, "log": True},
        "momentum": {"low": 0.0, "high": 0.99},
        "dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
        "optimizer": {"values": ["adam", "sgd", "rmsprop"]},
        "batch": {"low": 16, "high": 256, "log": True},
        "layers": {"low": 1, "high": 6},
    },
}


def space_of(parameters: dict[str, Any]) -> Space:
    document = {
        "name": "proposals",
        "objective": {"metric": "value", "direction": "minimize"},
        "parameters": parameters,
        "budget": {"trials": 1},
        "trial": {"kind": "external"},
    }
    return Space(parse(document).parameters)


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

    def __init__(self, sampler: BaseSampler, space: dict[str, BaseDistribution], trials: list[FrozenTrial]) -> None:
        self._space = space
        self._study = optuna.create_study(sampler=sampler)
        self._study.add_trials(trials)
        self.milliseconds: list[float] = []
        for _ in range(WARM):  # the history is taken in here, and a model fitted
            self._propose()

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


def measure(parameters: dict[str, Any], count: int, rounds: int, proposals: int) -> dict[str, float]:
    """The milliseconds of our TPE, of stock (medians) and of `auto` (the mean: half of its proposals take no model)."""
    space = space_of(parameters)
    trials = history(space.distributions(), count)
    samplers = {
        "ours": HistoryTPESampler(seed=1),
        "stock": TPESampler(seed=1),
        "auto": AutoSampler(space, n_startup_trials=8, random_share=0.0, rungs=None),
    }
    contestants = {name: Contestant(each, space.distributions(), trials) for name, each in samplers.items()}
    for _ in range(rounds):
        for each in contestants.values():
            each.run(proposals)
        assert contestants["ours"].last() == contestants["stock"].last(), "ours proposes something else than stock"
    middle = {"ours": statistics.median, "stock": statistics.median, "auto": statistics.fmean}
    return {name: middle[name](each.milliseconds) for name, each in contestants.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    rounds, proposals = (1, 2) if parser.parse_args().quick else (5, 8)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table("space", "finished trials", "our TPE ms", "stock TPE ms", "ratio", "auto ms", box=None)
    figures, ratios = {}, {}
    for space in SPACES:
        for count in TRIALS:
            found = measure(SPACES[space], count, rounds, proposals)
            ratio = found["stock"] / found["ours"]
            cells = [f"{found['ours']:.2f}", f"{found['stock']:.2f}", f"{ratio:.1f}", f"{found['auto']:.2f}"]
            table.add_row(space, f"{count:,}", *cells)
            figures[f"{space}_{count}"] = {f"{name}_ms": round(each, 2) for name, each in found.items()}
            ratios[f"{space}_{count}_stock_over_ours"] = round(ratio, 2)
            ratios[f"{space}_{count}_stock_over_auto"] = round(found["stock"] / found["auto"], 2)
    Console().print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()[0]}
    print(json.dumps({"benchmark": "proposal", **machine, "milliseconds": figures, "ratios": ratios}))


if __name__ == "__main__":
    main()
