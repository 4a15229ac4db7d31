"""Ensembles that train again, on real trainings, where the data are no longer those of the search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from store.artifacts import Artifacts
from store.messages import AttemptKey
from trainer.errors import TrainerError
from trainer.fit import Monitor, fit
from worker.ensembling import Ensembling
from worker.library import Library
from worker.refitting import Refitting
from worker.rescoring import Following
from worker.tasks import Workplace
from worker.training import Training


def table(target: str) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(120, 3)), columns=list("abc"))
    value = rows.a + 0.1 * rng.normal(size=120)
    return rows.assign(y=np.where(value > 0, "p", "q") if target == "class" else value)


class Shop:
    """A finished trial on a file, and ensembles of it."""

    def __init__(self, folder: Path, target: str) -> None:
        self.file, self.artifacts = folder / "rows.csv", Artifacts(str(folder / "artifacts"))
        self.rows = table(target)
        self.rows.to_csv(self.file, index=False)
        self.trial = {"kind": "train", "data": {"source": "file:rows.csv"}, "model": {"hidden": [4]}, "epochs": 2}
        self.library = Library(self.artifacts, (folder,), folder / "cache")
        self.training = Training(self.artifacts, self.library, "cpu")
        config, prepared, _ = self.training.make_ready(1, self.trial, {})
        fit(
            config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Following(self.place()),
            folder=self.artifacts.attempt(AttemptKey(1, 0, 1)),
        )  # fmt: skip

    def place(self) -> Workplace:
        return Workplace(1, 2, self.artifacts.task(1, 2), self.artifacts, lambda: False, lambda: True)

    def build(self, method: str) -> dict[str, Any]:
        request = {
            "method": method, "rounds": 2, "seed": 0, "members": [{"trial": 0, "attempt": 1}], "metric": "val/loss",
            "direction": "minimize", "trial": self.trial, "origins": {},
        }  # fmt: skip
        return Ensembling(self.library, "cpu", Refitting(self.training)).run(request, self.place())


@pytest.mark.parametrize("target", ["class", "value"])
@pytest.mark.parametrize("method", ["bagging", "boosting", "refit"])
def test_what_is_trained_again_on_the_same_rows_is_held_against_the_trial(
    tmp_path: Path, method: str, target: str
) -> None:
    assert Shop(tmp_path, target).build(method)["best_member"]["trial"] == 0


@pytest.mark.parametrize("target", ["class", "value"])
@pytest.mark.parametrize("method", ["bagging", "boosting", "refit"])
def test_rows_in_another_order_would_judge_what_the_trial_has_learned(tmp_path: Path, method: str, target: str) -> None:
    shop = Shop(tmp_path, target)
    shop.rows.sample(frac=1, random_state=1).to_csv(shop.file, index=False)

    with pytest.raises(TrainerError, match="no longer those that trial 0 was trained on"):
        shop.build(method)
