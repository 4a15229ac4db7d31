"""Uploaded data sets on a worker: fetched once, checked, and trained on like any file."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from search.definition import parse
from store.artifacts import Artifacts
from store.datasets import described, keep
from trainer.config import Data
from trainer.errors import DataError
from worker.library import Library
from worker.training import Training

ROWS = b"x,level\n" + b"".join(b"%d,%s\n" % (n, b"high" if n >= 20 else b"low") for n in range(40))
SHA256 = hashlib.sha256(ROWS).hexdigest()


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    (tmp_path / "rows.csv").write_bytes(ROWS)
    artifacts = Artifacts(str(tmp_path / "artifacts"))
    keep(
        artifacts, described("mine", ".csv", len(ROWS), SHA256, datetime(2026, 1, 1, tzinfo=UTC)), tmp_path / "rows.csv"
    )
    return artifacts


def test_a_data_set_is_fetched_once_and_lies_by_its_checksum(artifacts: Artifacts, tmp_path: Path) -> None:
    library = Library(artifacts, (), tmp_path / "cache")
    data = Data(source="dataset:mine", test_source="dataset:mine")

    local = library.local(data)
    kept = tmp_path / "cache" / SHA256 / "mine.csv"
    first = kept.stat().st_mtime_ns
    again = Library(artifacts, (), tmp_path / "cache").local(data)

    assert local.source == local.test_source == f"file:{SHA256}/mine.csv"
    assert kept.read_bytes() == ROWS
    assert again == local
    assert kept.stat().st_mtime_ns == first
    assert [file.name for file in kept.parent.iterdir()] == ["mine.csv"]
    assert library.local(Data(source="sklearn:iris")) == Data(source="sklearn:iris")


def test_a_file_that_is_not_what_was_uploaded_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.dataset("mine").write(f"{SHA256}.csv", ROWS[:-1])

    with pytest.raises(DataError, match="cannot be used: its file is not the one that was uploaded"):
        Library(artifacts, (), tmp_path / "cache").local(Data(source="dataset:mine"))
    assert not any((tmp_path / "cache" / SHA256).iterdir())


@pytest.mark.parametrize(
    ("name", "problems"),
    [("mine", []), ("other", ["trial.data.source: there is no data set 'other'"])],
)
def test_a_preflight_reads_the_data_set_or_says_that_there_is_none(
    artifacts: Artifacts, tmp_path: Path, name: str, problems: list[str]
) -> None:
    definition = parse(
        {
            "name": "s",
            "objective": {"metric": "val/loss", "direction": "minimize"},
            "parameters": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
            "budget": {"trials": 1},
            "trial": {"data": {"source": f"dataset:{name}"}, "batch_size": 8},
        }
    )
    training = Training(artifacts, Library(artifacts, (), tmp_path / "cache"), "cpu")

    found, facts = training.preflight(definition, {})

    assert [f"{problem['path']}: {problem['message']}" for problem in found] == problems
    assert problems or facts["rows"] == {"train": 24, "validation": 8, "test": 8}
