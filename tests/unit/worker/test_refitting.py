"""Refits, on real trainings: how long, on which rows, what is measured, and that they go on where they were."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_iris

from store.artifacts import Artifacts
from store.errors import TrialyardError
from store.messages import AttemptKey
from trainer.ensemble import ensemble_file
from trainer.fit import Monitor, fit
from worker.library import Library
from worker.refitting import Refitting
from worker.rescoring import Following
from worker.tasks import Returned, Workplace
from worker.training import Training

TRIAL = {
    "kind": "train", "data": {"source": "sklearn:iris", "split": {"validation": 0.3, "test": 0.2}},
    "model": {"hidden": [4], "norm": "batch"}, "optimizer": {"lr": 0.3}, "epochs": 6, "batch_size": 16, "seed": 3,
    "checkpoint": {"every_seconds": 0}, "schedule": {"name": "cosine"}, "regularization": {"swa": True},
}  # fmt: skip
ROWS = load_iris(as_frame=True).data


class Shop:
    """A finished trial, and a place for its refit."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.artifacts = Artifacts(str(folder))
        self.training = Training(self.artifacts, Library(self.artifacts, (), folder / "cache"), "cpu")
        self.trial = {**TRIAL, **sections}
        key = AttemptKey(1, 7, 1)
        config, prepared, _ = self.training.make_ready(1, self.trial, {})
        self.searched = fit(
            config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Following(self.place()),
            folder=self.artifacts.attempt(key),
        )  # fmt: skip

    def place(self, is_wanted: Callable[[], bool] = lambda: True) -> Workplace:
        return Workplace(1, 2, self.artifacts.task(1, 2), self.artifacts, lambda: False, is_wanted)

    def refit(self, seeds: int = 1, place: Workplace | None = None, attempt: int = 1) -> dict[str, Any]:
        trial = {**self.trial, "early_stopping": None}
        members = [{"trial": 7, "attempt": attempt}]
        request = {"method": "refit", "rounds": seeds, "members": members, "trial": trial, "origins": {}}
        return Refitting(self.training).run(request, place or self.place())


def test_it_is_the_training_up_to_its_best_epoch_by_all_rows_but_the_tests(tmp_path: Path) -> None:
    shop = Shop(tmp_path)

    result = shop.refit()

    assert result["epochs"] == shop.searched.best_epoch
    assert result["rows"] == {"train": 120, "test": 30}
    assert set(result["metrics"]) == {name for name in shop.searched.metrics if name.startswith("test/")}
    assert result["best_member"]["metrics"]["val/loss"] == shop.searched.metrics["val/loss"]
    assert shop.place().folder.names() == ["ensemble.json", "member-000.model.json", "member-000.model.safetensors"]
    assert ensemble_file.load(shop.place().folder).scores(ROWS).shape == (150, 3)


def test_of_a_trial_that_was_best_long_before_its_end_the_rest_is_not_trained(tmp_path: Path) -> None:
    overfits = {"schedule": {"name": "constant"}, "regularization": {}, "optimizer": {"lr": 0.1}, "batch_size": 8}
    shop = Shop(tmp_path, **overfits, model={"hidden": [32]}, epochs=12)
    assert shop.searched.best_epoch < 10 < shop.searched.epochs

    assert shop.refit()["epochs"] == shop.searched.best_epoch


def test_several_seeds_answer_by_their_mean_and_the_first_is_the_one_that_is_alone(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.refit()
    alone = ensemble_file.load(shop.place().folder).scores(ROWS)

    result = shop.refit(seeds=3)

    [together] = ensemble_file.load(shop.place().folder).members
    assert result["members"] == [{"trial": None, "weight": 1 / 3}] * 3
    assert len(together.members) == 3
    first = type(together)(together.members[:1], {"metrics": {}, "best_epoch": 0, "config": shop.trial})
    assert first.scores(ROWS) == pytest.approx(alone)


def test_a_trial_in_folds_becomes_one_model_by_all_of_them(tmp_path: Path) -> None:
    result = Shop(tmp_path, cross_validation={"folds": 3}).refit()

    assert result["members"] == [{"trial": None, "weight": 1.0}]
    assert result["rows"] == {"train": 120, "test": 30}


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_that_has_to_go_on_elsewhere_comes_to_the_same(tmp_path: Path, seeds: int) -> None:
    whole = Shop(tmp_path / "other").refit(seeds)
    shop, asked = Shop(tmp_path), list[None]()

    def wanted_for_two_epochs() -> bool:
        asked.append(None)
        return len(asked) < 2

    with pytest.raises(Returned):
        shop.refit(seeds, shop.place(wanted_for_two_epochs))

    assert any("checkpoint-0000002" in name for name in shop.place().folder.names())
    assert shop.refit(seeds) == whole


def test_smaller_weights_are_measured_on_what_there_is(tmp_path: Path) -> None:
    result = Shop(tmp_path, compression={"name": "units", "share": 0.5, "int8": True}).refit(seeds=2)

    assert "test/loss" in result["metrics"]


def test_without_the_trials_model_its_best_epoch_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(TrialyardError, match="the model of trial 7 is gone, and with it its best epoch"):
        Shop(tmp_path).refit(attempt=9)


def test_texts_and_images_have_no_validation_rows_either(tmp_path: Path) -> None:
    images = {"data": {"source": "sklearn:digits", "split": {"validation": 0.4, "test": 0.4}}, "epochs": 1}
    result = Shop(tmp_path, **images, model={"name": "cnn", "channels": [4]}).refit()

    assert result["rows"] == {"train": 1078, "test": 719}
    assert isinstance(ROWS, pd.DataFrame)
