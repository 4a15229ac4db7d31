"""Is a mix of regularizers better than dropout alone, and than nothing? The space of examples/cocktail.yaml (Kadra et
al. 2021) beside a plain perceptron and one with dropout alone, each searched with as many trainings.

    TRIALYARD_DATA_DIR=… python -m benchmarks.cocktail [--quick] [--seeds 3] [--trials 8] [--width 128] [--fall 15]
        [--log FILE]

All rows of German credit, and some 4,000 of Adult and of Fashion-MNIST to train and validate on, whose other rows
test; the seed divides them anew. Losses are weighted by class on all sides. A search takes the training that is best on
the validation rows, and its balanced accuracy on the test rows counts; of the plain perceptron only the seed differs
between trainings. The paper's networks are 512 wide (`--width 512`: nine times as long), its searches some hundred
trainings long. A run with a log can be cut off: begun again, it goes on after the last search in the log.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.transfer import InMemory, Quiet
from search.definition import Definition, parse
from search.optuna_study import OptunaStudy
from store.models import TrialState
from trainer.config import TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.errors import Diverged
from trainer.fit import Monitor, fit
from trialyard.study_file import from_yaml

STUDY = Path(__file__).parents[1] / "examples" / "cocktail.yaml"
METRIC = "balanced_accuracy"
SIDES = ("plain", "dropout", "cocktail")
LAYERS, FALLS = 9, 7  # three falls of the rate, each twice as long as the one before: seven times the first
DROPOUT = ("regularization.dropout", "regularization.dropout_shape")
DATA_SETS: dict[str, dict[str, Any]] = {
    "German credit": {
        "source": "file:tabular/german_credit.csv",
        "target": "class",
        "split": {"validation": 0.2, "test": 0.2},
    },
    "Adult": {
        "source": "file:tabular/adult_train.csv",
        "target": "income",
        "missing_values": ["?"],
        "split": {"validation": 0.03, "test": 0.875},
    },
    "Fashion-MNIST": {
        "source": "file:image/fashion_mnist/train-images-idx3-ubyte.gz",
        "split": {"validation": 0.017, "test": 0.933},
    },
}


@dataclass(frozen=True)
class Outcome:
    """What a search on one division of the rows came to: balanced accuracies of the training that it chose."""

    data_set: str
    side: str
    seed: int
    validation: float
    test: float
    diverged: int
    seconds: float  # of the processor


def sides(parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters that each side searches."""
    searched = {"seed": {"low": 0, "high": 1_000_000}}, {name: parameters[name] for name in DROPOUT}, parameters
    return dict(zip(SIDES, searched, strict=True))


def document(data_set: str, searched: dict[str, Any], seed: int, width: int, fall: int) -> dict[str, Any]:
    example = from_yaml(STUDY.read_text())
    trial = example["trial"]
    cocktail = searched == example["parameters"]
    kept = {key: trial["data"][key] for key in ("normalize", "impute", "class_weight")}
    split = {**DATA_SETS[data_set]["split"], "stratify": True, "seed": seed}
    augment = {"augment": trial["data"]["augment"]} if cocktail else {}
    return {
        "name": "cocktail",
        "objective": example["objective"],
        "parameters": searched,
        "sampler": {"name": "auto", "seed": seed},
        "pruner": {"name": "none"},
        "budget": {"trials": 1000},
        "trial": {
            **trial,
            "data": {**DATA_SETS[data_set], **kept, **augment, "split": split},
            "model": {**trial["model"], "hidden": [width] * LAYERS},
            "schedule": {**trial["schedule"], "restart_epochs": fall},
            "checkpoint": {"every_seconds": 1e9},
            "epochs": FALLS * fall,
        },
    }


def search(prepared: Prepared, definition: Definition, trials: int, origin: tuple[str, str, int]) -> Outcome:
    """One side on one division of the rows."""
    study = OptunaStudy(definition)
    best, diverged, began = {f"val/{METRIC}": -1.0}, 0, time.process_time()
    for number in range(trials):
        config = TrainConfig.model_validate(definition.resolve(study.propose().parameters))
        monitor = Monitor(f"val/{METRIC}", "maximize")
        try:
            fitted = fit(config, prepared, monitor=monitor, reporter=Quiet(), folder=InMemory())
        except Diverged:
            diverged += 1
            study.finish(number, TrialState.FAILED)
            continue
        study.finish(number, TrialState.COMPLETE, [fitted.metrics[f"val/{METRIC}"]])
        best = max(best, fitted.metrics, key=lambda metrics: metrics[f"val/{METRIC}"])
    if diverged == trials:
        raise SystemExit(f"{origin}: all trainings diverged")
    seconds = time.process_time() - began
    return Outcome(*origin, best[f"val/{METRIC}"], best[f"test/{METRIC}"], diverged, seconds)


def outcomes(
    data_set: str, folder: Path, seed: int, options: argparse.Namespace, known: list[Outcome]
) -> Iterator[Outcome]:
    """All sides on the same division of the rows, but for those that are known."""
    prepared: Prepared | None = None
    for side, searched in sides(from_yaml(STUDY.read_text())["parameters"]).items():
        if earlier := [each for each in known if (each.data_set, each.side, each.seed) == (data_set, side, seed)]:
            yield earlier[0]
            continue
        definition = parse(document(data_set, searched, seed, options.width, options.fall))
        if prepared is None:
            data = TrainConfig.model_validate(definition.trial).data
            prepared = prepare(
                data, device=torch.device("cpu"), data_folders=[folder], as_images="image" in data.source
            )
        found = search(prepared, definition, options.trials, (data_set, side, seed))
        if options.log:
            with options.log.open("a") as log:
                log.write(json.dumps(_size(options) | asdict(found)) + "\n")
        yield found


def logged(options: argparse.Namespace) -> list[Outcome]:
    """What an earlier run of this size came to."""
    if not options.log or not options.log.exists():
        return []
    lines = [json.loads(line) for line in options.log.read_text().splitlines()]
    size = _size(options)
    return [
        Outcome(**{name: figure for name, figure in line.items() if name not in size})
        for line in lines
        if size.items() <= line.items()
    ]


def _size(options: argparse.Namespace) -> dict[str, int]:
    return {"trials": options.trials, "width": options.width, "epochs": FALLS * options.fall}


def report(found: list[Outcome], console: Console) -> dict[str, Any]:
    """A table of means over the seeds, with the standard errors of the paired differences."""
    table = Table("data set", "seeds", "plain", "dropout", "cocktail", "over plain", "over dropout", box=None)
    summary = {}
    for name in dict.fromkeys(each.data_set for each in found):
        tests = {side: [each.test for each in found if (each.data_set, each.side) == (name, side)] for side in SIDES}
        means = {side: fmean(each) for side, each in tests.items()}
        gains = {other: _gains(tests["cocktail"], tests[other]) for other in ("plain", "dropout")}
        summary[name] = {"means": means, "gains": gains}
        cells = [f"{mean:.4f}" for mean in means.values()] + [_cell(each) for each in gains.values()]
        table.add_row(name, str(len(tests["plain"])), *cells)
    console.print(table)
    return summary


def _gains(ours: list[float], theirs: list[float]) -> list[float]:
    """In points."""
    return [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]


def _cell(gains: list[float]) -> str:
    error = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return f"{fmean(gains):+.2f} ± {error:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="German credit alone, two seeds, two trainings")
    parser.add_argument("--only", choices=DATA_SETS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--log", type=Path, help="a file that outcomes are added to, and not measured again from")
    parser.add_argument("--fall", type=int, default=15, help="epochs of the first of three falls of the learning rate")
    options = parser.parse_args()
    if options.quick:
        options.only, options.seeds, options.trials, options.fall = ["German credit"], 2, 2, 1
    folder = os.environ.get("TRIALYARD_DATA_DIR")
    if not folder:
        print("TRIALYARD_DATA_DIR is not set; name the folder with the data sets", file=sys.stderr)
        return 2
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    known, found = logged(options), list[Outcome]()
    for seed in range(options.seeds):
        for name in options.only or DATA_SETS:
            for outcome in outcomes(name, Path(folder), seed, options, known):
                print(outcome, file=sys.stderr, flush=True)
                found.append(outcome)
    summary = report(found, Console(width=140))
    each = [asdict(outcome) for outcome in found]
    print(
        json.dumps({"benchmark": "cocktail", **_size(options), "load": os.getloadavg()[2], **summary, "outcomes": each})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
