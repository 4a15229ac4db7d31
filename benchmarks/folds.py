"""What do five folds cost beside five trainings on as many rows? They read the source once, and train as much as five.

    TRIALYARD_DATA_DIR=… python -m benchmarks.folds [--quick]

Processor time, medians of several by turns: one training on four fifths of the rows, and the five folds of one trial,
each with what preparing the rows takes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.transfer import InMemory, Quiet
from trainer.config import TrainConfig
from trainer.data.prepare import prepare_for
from trainer.fit import Monitor, fit

DATA: dict[str, dict[str, Any]] = {
    "german credit": {"source": "file:tabular/german_credit.csv", "target": "class", "task": "classification"},
    "adult": {"source": "file:tabular/adult_train.csv", "target": "income", "missing_values": ["?"]},
    "california housing": {"source": "file:tabular/california_housing.csv", "target": "median_house_value"},
}
EPOCHS = {"german credit": 10, "adult": 1, "california housing": 2}
FOLDS = 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of the smallest")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if not folder:
        print("TRIALYARD_DATA_DIR is not set; name the folder with tabular/", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    names, rounds = (["german credit"], 1) if options.quick else (list(DATA), options.rounds)
    rows: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in names}
    for name in names:
        _run(name, Path(folder), folds=None)  # what is imported with the first one
        for _ in range(rounds):
            one = _run(name, Path(folder), folds=None)
            five = _run(name, Path(folder), folds=FOLDS)
            rows[name].append((*one, *five))
            print(name, rows[name][-1], file=sys.stderr, flush=True)
    found = {name: [statistics.median(column) for column in zip(*each, strict=True)] for name, each in rows.items()}
    table = Table("data", "one: preparing", "training", "five folds: preparing", "training", "of 5 x one", box=None)
    for name, seconds in found.items():
        table.add_row(name, *(f"{value:.2f} s" for value in seconds), f"{_share(seconds):.2f}")
    Console(stderr=True, width=120).print(table)
    shares = {name: _share(seconds) for name, seconds in found.items()}
    print(json.dumps({"benchmark": "folds", "of_five_times_one": shares, "seconds": found}))
    return 0


def _share(seconds: list[float]) -> float:
    return sum(seconds[2:]) / (FOLDS * sum(seconds[:2]))


def _run(name: str, folder: Path, folds: int | None) -> tuple[float, float]:
    """Seconds of processor time for preparing the rows, and for the training."""
    data = {**DATA[name], "split": {"validation": 1 / FOLDS, "test": 0.0}}
    told: dict[str, Any] = {"data": data, "epochs": EPOCHS[name], "checkpoint": {"every_seconds": 1e9}}
    config = TrainConfig.model_validate(told | ({"cross_validation": {"folds": folds}} if folds else {}))
    began = time.process_time()
    prepared = prepare_for(config, device=torch.device("cpu"), data_folders=[folder])
    until = time.process_time()
    fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Quiet(), folder=InMemory())
    return until - began, time.process_time() - until


if __name__ == "__main__":
    sys.exit(main())
