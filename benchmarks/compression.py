"""Does a network stay as good, and become faster, when half of it is taken out during its training? On Fashion-MNIST,
over several seeds: the whole network; without units (half of the parameters); a network that was as small from the
start; and with single weights at zero, which changes what is stored, and not the speed. And a perceptron, whose layers
are all linear, with weights of eight bits.

    TRIALYARD_DATA_DIR=~/data python -m benchmarks.compression [--quick] [--seeds 3 4] [--only whole 'without units']

Speed is processor time for a batch of 64 rows, of all variants by turns, so that other work disturbs it little.
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

from benchmarks.transfer import InMemory, Quiet
from trainer.compress import narrowed
from trainer.config import Model, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.model_file import load
from trainer.models.layers import Network

CNN = {"name": "cnn", "norm": "batch", "width": 32, "depth": 3, "init": "kaiming_normal"}
PERCEPTRON = {"name": "mlp", "norm": "batch", "hidden": [512, 256]}
SHARE = 0.3  # of the channels: what is left has 0.7 * 0.7 of the weights of the convolutions
SMALL = narrowed(Model.model_validate(CNN), SHARE).model_dump(mode="json", include={*CNN, "channels"})
VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {"model": CNN, "compression": {"name": "none"}},
    "without units": {
        "model": CNN, "compression": {"name": "units", "share": SHARE, "begin": 0.25, "end": 0.6, "steps": 2},
    },
    "small from the start": {"model": SMALL, "compression": {"name": "none"}},
    "half the weights at zero": {
        "model": CNN, "compression": {"name": "magnitude", "share": 0.5, "begin": 0.25, "end": 0.6, "steps": 2},
    },
    "nine tenths at zero": {
        "model": CNN, "compression": {"name": "magnitude", "share": 0.9, "begin": 0.25, "end": 0.6, "steps": 2},
    },
    "perceptron": {"model": PERCEPTRON, "compression": {"name": "none"}},
    "perceptron in eight bits": {"model": PERCEPTRON, "compression": {"name": "none", "int8": True}},
}  # fmt: skip
ROUNDS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, and few rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--rows", type=int, default=6_000, help="of the 60,000 images, to train on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = os.environ.get("TRIALYARD_DATA_DIR")
    if not source:
        raise SystemExit("TRIALYARD_DATA_DIR names no folder with image/fashion_mnist")
    rows, seeds = (3_000, [0]) if arguments.quick else (arguments.rows, arguments.seeds)
    share = 1 - rows / 60_000  # to validate on, of which 2,000 are; the official ones test
    variants = {name: VARIANTS[name] for name in arguments.only}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    for seed in seeds:
        trained = {}
        for name, sections in variants.items():
            config, prepared = _told(sections, share, seed, Path(source))
            trained[name] = _trained(config, prepared)
            print(name, seed, trained[name][0], file=sys.stderr, flush=True)
        speeds = _speeds({name: model for name, (_, model) in trained.items()}, prepared)
        for name, (figures, _) in trained.items():
            found[name].append({**figures, "latency": speeds[name]})
    print(f"{'':26} {'accuracy':>8} {'params':>8} {'nonzero':>8} {'bytes':>9} {'ms for 64':>9}")
    for name, rows in found.items():
        middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        print(
            f"{name:26} {middle['accuracy']:8.4f} {middle['params']:8.0f} {middle['nonzero']:8.0f}"
            f" {middle['bytes']:9.0f} {middle['latency']:9.2f}"
        )
    print(json.dumps(found))


def _told(sections: dict[str, Any], share: float, seed: int, source: Path) -> tuple[TrainConfig, Prepared]:
    data = {
        "source": "file:image/fashion_mnist/train-images-idx3-ubyte.gz",
        "test_source": "file:image/fashion_mnist/t10k-images-idx3-ubyte.gz",
        "split": {"validation": share, "test": 0.0, "seed": seed},
    }
    told = {"data": data, "epochs": 8, "seed": seed, "optimizer": {"lr": 3e-3}, "schedule": {"name": "cosine"}}
    config = TrainConfig.model_validate({**told, **sections, "checkpoint": {"every_seconds": 1e9}})
    prepared = prepare(config.data, device=torch.device("cpu"), data_folders=[source], as_images=True)
    few = type(prepared.validation)(tuple(x[:2_000] for x in prepared.validation.inputs), prepared.validation.y[:2_000])
    return config, Prepared(**{**vars(prepared), "validation": few})


def _trained(config: TrainConfig, prepared: Prepared) -> tuple[dict[str, float], Network]:
    """What is left at the end, and the model as it comes out of its file."""
    folder = InMemory()
    fitted = fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Quiet(), folder=folder)
    model = load(folder).members[0].model
    costs = {name: fitted.costs[name] for name in ("params", "nonzero", "bytes")}
    return {"accuracy": fitted.metrics["test/accuracy"], **costs}, model


def _speeds(models: dict[str, Network], prepared: Prepared) -> dict[str, float]:
    """Milliseconds of processor time for 64 rows: medians of many, the models by turns."""
    rows = prepared.validation.first(64)
    times: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for name, model in models.items():
                model.eval()
                model(*rows)  # what it needs is then in the cache, as in a row of batches
                began = time.process_time()
                model(*rows)
                times[name].append(1000 * (time.process_time() - began))
    return {name: statistics.median(each) for name, each in times.items()}


if __name__ == "__main__":
    main()
