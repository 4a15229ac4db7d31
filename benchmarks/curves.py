"""Trainings that were measured once and are looked up, in the tables of the folder that TRIALYARD_DATA_DIR names.

A problem answers parameters with a training: its value after each epoch, and how far its end is from the best.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIVERGED = 1e3  # what a loss that is not finite, or greater, counts as
ADAM = ("learning_rate", "beta1", "beta2", "epsilon", "l1", "l2", "linear_decay", "exponential_decay")


class Trained(Protocol):
    """What one trial goes through. `score`: of its end, 0 or more, smaller is better; whatever the metric."""

    @property
    def values(self) -> Sequence[float]:
        """After each epoch."""

    @property
    def score(self) -> float: ...


@dataclass(frozen=True)
class Training:
    """One that is known to its end."""

    values: Sequence[float]
    score: float


class Problem(Protocol):
    """Something to search. `epochs`: of a whole training."""

    name: str
    parameters: Mapping[str, Any]  # as in a study file
    direction: Literal["minimize", "maximize"]
    epochs: int
    scores_the_mean: bool  # of what a configuration comes to, of which a search sees one training

    def train(self, parameters: Mapping[str, Any], seed: int) -> Trained:
        """The training of one configuration; the seed is that of what is random in it."""


class TaskSet:
    """A text RNN under Adam's eight hyperparameters (TaskSet, Metz et al. 2020): 1,000 trained configurations.

    Answers with the nearest of them, or with the losses of the nearest `neighbours`, averaged as logs with weights of
    distance^-4: the former gives whoever proposes near an old point the same curve again. The score is the rank of the
    final loss among the finite ones, from 1.
    """

    direction: Literal["minimize", "maximize"] = "minimize"
    scores_the_mean = False

    def __init__(self, path: Path, neighbours: int) -> None:
        rows = json.loads(gzip.decompress(path.read_bytes()))
        self.name = f"{path.name.removeprefix('taskset_').split('.')[0]} {'smooth' if neighbours > 1 else 'nearest'}"
        self._neighbours = neighbours
        losses = np.array([row["valid"]["loss"] for row in rows], dtype=float)  # (configurations, epochs)
        self._finals = sorted(losses[np.isfinite(losses[:, -1]), -1])
        self._logs = np.log(np.where(losses < DIVERGED, losses, DIVERGED))
        points = np.array([[_adam_scale(name, row["hp"][name]) for name in ADAM] for row in rows])
        self._mean, self._sd = points.mean(axis=0), points.std(axis=0)
        self._sd[self._sd == 0] = 1
        self._points = (points - self._mean) / self._sd
        self.parameters: Mapping[str, Any] = {
            name: {"low": float(column.min()), "high": float(column.max())}
            for name, column in zip(ADAM, points.T, strict=True)
        }
        self.epochs = losses.shape[1]

    def train(self, parameters: Mapping[str, Any], seed: int) -> Training:  # noqa: ARG002 - nothing is random in it
        point = (np.array([parameters[name] for name in ADAM]) - self._mean) / self._sd
        distance = ((self._points - point) ** 2).sum(axis=1)
        near = np.argpartition(distance, self._neighbours)[: self._neighbours]
        weights = 1 / np.maximum(distance[near], 1e-12) ** 2
        values = np.exp(weights @ self._logs[near] / weights.sum())
        return Training(values.tolist(), 1 + bisect_left(self._finals, values[-1]))


class EcNas:
    """Cells for CIFAR-10 trained for four epochs (EC-NAS, Bakh et al. 2024): edges and operations as choices.

    Answers with the nearest trained cell, or with the mean accuracy of the nearest ones by distance. Epochs that were
    not recorded lie on the line between those that were. The score is what is missing to the best cell in the mean of
    the trainings, though the search sees one of them (as in NAS-Bench-101, Ying et al. 2019, section 2.4); or, as seen,
    what this one misses to the best one there is. They part where the luckiest training is of another cell.
    """

    direction: Literal["minimize", "maximize"] = "maximize"
    epochs = 4

    def __init__(self, path: Path, space: str, neighbours: int, as_seen: bool = False) -> None:
        self.name = f"{space} {'smooth' if neighbours > 1 else 'nearest'}{', as seen' if as_seen else ''}"
        vertices = int(space[0])
        self._vertices, self._neighbours, self._as_seen = vertices, neighbours, as_seen
        self.scores_the_mean = neighbours == 1 and not as_seen
        cells = _cells(path, space, vertices)
        self._codes = np.array(list(cells), dtype=float)  # (cells, edges + 3 * inner vertices)
        self._repeats = list(cells.values())
        self._means = np.array([np.mean(repeats, axis=0) for repeats in self._repeats])  # (cells, epochs)
        ends = [curve[-1] for repeats in self._repeats for curve in repeats] if as_seen else self._means[:, -1]
        self._best = float(max(ends))
        edges = {f"edge{place}": {"values": [0, 1]} for place in range(vertices * (vertices - 1) // 2)}
        self.parameters: Mapping[str, Any] = edges | {
            f"op{place}": {"values": [0, 1, 2]} for place in range(vertices - 2)
        }

    def train(self, parameters: Mapping[str, Any], seed: int) -> Training:
        edges = [parameters[f"edge{place}"] for place in range(self._vertices * (self._vertices - 1) // 2)]
        ops = [parameters[f"op{place}"] for place in range(self._vertices - 2)]
        distance = np.abs(self._codes - _code(edges, ops)).sum(axis=1)
        if self._neighbours == 1:
            nearest = int(np.argmin(distance))
            repeats = self._repeats[nearest]
            values = repeats[seed % len(repeats)]
            return Training(values, self._best - float(values[-1] if self._as_seen else self._means[nearest, -1]))
        near = np.argsort(distance, kind="stable")[: self._neighbours]
        weights = 1 / (distance[near] + 0.1) ** 2
        values = weights @ self._means[near] / weights.sum()
        return Training(values.tolist(), self._best - float(values[-1]))


class Macro:
    """NAS-Bench-Macro (Su et al. 2021): eight layers of three kinds, all 6,561; one value, one epoch, no curve.

    A training is one of three seeds; the score is the rank of the mean over them, from 1, or, as seen, that of the
    training among all.
    """

    direction: Literal["minimize", "maximize"] = "maximize"
    epochs = 1
    parameters: Mapping[str, Any] = {f"layer{place}": {"values": [0, 1, 2]} for place in range(8)}

    def __init__(self, path: Path, as_seen: bool = False) -> None:
        self.name = "macro, as seen" if as_seen else "macro"
        self._networks = json.loads(path.read_bytes())
        self._as_seen, self.scores_the_mean = as_seen, not as_seen
        told = (network["test_acc"] if as_seen else [network["mean_acc"]] for network in self._networks.values())
        self._losses = sorted(-accuracy for each in told for accuracy in each)

    def train(self, parameters: Mapping[str, Any], seed: int) -> Training:
        network = self._networks["".join(str(parameters[f"layer{place}"]) for place in range(8))]
        accuracy = network["test_acc"][seed % len(network["test_acc"])]
        told = accuracy if self._as_seen else network["mean_acc"]
        return Training([accuracy], 1 + bisect_left(self._losses, -told))


def tables(folder: Path) -> Iterator[Problem]:
    """Every table of the folder's `hpo`."""
    for path in sorted((folder / "hpo").glob("taskset_*.json.gz")):
        yield from (TaskSet(path, neighbours) for neighbours in (1, 8))
    cells = folder / "hpo" / "ecnas_cifar10_4epochs.csv.gz"
    if cells.exists():
        for space in ("4V9E", "5V9E"):
            yield from (EcNas(cells, space, 1), EcNas(cells, space, 1, as_seen=True), EcNas(cells, space, 8))
    if (macro := folder / "hpo" / "nas_bench_macro_cifar10.json").exists():
        yield from (Macro(macro), Macro(macro, as_seen=True))


def _adam_scale(name: str, value: float) -> float:
    return math.log10(1 - value) if name.startswith("beta") else math.log10(value)


def _code(edges: Sequence[int], ops: Sequence[int]) -> Floats:
    """Edges as 0 and 1, operations one-hot by halves: another operation is as far as another edge."""
    return np.array([*map(float, edges), *(0.5 * (op == kind) for op in ops for kind in range(3))])


def _cells(path: Path, space: str, vertices: int) -> dict[tuple[float, ...], list[list[float]]]:
    """The whole cells of a space, by code: a curve of each repeat."""
    curves: dict[tuple[tuple[float, ...], str], dict[int, float]] = defaultdict(dict)
    with gzip.open(path, "rt") as file:
        for row in csv.DictReader(file):
            if row["space"] == space and int(row["n_vertices"]) == vertices:
                matrix = [int(bit) for bit in row["adjacency"]]
                edges = [matrix[a * vertices + b] for a in range(vertices) for b in range(a + 1, vertices)]
                code = tuple(_code(edges, [int(op) for op in row["ops"].split()]))
                curves[code, row["repeat"]][int(row["epoch"])] = float(row["validation_accuracy"])
    cells: dict[tuple[float, ...], list[list[float]]] = defaultdict(list)
    for (code, _), curve in curves.items():
        known = sorted(curve)
        cells[code].append(np.interp([1, 2, 3, 4], known, [curve[epoch] for epoch in known]).tolist())
    return dict(cells)
