"""Is a population worth its epochs? Population based training beside random search with as many trials of as many
epochs, at a constant learning rate and with a cosine schedule; the model is the same for all.

    TRIALYARD_DATA_DIR=… python -m benchmarks.population [--quick] [--seeds 3]

All validate on the same rows and test on the same others. The population goes on one slot, by the scheduler's rules.
Epochs that its members copy they need not train, so that it takes fewer than the others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import optuna
import torch

from benchmarks.transfer import InMemory
from search.definition import Definition, parse
from search.optuna_study import OptunaStudy
from search.population import Population
from store.models import TrialState
from trainer.config import TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Decision, Fitted, Membership, Monitor, fit

METRIC = "val/accuracy"
MEMBERS, EPOCHS, INTERVAL = 8, 20, 2
KNOBS = {
    "optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True},
    "optimizer.weight_decay": {"low": 1e-5, "high": 0.3, "log": True},
    "regularization.dropout": {"low": 0.0, "high": 0.6},
    "regularization.label_smoothing": {"low": 0.0, "high": 0.2},
}
TASKS: dict[str, dict[str, Any]] = {
    "digits": {"data": {"source": "sklearn:digits"}, "batch_size": 64},
    "adult": {
        "data": {
            "source": "file:tabular/adult_train.csv",
            "test_source": "file:tabular/adult_test.csv",
            "target": "income",
            "missing_values": ["?"],
        },
        "batch_size": 256,
    },
    "fashion": {
        "data": {
            "source": "file:image/fashion_mnist/train-images-idx3-ubyte.gz",
            "split": {"validation": 0.05, "test": 0.9},
        },
        "batch_size": 64,
    },
}


@dataclass(frozen=True)
class Search:
    """What a search came to: the best trial's accuracies, and the epochs that were trained."""

    validation: float
    test: float
    epochs: int


class Member:
    """Hears what the population decides; a trial of random search is never told to wait."""

    def __init__(self, population: Population | None, number: int) -> None:
        self.epochs = 0
        self._population, self._number = population, number

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Decision:
        self.epochs += 1
        if self._population is None:
            return "continue"
        self._population.report(self._number, epoch, [metrics[METRIC]])
        return "pause" if self._population.is_held(self._number) else "continue"

    def log(self, line: str) -> None:
        """Nobody reads it."""


def random_search(prepared: Prepared, definition: Definition) -> Search:
    study, ended, epochs = OptunaStudy(definition), [], 0
    for number in range(MEMBERS):
        member = Member(None, number)
        config = TrainConfig.model_validate(definition.resolve(study.propose().parameters))
        ended.append(_fit(config, prepared, member, InMemory()))
        study.finish(number, TrialState.COMPLETE, [ended[-1].metrics[METRIC]])
        epochs += member.epochs
    return _best(ended, epochs)


def population(prepared: Prepared, definition: Definition) -> Search:
    study = OptunaStudy(definition)
    if study.population is None:
        raise ValueError("the study's sampler is not pbt")
    slot = OneSlot(prepared, definition, study.population)
    for number in range(MEMBERS):
        slot.enter(number, study.propose().parameters)
        slot.train(number)
    while (number := study.population.next()) is not None:
        slot.go_on(number)
    return _best(slot.ended, slot.epochs)


class OneSlot:
    """Trains the members of a population, each for an interval at a time."""

    def __init__(self, prepared: Prepared, definition: Definition, rules: Population) -> None:
        self.ended: list[Fitted] = []
        self.epochs = 0
        self._prepared, self._definition, self._rules = prepared, definition, rules
        self._parameters: dict[int, dict[str, Any]] = {}
        self._attempts = [0] * MEMBERS
        self._folders: dict[tuple[int, int], InMemory] = {}

    def enter(self, number: int, parameters: dict[str, Any]) -> None:
        self._parameters[number] = parameters
        self._rules.enter(number, parameters)

    def go_on(self, number: int) -> None:
        """Train a member that waited, perhaps from another's checkpoint."""
        if (copy := self._rules.copy_of(number)) is not None:
            self._parameters[number] = copy.after
        self._rules.promote(number)
        self.train(number)

    def train(self, number: int) -> None:
        self._attempts[number] += 1
        attempt, rules = self._attempts[number], self._rules
        rules.began(number, attempt)
        basis, folder, member = rules.copied(number), InMemory(), Member(rules, number)
        self._folders[number, attempt] = folder
        fitted = _fit(
            TrainConfig.model_validate(self._definition.resolve(self._parameters[number])),
            self._prepared,
            member,
            folder,
            resume_from=[self._folders[number, each] for each in range(attempt - 1, rules.since(number), -1)],
            membership=Membership(None if basis is None else self._folders[basis.number, basis.attempt]),
        )
        self.epochs += member.epochs
        if fitted.ending == "paused":
            rules.wait(number)
        else:
            rules.end(number, fitted.metrics[METRIC])
            self.ended.append(fitted)


def _fit(config: TrainConfig, prepared: Prepared, reporter: Member, folder: InMemory, **more: Any) -> Fitted:
    monitor = Monitor(METRIC, "maximize")
    return fit(config, prepared, monitor=monitor, reporter=reporter, folder=folder, **more)


def _best(ended: list[Fitted], epochs: int) -> Search:
    best = max(ended, key=lambda fitted: fitted.metrics[METRIC])
    return Search(best.metrics[METRIC], best.metrics["test/accuracy"], epochs)


def document(task: dict[str, Any], seed: int, evolves: bool, schedule: str) -> dict[str, Any]:
    pbt = {"name": "pbt", "population_size": MEMBERS, "perturbation_interval": INTERVAL, "seed": seed}
    split = {**task["data"].get("split", {}), "seed": seed}
    return {
        "name": "population",
        "objective": {"metric": METRIC, "direction": "maximize"},
        "parameters": KNOBS,
        "sampler": pbt if evolves else {"name": "random", "seed": seed},
        "budget": {"trials": MEMBERS},
        "trial": {
            "data": {**task["data"], "split": split},
            "model": {"name": "mlp", "hidden": [64], "norm": "batch"},
            "schedule": {"name": schedule},
            "checkpoint": {"every_seconds": 1e9},
            "epochs": EPOCHS,
            "batch_size": task["batch_size"],
            "seed": seed,
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="digits, one seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    folders = [Path(os.environ["TRIALYARD_DATA_DIR"])] if "TRIALYARD_DATA_DIR" in os.environ else []
    for name in ["digits"] if options.quick else options.tasks:
        task = TASKS[name]
        found: dict[str, list[Search]] = {"random": [], "random, cosine": [], "pbt": []}
        for seed in range(1 if options.quick else options.seeds):
            for arm, searches in found.items():
                evolves, schedule = arm == "pbt", "cosine" if "cosine" in arm else "constant"
                definition = parse(document(task, seed, evolves, schedule))
                data = TrainConfig.model_validate(definition.trial).data
                prepared = prepare(data, device=torch.device("cpu"), data_folders=folders)
                searches.append((population if evolves else random_search)(prepared, definition))
                print(name, seed, arm, searches[-1], file=sys.stderr, flush=True)
        summary = {arm: _summary(searches) for arm, searches in found.items()}
        print(json.dumps({"benchmark": "population", "task": name} | summary), flush=True)
    return 0


def _summary(searches: list[Search]) -> dict[str, Any]:
    return {
        "validation": round(fmean(each.validation for each in searches), 4),
        "test": round(fmean(each.test for each in searches), 4),
        "each test": [round(each.test, 4) for each in searches],
        "epochs": median(each.epochs for each in searches),
    }


if __name__ == "__main__":
    sys.exit(main())
