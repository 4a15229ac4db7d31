"""Small networks that are trained while the search runs: no table answers, so that none can mislead.

A trial trains an epoch when it is asked for its value, and keeps its network until it has ended.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn
from typing_extensions import override

EPOCHS = 27
VALIDATED = 0.4  # of the rows: the score is their loss, and few rows would make it noise
WORDS = 512  # features that the words of a text are hashed to

Rows = tuple[Tensor, Tensor]  # (rows, features) float32, (rows,) int64


class Live:
    """A perceptron on one data set; the score is the final loss on the validation rows."""

    direction: Literal["minimize", "maximize"] = "minimize"
    scores_the_mean = False
    epochs = EPOCHS
    parameters: Mapping[str, Any] = {
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "optimizer": {"values": ["adamw", "sgd"]},
        "momentum": {"low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
        "weight_decay": {"low": 1e-6, "high": 0.3, "log": True},
        "width": {"low": 16, "high": 128, "log": True},
        "layers": {"low": 1, "high": 3},
        "dropout": {"low": 0.0, "high": 0.7},
        "batch_size": {"values": [32, 64, 128, 256]},
    }

    def __init__(self, name: str, read: Callable[[], Rows]) -> None:
        self.name = f"live {name}"
        self._read = read

    def train(self, parameters: Mapping[str, Any], seed: int) -> LiveTraining:
        return LiveTraining(_train(*_split(self._read), parameters, seed))


class LiveTraining:
    """A training that goes as far as somebody looks at it."""

    def __init__(self, losses: Iterator[float]) -> None:
        self.values = Curve(losses)

    @property
    def score(self) -> float:
        return self.values[EPOCHS - 1]


class Curve(Sequence[float]):
    def __init__(self, losses: Iterator[float]) -> None:
        self._losses = losses
        self._known: list[float] = []

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[float]: ...
    @override
    def __getitem__(self, place: int | slice) -> float | Sequence[float]:
        last = place if isinstance(place, int) else EPOCHS - 1
        while len(self._known) <= last:
            self._known.append(next(self._losses))
        return self._known[place]

    @override
    def __len__(self) -> int:
        return EPOCHS


def live(folder: Path | None) -> Iterator[Live]:
    """Digits, and with the data folder the grades of wines and spam among short messages."""
    yield Live("digits", _digits)
    if folder is not None:
        yield Live("wine", cache(lambda: _wine(folder / "tabular" / "wine_quality.csv")))
        yield Live("sms", cache(lambda: _sms(folder / "text" / "sms_spam.tsv")))


def _train(train: Rows, validation: Rows, parameters: Mapping[str, Any], seed: int) -> Iterator[float]:
    """The loss on the validation rows after each epoch; that of guessing or worse where it diverges."""
    order = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _network(train, parameters)
    optimizer = _optimizer(model, parameters)
    inputs, labels = train
    worst = float(np.log(int(labels.max()) + 1)) * 10
    for _ in range(EPOCHS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(order.integers(2**31)))  # of dropout: trials that are trained by turns stay the same
            model.train()
            for batch in np.array_split(
                order.permutation(len(inputs)), max(1, len(inputs) // parameters["batch_size"])
            ):
                loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        model.eval()
        with torch.no_grad():
            found = float(nn.functional.cross_entropy(model(validation[0]), validation[1]))
        yield min(found, worst) if np.isfinite(found) else worst


def _network(train: Rows, parameters: Mapping[str, Any]) -> nn.Sequential:
    width, parts = train[0].shape[1], list[nn.Module]()
    for _ in range(parameters["layers"]):
        parts += [nn.Linear(width, parameters["width"]), nn.ReLU(), nn.Dropout(parameters["dropout"])]
        width = parameters["width"]
    return nn.Sequential(*parts, nn.Linear(width, int(train[1].max()) + 1))


def _optimizer(model: nn.Module, parameters: Mapping[str, Any]) -> torch.optim.Optimizer:
    shared = {"lr": parameters["lr"], "weight_decay": parameters["weight_decay"]}
    if parameters["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=parameters["momentum"], **shared)
    return torch.optim.AdamW(model.parameters(), **shared)


@cache
def _split(read: Callable[[], Rows]) -> tuple[Rows, Rows]:
    """Training and validation rows, inputs scaled by the former."""
    inputs, labels = read()
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    cut = round((1 - VALIDATED) * len(labels))
    mean, spread = inputs[order[:cut]].mean(dim=0), inputs[order[:cut]].std(dim=0)
    inputs = (inputs - mean) / torch.where(spread > 0, spread, 1.0)
    return (inputs[order[:cut]], labels[order[:cut]]), (inputs[order[cut:]], labels[order[cut:]])


def _digits() -> Rows:
    inputs, labels = load_digits(return_X_y=True)
    return torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64)


def _wine(path: Path) -> Rows:
    """Grades as classes, the rare ones with their neighbours: 3 to 4, 5, 6, 7, 8 to 9."""
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    numbers = [[float(row["colour"] == "red"), *(float(row[name]) for name in list(row)[1:-1])] for row in rows]
    grades = [min(max(int(row["quality"]), 4), 8) - 4 for row in rows]
    return torch.tensor(numbers[::3]), torch.tensor(grades[::3])


def _sms(path: Path) -> Rows:
    rows = list(csv.DictReader(path.open(encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE))[::3]
    hashed = HashingVectorizer(n_features=WORDS, alternate_sign=False).transform(row["text"] for row in rows).toarray()
    return torch.tensor(hashed, dtype=torch.float32), torch.tensor([int(row["label"] == "spam") for row in rows])
