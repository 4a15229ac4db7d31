"""Networks that are trained while the search runs, over wider spaces and by other metrics than those of `live`.

Nothing of `auto` was chosen by these problems: they came when it was done.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks.live import EPOCHS, Curve, Rows

TRAINED = 0.6  # of the rows; the others are validated
IMAGES = 1200
PERCEPTRON = {
    "lr": {"low": 1e-5, "high": 1.0, "log": True},
    "optimizer": {"values": ["adamw", "sgd", "rmsprop"]},
    "momentum": {"low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd", "rmsprop"]}},
    "weight_decay": {"low": 1e-6, "high": 0.3, "log": True},
    "width": {"low": 8, "high": 128, "log": True},
    "layers": {"low": 1, "high": 4},
    "activation": {"values": ["relu", "tanh", "gelu"]},
    "norm": {"values": ["none", "batch", "layer"]},
    "dropout": {"low": 0.0, "high": 0.6},
    "smoothing": {"low": 0.0, "high": 0.3},
    "schedule": {"values": ["constant", "cosine"]},
    "batch_size": {"values": [16, 32, 64, 128, 256]},
}
CONVOLUTIONS = {
    "lr": {"low": 1e-4, "high": 0.3, "log": True},
    "optimizer": {"values": ["adamw", "sgd"]},
    "momentum": {"low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
    "channels": {"low": 4, "high": 16, "log": True},
    "depth": {"low": 1, "high": 3},
    "norm": {"values": ["none", "batch"]},
    "dropout": {"low": 0.0, "high": 0.5},
    "batch_size": {"values": [32, 64, 128]},
}
_ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """How good outputs are. The score is what is missing to `best`."""

    of: Callable[[Tensor, Tensor], float]  # of outputs (rows, outputs) and what is true (rows,)
    direction: Literal["minimize", "maximize"]
    best: float
    worst: float  # what a training counts as whose outputs are not finite, or worse


@dataclass(frozen=True)
class Wide:
    """One data set, one kind of network, one metric."""

    name: str
    read: Callable[[], Rows]
    network: Callable[[Parameters, int, int], nn.Module]
    parameters: Mapping[str, Any]
    metric: Metric
    epochs: int = EPOCHS
    scores_the_mean: bool = False

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        return self.metric.direction

    def train(self, parameters: Parameters, seed: int) -> WideTraining:
        return WideTraining(Curve(_train(self, parameters, seed)), self.metric.best)


@dataclass(frozen=True)
class WideTraining:
    """A training that goes as far as somebody looks at it."""

    values: Curve
    best: float

    @property
    def score(self) -> float:
        return abs(self.values[EPOCHS - 1] - self.best)


def wide(folder: Path) -> Iterator[Wide]:
    """Incomes, credits, prices of houses and pictures of clothes, of the data folder."""
    tabular = folder / "tabular"
    adult = partial(_classes, tabular / "adult_train.csv", "income", 1500)
    yield Wide("new adult auc", cache(adult), _perceptron, PERCEPTRON, Metric(_auc, "maximize", 1.0, 0.0))
    german = partial(_classes, tabular / "german_credit.csv", "class", 1000)
    accuracy = Metric(_accuracy, "maximize", 1.0, 0.0)
    yield Wide("new german accuracy", cache(german), _perceptron, PERCEPTRON, accuracy)
    houses = partial(_prices, tabular / "california_housing.csv", "median_house_value", 1500)
    yield Wide("new california mse", cache(houses), _perceptron, PERCEPTRON, Metric(_mse, "minimize", 0.0, 10.0))
    clothes = partial(_clothes, folder / "image" / "fashion_mnist")
    yield Wide("new fashion accuracy", cache(clothes), _convolutions, CONVOLUTIONS, accuracy)


def _train(problem: Wide, parameters: Parameters, seed: int) -> Iterator[float]:
    """The metric of the validation rows after each epoch."""
    inputs, truth = problem.read()
    cut = int(TRAINED * len(inputs))
    order = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        outputs = int(truth.max()) + 1 if truth.dtype == torch.int64 else 1
        model = problem.network(parameters, inputs.shape[-1], outputs)
    optimizer = _optimizer(model, parameters)
    for epoch in range(EPOCHS):
        if parameters.get("schedule") == "cosine":
            for group in optimizer.param_groups:
                group["lr"] = parameters["lr"] * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(order.integers(2**31)))  # of dropout: trials that are trained by turns stay the same
            model.train()
            for batch in np.array_split(order.permutation(cut), max(1, cut // parameters["batch_size"])):
                loss = _loss(model(inputs[batch]), truth[batch], parameters)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        yield _measured(model, inputs[cut:], truth[cut:], problem.metric)


@torch.no_grad()
def _measured(model: nn.Module, inputs: Tensor, truth: Tensor, metric: Metric) -> float:
    model.eval()
    outputs = model(inputs)
    if not torch.isfinite(outputs).all():
        return metric.worst
    found = metric.of(outputs, truth)
    return max(found, metric.worst) if metric.direction == "maximize" else min(found, metric.worst)


def _loss(outputs: Tensor, truth: Tensor, parameters: Parameters) -> Tensor:
    if truth.dtype == torch.int64:
        return nn.functional.cross_entropy(outputs, truth, label_smoothing=parameters.get("smoothing", 0.0))
    return nn.functional.mse_loss(outputs[:, 0], truth)


def _auc(outputs: Tensor, truth: Tensor) -> float:
    return float(roc_auc_score(truth, outputs[:, 1] - outputs[:, 0]))


def _accuracy(outputs: Tensor, truth: Tensor) -> float:
    return float((outputs.argmax(1) == truth).double().mean())


def _mse(outputs: Tensor, truth: Tensor) -> float:
    return float(nn.functional.mse_loss(outputs[:, 0], truth))


def _optimizer(model: nn.Module, parameters: Parameters) -> torch.optim.Optimizer:
    shared = {"lr": parameters["lr"], "weight_decay": parameters.get("weight_decay", 0.0)}
    match parameters["optimizer"]:
        case "sgd":
            return torch.optim.SGD(model.parameters(), momentum=parameters["momentum"], **shared)
        case "rmsprop":
            return torch.optim.RMSprop(model.parameters(), momentum=parameters["momentum"], **shared)
    return torch.optim.AdamW(model.parameters(), **shared)


def _perceptron(parameters: Parameters, inputs: int, outputs: int) -> nn.Module:
    parts, width = list[nn.Module](), parameters["width"]
    for _ in range(parameters["layers"]):
        parts.append(nn.Linear(inputs, width))
        if parameters["norm"] != "none":
            parts.append((nn.BatchNorm1d if parameters["norm"] == "batch" else nn.LayerNorm)(width))
        parts += [_ACTIVATIONS[parameters["activation"]](), nn.Dropout(parameters["dropout"])]
        inputs = width
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def _convolutions(parameters: Parameters, side: int, outputs: int) -> nn.Module:
    """Each stage halves the sides of the image and doubles the channels."""
    parts, channels = list[nn.Module](), 1
    for depth in range(parameters["depth"]):
        wider = parameters["channels"] * 2**depth
        parts.append(nn.Conv2d(channels, wider, 3, padding=1))
        if parameters["norm"] == "batch":
            parts.append(nn.BatchNorm2d(wider))
        parts += [nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = wider, side // 2
    return nn.Sequential(
        *parts, nn.Flatten(), nn.Dropout(parameters["dropout"]), nn.Linear(channels * side**2, outputs)
    )


def _classes(path: Path, target: str, count: int) -> Rows:
    """The rarer class is 1."""
    inputs, told = _table(path, target, count)
    names, counts = np.unique(told, return_counts=True)
    return inputs, torch.tensor(np.array(told) == names[counts.argmin()], dtype=torch.int64)


def _prices(path: Path, target: str, count: int) -> Rows:
    inputs, told = _table(path, target, count)
    logs = np.log([float(each) for each in told])
    return inputs, torch.tensor((logs - logs.mean()) / logs.std(), dtype=torch.float32)


def _table(path: Path, target: str, count: int) -> tuple[Tensor, list[str]]:
    """(rows, features), numbers scaled and the others one-hot; and the column to learn."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))[:count]]
    columns = [_features([row[name] for row in rows]) for name in rows[0] if name != target]
    return torch.tensor(np.concatenate(columns, axis=1), dtype=torch.float32), [row[target] for row in rows]


def _features(told: list[str]) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(each) if each else np.nan for each in told])
    except ValueError:
        return (np.array(told)[:, None] == sorted(set(told))).astype(np.float64)
    numbers = np.where(np.isnan(numbers), np.nanmedian(numbers), numbers)
    return ((numbers - numbers.mean()) / (numbers.std() + 1e-9))[:, None]


def _clothes(folder: Path) -> Rows:
    """The first of the test images, at half their size."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)[:IMAGES]
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)[:IMAGES]
    images = nn.functional.avg_pool2d(torch.tensor(pixels / 255.0, dtype=torch.float32), 2)
    return (images - images.mean()) / images.std(), torch.tensor(labels, dtype=torch.int64)
