"""Does it pay to begin a trial with the weights of the nearest finished one? The same random architectures and learning
rates twice, from nothing and with `transfer.inherit: nearest`, one trial after another; digits as images by a cnn whose
depth, widths and cells are searched, and 3,000 rows of Fashion-MNIST by a perceptron searched layer by layer.

    TRIALYARD_DATA_DIR=… python -m benchmarks.heritage [--quick] [--seeds 5] [--trials 16] [--only fashion]

All searches validate on the same rows and test on the same others; a trial is trained for as many epochs either way. A
third one, `longer`, spends the same epochs otherwise: three quarters of the trials from nothing, and the last quarter's
epochs on the best of these, trained anew for as many as that.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import optuna
import torch

from benchmarks.transfer import InMemory, Quiet
from search.definition import Definition, parse
from search.heritage import Heritage as Choice
from search.optuna_study import OptunaStudy
from store.models import TrialState
from trainer.config import TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.heritage import read

AT_LEAST = [{"model.depth": {"at_least": depth}} for depth in (2, 3)]
CELLS = {"values": ["conv", "residual", "inverted", "squeeze"]}
WIDTHS = {"values": [32, 64, 128]}
LR = {"low": 1e-3, "high": 1e-2, "log": True}


@dataclass(frozen=True)
class Task:
    name: str
    epochs: int
    parameters: dict[str, Any]
    trial: dict[str, Any]


TASKS = (
    Task(
        "digits",
        3,
        {
            "model.depth": {"low": 1, "high": 3},
            "model.width": {"values": [8, 16, 32]},
            "model.cells.0": CELLS,
            "model.cells.1": {**CELLS, "when": AT_LEAST[0]},
            "model.cells.2": {**CELLS, "when": AT_LEAST[1]},
            "optimizer.lr": LR,
        },
        {"data": {"source": "sklearn:digits"}, "model": {"name": "cnn", "norm": "batch"}},
    ),
    Task(
        "fashion",
        3,
        {
            "model.depth": {"low": 1, "high": 3},
            "model.hidden.0": WIDTHS,
            "model.hidden.1": {**WIDTHS, "when": AT_LEAST[0]},
            "model.hidden.2": {**WIDTHS, "when": AT_LEAST[1]},
            "optimizer.lr": LR,
        },
        {
            "data": {
                "source": "file:image/fashion_mnist/train-images-idx3-ubyte.gz",
                "split": {"validation": 0.05, "test": 0.9},
            },
            "model": {"name": "mlp", "norm": "batch"},
        },
    ),
)


@dataclass(frozen=True)
class Search:
    """What one search came to: accuracies by trial, the chosen one's on the test rows, and what was tried."""

    accuracies: list[float]
    test: float
    parameters: list[dict[str, Any]]


def longer(prepared: Prepared, definition: Definition, plain: Search, seed: int) -> Search:
    """What the best of the first three quarters of a search comes to in the epochs of the last quarter."""
    first = 3 * len(plain.accuracies) // 4
    tried = plain.accuracies[:first]
    parameters = plain.parameters[tried.index(max(tried))]
    told = definition.resolve(parameters)
    epochs = told["epochs"] * (len(plain.accuracies) - first)
    fitted = fit(
        TrainConfig.model_validate(told | {"seed": seed, "epochs": epochs}),
        prepared,
        monitor=Monitor("val/accuracy", "maximize"),
        reporter=Quiet(),
        folder=InMemory(),
    )
    return Search([*tried, fitted.metrics["val/accuracy"]], fitted.metrics["test/accuracy"], [])


def run(prepared: Prepared, definition: Definition, trials: int, seed: int) -> Search:
    study, choice = OptunaStudy(definition), Choice(1, definition)
    folders: dict[int, InMemory] = {}
    accuracies: list[float] = []
    tests: list[float] = []
    tried: list[dict[str, Any]] = []
    for number in range(trials):
        parameters = study.propose().parameters
        parent = choice.choose(parameters)
        folders[number] = InMemory()
        fitted = fit(
            TrainConfig.model_validate(definition.resolve(parameters) | {"seed": seed}),
            prepared,
            monitor=Monitor("val/accuracy", "maximize"),
            reporter=Quiet(),
            heritage=None if parent is None else read(f"trial {parent}", folders[parent]),
            folder=folders[number],
        )
        choice.leaves(number, 1, parameters)
        study.finish(number, TrialState.COMPLETE, [fitted.metrics["val/accuracy"]])
        accuracies.append(fitted.metrics["val/accuracy"])
        tests.append(fitted.metrics["test/accuracy"])
        tried.append(parameters)
    return Search(accuracies, tests[accuracies.index(max(accuracies))], tried)


def document(task: Task, seed: int, inherit: str) -> dict[str, Any]:
    split = {**task.trial["data"].get("split", {}), "seed": seed}
    return {
        "name": f"heritage-{task.name}",
        "objective": {"metric": "val/accuracy", "direction": "maximize"},
        "parameters": task.parameters,
        "sampler": {"name": "random", "seed": seed},
        "budget": {"trials": 1000},
        "trial": {
            **task.trial,
            "data": {**task.trial["data"], "split": split},
            "transfer": {"inherit": inherit},
            "checkpoint": {"every_seconds": 1e9},
            "epochs": task.epochs,
            "batch_size": 64,
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seeds, four trials")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--only", choices=[task.name for task in TASKS])
    options = parser.parse_args()
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if not folder:
        print("TRIALYARD_DATA_DIR is not set; name the folder with image/fashion_mnist", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds, trials = (2, 4) if options.quick else (options.seeds, options.trials)
    tasks = [task for task in TASKS if options.only in (None, task.name)]
    found: dict[str, dict[str, list[Search]]] = {task.name: {"none": [], "nearest": [], "longer": []} for task in tasks}
    for task in tasks:
        for seed in range(seeds):
            definitions = {inherit: parse(document(task, seed, inherit)) for inherit in ("none", "nearest")}
            config = TrainConfig.model_validate(definitions["none"].trial)
            cpu = torch.device("cpu")
            prepared = prepare(config.data, device=cpu, data_folders=[Path(folder)], as_images=config.takes_images)
            for inherit, definition in definitions.items():
                found[task.name][inherit].append(run(prepared, definition, trials, seed))
            plain = found[task.name]["none"][-1]
            found[task.name]["longer"].append(longer(prepared, definitions["none"], plain, seed))
            print(task.name, seed, *(_line(each[-1]) for each in found[task.name].values()), sep="  ", file=sys.stderr)
    summary = {name: _summary(of, trials) for name, of in found.items()}
    print(json.dumps(summary, indent=1), file=sys.stderr)
    runs = {name: {key: [vars(each) for each in runs] for key, runs in of.items()} for name, of in found.items()}
    print(json.dumps({"benchmark": "heritage", **summary, "runs": runs}))
    return 0


def _line(search: Search) -> str:
    best, mean = max(search.accuracies), fmean(search.accuracies)
    return f"best {best:.4f} mean {mean:.4f} test {search.test:.4f}"


def _summary(found: dict[str, list[Search]], trials: int) -> dict[str, Any]:
    """Gains in points of accuracy, over the seeds: median, and standard error."""
    plain, half = found["none"], trials // 2

    def gain(of: str, value: Callable[[Search], float]) -> tuple[float, float]:
        gains = [100 * (value(b) - value(a)) for a, b in zip(plain, found[of], strict=True)]
        return round(median(gains), 2), round(stdev(gains) / len(gains) ** 0.5, 2)

    return {
        "mean of all trials": gain("nearest", lambda each: fmean(each.accuracies)),
        "mean of the second half": gain("nearest", lambda each: fmean(each.accuracies[half:])),
        "best on the validation rows": gain("nearest", _best),
        "test of that one": gain("nearest", lambda each: each.test),
        "longer, best on the validation rows": gain("longer", lambda each: each.accuracies[-1]),
        "longer, test of that one": gain("longer", lambda each: each.test),
    }


def _best(search: Search) -> float:
    return max(search.accuracies)


if __name__ == "__main__":
    sys.exit(main())
