"""Re-scoring, on real trainings: what is reported, what is left, and that it goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from store.artifacts import Artifacts
from worker.library import Library
from worker.rescoring import Rescoring
from worker.tasks import Returned, Workplace
from worker.training import Training

TRIAL = {
    "kind": "train", "data": {"source": "sklearn:iris"}, "model": {"hidden": [4]}, "epochs": 4, "batch_size": 16,
    "seed": 3, "seeds": 3, "checkpoint": {"every_seconds": 0},
}  # fmt: skip
REQUEST = {"trial": TRIAL, "metric": "val/loss", "direction": "minimize", "origins": {}}


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Workplace]:
    artifacts = Artifacts(str(tmp_path))

    def place(is_wanted: Callable[[], bool] = lambda: True) -> Workplace:
        return Workplace(1, 1, artifacts.task(1, 1), artifacts, should_leave=lambda: False, is_wanted=is_wanted)

    return place


def rescoring(tmp_path: Path) -> Rescoring:
    return Rescoring(
        Training(Artifacts(str(tmp_path)), Library(Artifacts(str(tmp_path)), (), tmp_path / "cache"), "cpu")
    )


def test_the_mean_of_the_seeds_is_what_a_trial_is_worth(tmp_path: Path, place: Callable[..., Workplace]) -> None:
    metrics = rescoring(tmp_path).run(REQUEST, place())["metrics"]

    assert metrics["val/loss"] == pytest.approx(fmean(metrics[f"seed/{seed}/loss"] for seed in (1, 2, 3)))
    assert metrics["val/loss_se"] > 0
    assert "test/loss" in metrics
    assert place().folder.names() == []  # only the figures count


def test_one_that_has_to_go_on_elsewhere_comes_to_the_same(tmp_path: Path, place: Callable[..., Workplace]) -> None:
    whole = rescoring(tmp_path / "other").run(REQUEST, place())
    asked: list[Any] = []

    def wanted_for_two_epochs() -> bool:
        asked.append(None)
        return len(asked) < 2

    with pytest.raises(Returned):
        rescoring(tmp_path).run(REQUEST, place(wanted_for_two_epochs))

    assert place().folder.names() == ["checkpoint-0000001.safetensors", "checkpoint-0000002.safetensors"]
    assert rescoring(tmp_path).run(REQUEST, place()) == whole
