"""Small data sets, a folder in memory and a reporter that remembers: what the trainer's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from trainer.config import COST_METRICS, Data
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Decision

CPU = torch.device("cpu")


class MemoryFolder(dict[str, bytes]):
    """A folder whose files are a dictionary."""

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


class Killed(BaseException):
    """The process is gone: nothing may catch it."""


class Recorder:
    """Remembers reports and lines, and answers from a plan of decisions by epoch. The costs, which no two trainings
    share, are kept apart.
    """

    def __init__(self, decisions: Mapping[int, Decision] | None = None, killed_at: int | None = None) -> None:
        self.reports: dict[int, dict[str, float]] = {}
        self.costs: dict[int, dict[str, float]] = {}
        self.lines: list[str] = []
        self._decisions = decisions or {}
        self._killed_at = killed_at

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Decision:
        if epoch == self._killed_at:
            raise Killed
        self.reports[epoch] = {name: value for name, value in metrics.items() if name not in COST_METRICS}
        self.costs[epoch] = {name: metrics[name] for name in COST_METRICS if name in metrics}
        return self._decisions.get(epoch, "continue")

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def iris() -> Prepared:
    return prepare(Data(source="sklearn:iris"), device=CPU, data_folders=())


@pytest.fixture(scope="session")
def diabetes() -> Prepared:
    return prepare(Data(source="sklearn:diabetes"), device=CPU, data_folders=())


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., str]:
    """Write columns to a CSV file in `tmp_path`; returns its `file:` source."""

    def write(name: str = "table.csv", /, **columns: list[object]) -> str:
        pd.DataFrame(columns).to_csv(tmp_path / name, index=False)
        return f"file:{name}"

    return write


def people(rows: int, seed: int) -> dict[str, list[object]]:
    """A mixed table with gaps: `income` follows from age and job, `hours` from the same with some noise."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, rows)
    job = rng.choice(["clerk", "cook", "pilot"], rows)
    hours = age / 2 + 8.0 * (job == "pilot") + rng.normal(0, 1, rows)
    gap = rng.random(rows) < 0.1
    return {
        "age": ["?" if gone else int(years) for gone, years in zip(gap, age, strict=True)],
        "job": ["?" if gone else str(name) for gone, name in zip(np.roll(gap, 1), job, strict=True)],
        "member": [bool(flag) for flag in rng.random(rows) < 0.5],
        "hours": [float(value) for value in hours.round(3)],
        "income": ["high" if rich else "low" for rich in hours > 27],
    }
