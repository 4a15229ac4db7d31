"""What does each technique do, on real data? One thing that theory says it should, measured without it and with it.

    python -m benchmarks.techniques [--quick] [--only NAME] [--pictures docs/images/techniques]

scikit-learn's digits, as a table of 64 pixels, and German credit from a folder that TRIALYARD_DATA_DIR names, where
labels cannot be told for sure; without it those pairs are left out. Every pair of trainings differs in the technique's
knob alone; seeds draw the split, the weights and the order anew, and are the same on both sides. Given are means with
their standard errors, and in how many of the seeds the technique did what it should. The pictures show each pair epoch
by epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from trainer.config import TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.errors import Diverged
from trainer.models.layers import Network
from trainer.optim import weights_of
from trainer.progress import Monitor
from trainer.training import Training

SEEDS = 3
LOSS = Monitor("val/loss", "minimize")
Measure = Callable[[Training, Prepared], float]
Document = Mapping[str, Mapping[str, Any] | Any]


def metric(name: str) -> Measure:
    """A metric of the validation part after the last epoch."""
    return lambda training, _: training.metrics[f"val/{name}"]


def best(name: str) -> Measure:
    """A metric of the test part at the best epoch."""
    return lambda training, _: training.restore_best().metrics[f"test/{name}"]


def epochs(training: Training, _: Prepared) -> float:
    return float(training.epoch)


def zeroed(training: Training, _: Prepared) -> float:
    """The share of the first layer's weights that are as good as 0."""
    return (weights_of(training.model)[0].abs() < 1e-3).float().mean().item()


def attacked(training: Training, prepared: Prepared) -> float:
    """The accuracy on test rows whose every number was moved by 0.2 deviations to where the loss rises."""
    assert prepared.test is not None
    model: Network = training.model.eval()
    numbers, categories = prepared.test.inputs
    asked = numbers.clone().requires_grad_()
    loss = functional.cross_entropy(model(asked, categories), prepared.test.y)
    slope: Tensor = torch.autograd.grad(loss, asked)[0].sign()
    outputs = model(numbers + 0.2 * slope, categories)
    return (outputs.argmax(1) == prepared.test.y).float().mean().item()


@dataclass(frozen=True)
class Experiment:
    """A technique's knobs, on top of a training, and what should come of them."""

    knobs: Document
    measure: Measure
    what: str
    should: str  # rise or fall
    base: Document = field(default_factory=dict)
    without: Document = field(default_factory=dict)
    beside: Measure = field(default_factory=lambda: best("accuracy"))
    curve: Measure = field(default_factory=lambda: metric("loss"))  # after each epoch, for the picture
    axis: str = "validation loss"


@dataclass(frozen=True)
class Measured:
    """What should change, what is told beside it, and the curve of one training."""

    changed: float
    beside: float
    curve: list[float]


DIGITS: Document = {"data": {"source": "sklearn:digits"}, "model": {"hidden": [64]}, "epochs": 20, "batch_size": 32}
FEW: Document = {"data": {"split": {"validation": 0.3, "test": 0.5}}}  # 359 rows to train on
CREDIT: Document = {
    "data": {"source": "file:tabular/german_credit.csv"}, "epochs": 20, "optimizer": {"lr": 0.01}, "batch_size": 32,
}  # fmt: skip
HOUSES: Document = {
    "data": {"source": "file:tabular/california_housing.csv", "target": "median_house_value"},
    "epochs": 15, "optimizer": {"lr": 2e-3}, "batch_size": 256,
}  # fmt: skip
DEEP: Document = {"model": {"hidden": [64] * 20, "norm": "batch"}, "epochs": 8}

EXPERIMENTS: dict[str, Experiment] = {
    "l1": Experiment(
        {"regularization": {"l1": 1e-3}}, zeroed, "first-layer weights at 0", "rise", curve=zeroed,
        axis="first-layer weights at 0",
    ),
    "weight decay": Experiment(
        {"optimizer": {"weight_decay": 1.0}}, best("loss"), "test loss", "fall",
        base={**FEW, "model": {"hidden": [256]}, "epochs": 60, "optimizer": {"lr": 3e-3}},
    ),
    "early stopping": Experiment(
        {"early_stopping": {"metric": "val/loss", "patience": 10}}, epochs, "epochs", "fall",
        base={"epochs": 100, "optimizer": {"lr": 3e-3}},
    ),
    "label smoothing": Experiment(
        {"regularization": {"label_smoothing": 0.2}}, metric("ece"), "calibration error", "fall",
        base=CREDIT, beside=metric("accuracy"), curve=metric("ece"), axis="calibration error",
    ),
    "dropout": Experiment(
        {"regularization": {"dropout": 0.5}}, best("accuracy"), "test accuracy", "rise",
        base={**FEW, "model": {"hidden": [256]}, "epochs": 60, "optimizer": {"lr": 3e-3}}, beside=best("loss"),
        curve=metric("accuracy"), axis="validation accuracy",
    ),
    "mixup": Experiment(
        {"data": {"augment": {"mixup": 0.4}}}, best("accuracy"), "test accuracy", "rise",
        base={**FEW, "model": {"hidden": [256]}, "epochs": 60, "optimizer": {"lr": 3e-3}}, beside=best("loss"),
        curve=metric("accuracy"), axis="validation accuracy",
    ),
    "fgsm": Experiment(
        {"data": {"augment": {"fgsm": 0.2}}}, attacked, "accuracy on attacked rows", "rise", curve=attacked,
        axis="accuracy on attacked rows",
    ),
    "swa": Experiment(
        {"regularization": {"swa": True, "swa_start": 0.5}}, metric("loss"), "last validation loss", "fall",
        base=CREDIT, beside=metric("accuracy"),
    ),
    "ema": Experiment(
        {"regularization": {"ema": 0.99}}, metric("loss"), "last validation loss", "fall",
        base=CREDIT, beside=metric("accuracy"),
    ),
    "snapshots": Experiment(
        {"regularization": {"snapshots": 4}}, metric("loss"), "last validation loss", "fall",
        base={**CREDIT, "schedule": {"name": "cosine_restarts", "restart_epochs": 5}},
        beside=metric("accuracy"),
    ),
    "lookahead": Experiment(
        {"optimizer": {"lookahead_steps": 5, "lookahead_size": 0.5}}, metric("loss"), "last validation loss", "fall",
        base={"optimizer": {"lr": 0.01}}, beside=metric("accuracy"),
    ),
    "gradient clipping": Experiment(
        {"regularization": {"max_grad_norm": 1.0}}, metric("loss"), "last validation loss", "fall",
        base={"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9}, "epochs": 10}, beside=metric("accuracy"),
    ),
    "warm-up": Experiment(
        {"schedule": {"warmup_epochs": 2.0}}, metric("loss"), "last validation loss", "fall",
        base={"model": {"hidden": [64] * 6}, "optimizer": {"lr": 0.02}, "schedule": {"name": "cosine"}, "epochs": 10},
        beside=metric("accuracy"),
    ),
    "skip connections": Experiment(
        {"model": {"skip": "standard"}}, metric("loss"), "last validation loss", "fall", base=DEEP,
        beside=metric("accuracy"),
    ),
    "stochastic depth": Experiment(
        {"regularization": {"stochastic_depth": 0.2}}, metric("loss"), "last validation loss", "fall",
        base={**FEW, "model": {"hidden": [128] * 9, "skip": "standard", "norm": "batch"}, "epochs": 60},
        beside=metric("accuracy"),
    ),
    "numbers as vectors": Experiment(
        {"model": {"numbers": "periodic", "frequency_scale": 1.0}}, best("rmse"), "test error, dollars", "fall",
        base=HOUSES, beside=best("mae"), curve=metric("rmse"), axis="validation error, dollars",
    ),
}  # fmt: skip


def trained(
    seed: int, *documents: Document, after_epoch: Callable[[Training, Prepared], None]
) -> tuple[Training, Prepared]:
    """Train what the documents say together, later ones over earlier ones, to the end or to where it diverges."""
    document = merged({"seed": seed, "data": {"split": {"seed": seed}}}, *documents)
    config = TrainConfig.model_validate(document)
    prepared = _prepared(config.data.model_copy(update={"augment": type(config.data.augment)()}).model_dump_json())
    training = Training(config, prepared, LOSS)
    while not training.over:
        training.run_epoch()
        after_epoch(training, prepared)
    return training, prepared


def merged(*documents: Document) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for document in documents:
        for key, value in document.items():
            both = isinstance(value, Mapping) and isinstance(whole.get(key), Mapping)
            whole[key] = merged(whole[key], value) if both else value
    return whole


@cache
def _prepared(data: str) -> Prepared:
    document = json.loads(data)
    return prepare(
        TrainConfig.model_validate({"data": document}).data, device=torch.device("cpu"), data_folders=_folders()
    )


def _folders() -> list[Path]:
    return [Path(folder) for folder in (os.environ.get("TRIALYARD_DATA_DIR"),) if folder]


def measured(experiment: Experiment, seed: int, knobs: Document) -> Measured:
    """What a training comes to; of one that diverges the loss is that of guessing."""
    curve: list[float] = []

    def follow(training: Training, prepared: Prepared) -> None:
        curve.append(experiment.curve(training, prepared))

    try:
        training, prepared = trained(seed, DIGITS, experiment.base, knobs, after_epoch=follow)
    except Diverged:
        return Measured(10.0, 0.1, curve)
    return Measured(experiment.measure(training, prepared), experiment.beside(training, prepared), curve)


def compare(experiment: Experiment, seeds: int) -> tuple[dict[str, Any], list[tuple[Measured, Measured]]]:
    """The figures, and the pairs without and with the technique that they come from."""
    pairs = [
        (measured(experiment, seed, experiment.without), measured(experiment, seed, experiment.knobs))
        for seed in range(seeds)
    ]
    sign = 1 if experiment.should == "rise" else -1
    figures = {
        "what": experiment.what,
        "should": experiment.should,
        "without": _mean([off.changed for off, _ in pairs]),
        "with": _mean([on.changed for _, on in pairs]),
        "held": sum(sign * (on.changed - off.changed) > 0 for off, on in pairs),
        "seeds": seeds,
        "beside": [_mean([off.beside for off, _ in pairs]), _mean([on.beside for _, on in pairs])],
    }
    return figures, pairs


def draw(name: str, axis: str, pairs: Sequence[tuple[Measured, Measured]], folder: Path) -> None:
    """A picture of the pairs, epoch by epoch: each seed's curve, and their mean as far as all of them come."""
    from matplotlib import pyplot  # of the extra `bench`, and needed for nothing else here

    pyplot.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9}
    figure, axes = pyplot.subplots(figsize=(4.6, 2.6), layout="constrained")
    for label, colour, curves in (
        ("without", "#8a94a6", [off.curve for off, _ in pairs]),
        ("with", "#2457d6", [on.curve for _, on in pairs]),
    ):
        for curve in curves:
            axes.plot(range(1, len(curve) + 1), curve, color=colour, linewidth=0.7, alpha=0.45)
        means = [statistics.fmean(values) for values in zip(*curves, strict=False)]
        axes.plot(range(1, len(means) + 1), means, color=colour, linewidth=2, label=label)
    axes.set(xlabel="epoch", ylabel=axis)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e9ef", linewidth=0.7)
    axes.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name.replace(' ', '-')}.svg", metadata={"Date": None})
    pyplot.close(figure)


def _mean(values: list[float]) -> tuple[float, float]:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return round(statistics.fmean(values), 4), round(error, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed: a smoke run")
    parser.add_argument("--only", choices=EXPERIMENTS, action="append")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw each pair epoch by epoch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("technique", "", "without", "with", "as it should", "beside", box=None)
    figures = {}
    there = [
        name
        for name, each in EXPERIMENTS.items()
        if _folders() or not each.base.get("data", {}).get("source", "").startswith("file:")
    ]
    for name in arguments.only or there:
        found, pairs = compare(EXPERIMENTS[name], 1 if arguments.quick else SEEDS)
        figures[name] = found
        if arguments.pictures:
            draw(name, EXPERIMENTS[name].axis, pairs, arguments.pictures)
        off, on = ("{:.4g} ± {:.2g}".format(*found[side]) for side in ("without", "with"))
        beside = " → ".join(f"{value:.4g} ± {error:.2g}" for value, error in found["beside"])
        table.add_row(name, found["what"], off, on, f"{found['held']} of {found['seeds']}", beside)
    Console(width=140).print(table)
    machine = {"cores": os.cpu_count(), "machine": platform.machine(), "torch": torch.__version__}
    print(json.dumps({"benchmark": "techniques", **machine, "techniques": figures}))


if __name__ == "__main__":
    main()
