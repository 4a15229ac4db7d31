"""What does each technique do, on real data? One thing that theory says it should, measured without it and with it.

    python -m benchmarks.techniques [--quick] [--only NAME] [--pictures docs/images/techniques]

scikit-learn's digits, as a table of 64 pixels or as images, and from a folder that TRIALYARD_DATA_DIR names German
credit, where labels cannot be told for sure, California housing and SMS spam; without it those pairs are left out.
Every pair of trainings differs in the technique's knob alone; seeds draw the split, the weights and the order anew, and
are the same on both sides. Given are means with their standard errors, and in how many of the seeds the technique did
what it should. The pictures show each pair epoch by epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.technique_pairs import DIGITS, EXPERIMENTS, Document, Experiment
from trainer.config import Data, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.errors import Diverged
from trainer.progress import Monitor
from trainer.training import Training

SEEDS = 3
LOSS = Monitor("val/loss", "minimize")


@dataclass(frozen=True)
class Measured:
    """What should change, what is told beside it, and the curve of one training."""

    changed: float
    beside: float
    curve: list[float]


def trained(
    seed: int, *documents: Document, after_epoch: Callable[[Training, Prepared], None]
) -> tuple[Training, Prepared]:
    """Train what the documents say together, later ones over earlier ones, to the end or to where it diverges."""
    document = merged({"seed": seed, "data": {"split": {"seed": seed}}}, *documents)
    config = TrainConfig.model_validate(document)
    plain = config.data.model_copy(update={"augment": type(config.data.augment)()})
    prepared = _prepared(plain.model_dump_json(), config.takes_images)
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
def _prepared(data: str, as_images: bool) -> Prepared:
    return prepare(
        Data.model_validate_json(data), device=torch.device("cpu"), data_folders=_folders(), as_images=as_images
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
