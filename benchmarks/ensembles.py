"""Does an ensemble of a search's trials do better on new rows than the best trial, and at what cost?

    TRIALYARD_DATA_DIR=… python -m benchmarks.ensembles [--quick] [--seeds 5] [--trials 10]

Six real data sets, four of classes and two of numbers. For each seed of the split a random search of as many trials is
run with the trainer; then every method makes its ensemble of them, by the validation rows, and the test rows are
measured once: all methods of a seed on the same rows. Bagging and boosting train the best configuration again.
Of the larger data sets most rows are test rows, so that a hundred trainings take minutes and a test means something.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median, stdev
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from trainer import predictions
from trainer.config import TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.ensemble import retrain, select
from trainer.ensemble.candidates import Candidates
from trainer.ensemble.combine import Weighted
from trainer.progress import Monitor

METHODS = ("average", "greedy", "stacking", "bagging", "boosting")


@dataclass(frozen=True)
class DataSet:
    """Where the rows are and how they are shared out; `metric` is accuracy or rmse."""

    name: str
    metric: str
    data: dict[str, Any]
    model: str = "mlp"
    epochs: int = 8

    @property
    def direction(self) -> str:
        return "maximize" if self.metric == "accuracy" else "minimize"

    def gain(self, ensemble: float, alone: float) -> float:
        """How much better: percentage points of accuracy, or per cent of the error."""
        return 100 * (ensemble - alone) if self.metric == "accuracy" else 100 * (alone - ensemble) / alone


DATA_SETS = (
    DataSet(
        "adult",
        "accuracy",
        {
            "source": "file:tabular/adult_train.csv",
            "target": "income",
            "missing_values": ["?"],
            "split": {"validation": 0.1, "test": 0.8},
        },
    ),
    DataSet(
        "german credit",
        "accuracy",
        {"source": "file:tabular/german_credit.csv", "target": "class", "split": {"validation": 0.25, "test": 0.4}},
        epochs=15,
    ),
    DataSet(
        "fashion mnist",
        "accuracy",
        {
            "source": "file:image/fashion_mnist/train-images-idx3-ubyte.gz",
            "split": {"validation": 0.05, "test": 0.87},
        },
    ),
    DataSet(
        "sms spam",
        "accuracy",
        {
            "source": "file:text/sms_spam.tsv",
            "target": "label",
            "text": "text",
            "quoting": "none",
            "split": {"validation": 0.2, "test": 0.5},
        },
        model="embedding_bag",
    ),
    DataSet(
        "wine quality",
        "rmse",
        {
            "source": "file:tabular/wine_quality.csv",
            "target": "quality",
            "task": "regression",
            "split": {"validation": 0.2, "test": 0.4},
        },
    ),
    DataSet(
        "california housing",
        "rmse",
        {
            "source": "file:tabular/california_housing.csv",
            "target": "median_house_value",
            "split": {"validation": 0.15, "test": 0.6},
        },
    ),
)


@dataclass(frozen=True)
class Outcome:
    """One method on one split: test metrics of it and of the best trial, and its cost."""

    data_set: str
    seed: int
    method: str
    alone: float
    ensemble: float
    gain: float
    members: int
    seconds: float


def search(of: DataSet, prepared: Prepared, trials: int, seed: int) -> tuple[Candidates, TrainConfig]:
    """A random search; the candidates are in the order of the objective, the best first, with its configuration."""
    rng = np.random.default_rng([seed, trials])
    monitor = _monitor(of)
    done = []
    for number in range(trials):
        config = _draw(of, seed, number, rng)
        member = retrain.Workshop(config, prepared, monitor, lambda: None).train(prepared.train, config.seed)
        said = predictions.of_training(member.model, prepared)
        value = Candidates.of({number: said}).judge(Weighted(weights=(1.0,)), [0])[f"val/{of.metric}"]
        done.append((value, number, said, config))
    done.sort(key=lambda each: (each[0] if of.direction == "minimize" else -each[0], each[1]))
    return Candidates.of({number: said for _, number, said, _ in done}), done[0][3]


def outcomes(of: DataSet, seed: int, trials: int, rounds: int, folder: Path) -> Iterator[Outcome]:
    """What every method comes to on one split."""
    config = _draw(of, seed, 0, np.random.default_rng(0))
    prepared = prepare(config.data, device=torch.device("cpu"), data_folders=[folder])
    candidates, best = search(of, prepared, trials, seed)
    name = f"test/{of.metric}"
    alone = candidates.judge(Weighted(weights=(1.0,)), [0])[name]
    shop = retrain.Workshop(best, prepared, _monitor(of), lambda: None)
    for method in METHODS:
        began = time.perf_counter()
        value, members = _build(method, candidates, shop, of, rounds)
        seconds = time.perf_counter() - began
        yield Outcome(of.name, seed, method, alone, value, of.gain(value, alone), members, seconds)


def _build(method: str, candidates: Candidates, shop: retrain.Workshop, of: DataSet, rounds: int) -> tuple[float, int]:
    """The test metric of a method's ensemble, and how many models it has."""
    choose: dict[str, Callable[[], select.Chosen]] = {
        "average": lambda: select.average(candidates.validation),
        "greedy": lambda: select.greedy(candidates.validation, f"val/{of.metric}", rounds=30, seed=0),
        "stacking": lambda: select.stack(candidates.validation, seed=0),
    }
    name = f"test/{of.metric}"
    if method in choose:
        chosen = choose[method]()
        return candidates.judge(chosen.combination, chosen.members)[name], len(chosen.members)
    members, combination = (retrain.bag if method == "bagging" else retrain.boost)(shop, rounds, 0)
    own = {place: predictions.of_training(member.model, shop.prepared) for place, member in enumerate(members)}
    return Candidates.of(own).judge(combination, range(len(members)))[name], len(members)


def _draw(of: DataSet, seed: int, number: int, rng: np.random.Generator) -> TrainConfig:
    widths = [[32], [64], [128, 64], [64, 32]]
    return TrainConfig.model_validate(
        {
            "data": {**of.data, "split": {**of.data["split"], "seed": seed}},
            "model": {"name": of.model, "hidden": widths[rng.integers(len(widths))]},
            "optimizer": {"lr": float(10 ** rng.uniform(-3, -2)), "weight_decay": float(10 ** rng.uniform(-5, -1))},
            "regularization": {"dropout": float(rng.uniform(0, 0.5))},
            "epochs": of.epochs,
            "batch_size": 64,
            "seed": number,
        }
    )


def _monitor(of: DataSet) -> Monitor:
    return Monitor(f"val/{of.metric}", "maximize" if of.metric == "accuracy" else "minimize")


def report(found: list[Outcome], console: Console) -> dict[str, Any]:
    """A table of medians over the seeds, and what they amount to."""
    table = Table("data set", "best trial", *METHODS, box=None, header_style="bold")
    medians: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(each.data_set for each in found):
        rows = [each for each in found if each.data_set == name]
        alone = median(each.alone for each in rows if each.method == METHODS[0])
        medians[name] = {method: median(_gains(rows, method)) for method in METHODS}
        table.add_row(name, f"{alone:.4g}", *(_cell(_gains(rows, method)) for method in METHODS))
    console.print(
        "gain on test rows over the best trial (points of accuracy, per cent of rmse): median ± standard error"
    )
    console.print(table)
    return {
        "gain": medians,
        "wins": {method: sum(of[method] > 0 for of in medians.values()) for method in METHODS},
        "worst_of_stacking": min(_gains(found, "stacking")),
    }


def _gains(found: list[Outcome], method: str) -> list[float]:
    return [each.gain for each in found if each.method == method]


def _cell(gains: list[float]) -> str:
    error = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return f"{median(gains):+.2f} ± {error:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two small data sets, two seeds, six trials")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=4, help="trainings of bagging and boosting")
    arguments = parser.parse_args()
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if not folder:
        print("TRIALYARD_DATA_DIR is not set; name the folder with the data sets", file=sys.stderr)
        return 2
    chosen = [of for of in DATA_SETS if not arguments.quick or of.name in ("german credit", "wine quality")]
    seeds, trials = (2, 6) if arguments.quick else (arguments.seeds, arguments.trials)
    console = Console(stderr=True, width=140)
    found: list[Outcome] = []
    for of in chosen:
        for seed in range(seeds):
            found += outcomes(of, seed, trials, 3 if arguments.quick else arguments.rounds, Path(folder))
            console.print(f"{of.name}, seed {seed}: " + ", ".join(f"{o.method} {o.gain:+.2f}" for o in found[-5:]))
    summary = report(found, console)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
    print(json.dumps({**summary, "machine": machine, "outcomes": [vars(each) for each in found]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
