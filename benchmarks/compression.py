"""Does a network stay as good, and become faster, when half of it is taken out during its training? On Fashion-MNIST,
over several seeds: the whole network; without units (half of the parameters); a network that was as small from the
start; and with single weights at zero, which changes what is stored, and not the speed.

    TRIALYARD_DATA_DIR=~/data python -m benchmarks.compression [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.transfer import InMemory, Quiet
from trainer.compress import latency, narrowed
from trainer.config import Model, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.model_file import load

CNN = {"name": "cnn", "norm": "batch", "width": 32, "depth": 3, "init": "kaiming_normal"}
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
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, and few rows")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=6_000, help="of the 60,000 images, to train on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = os.environ.get("TRIALYARD_DATA_DIR")
    if not source:
        raise SystemExit("TRIALYARD_DATA_DIR names no folder with image/fashion_mnist")
    rows, seeds = (3_000, 1) if arguments.quick else (arguments.rows, arguments.seeds)
    share = 1 - rows / 60_000  # to validate on, of which 2,000 are; the official ones test
    found: dict[str, list[dict[str, float]]] = {name: [] for name in VARIANTS}
    for seed in range(seeds):
        for name, sections in VARIANTS.items():
            config, prepared = _told(sections, share, seed, Path(source))
            found[name].append(_trained(config, prepared))
            print(name, seed, found[name][-1], file=sys.stderr, flush=True)
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


def _trained(config: TrainConfig, prepared: Prepared) -> dict[str, float]:
    """What is left at the end, the latency measured on the model as it comes out of its file."""
    folder = InMemory()
    fitted = fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Quiet(), folder=folder)
    model = load(folder).members[0].model
    costs = {name: fitted.costs[name] for name in ("params", "nonzero", "bytes")}
    times = [latency(model, prepared.validation.first(64)) for _ in range(5)]
    return {"accuracy": fitted.metrics["test/accuracy"], "latency": statistics.median(times), **costs}


if __name__ == "__main__":
    main()
