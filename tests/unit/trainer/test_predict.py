"""What a trained model answers to rows as people send them."""

from __future__ import annotations

import pytest

from tests.unit.trainer.conftest import MemoryFolder, Recorder
from trainer.config import Data, TrainConfig
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.model_file import load
from trainer.predict import Model, WrongRows, answer

FLOWER = {"sepal length (cm)": 5.0, "sepal width (cm)": 3.4, "petal length (cm)": 1.5, "petal width (cm)": 0.2}


@pytest.fixture
def model(iris: Prepared) -> Model:
    config, folder = TrainConfig(data=Data(source="sklearn:iris"), epochs=1), MemoryFolder()
    fit(config, iris, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=folder)
    return load(folder)


def test_a_row_has_its_class_with_all_probabilities(model: Model) -> None:
    [said] = answer(model, [FLOWER])["predictions"]

    assert sum(said["probabilities"]) == pytest.approx(1)
    assert said["probability"] == max(said["probabilities"])


@pytest.mark.parametrize("number", [1e308, -1e300, 3e38])
def test_a_row_that_leads_beyond_all_numbers_is_refused_by_its_place(model: Model, number: float) -> None:
    with pytest.raises(WrongRows) as caught:
        answer(model, [FLOWER, FLOWER | {"petal width (cm)": number}, FLOWER])

    [problem] = caught.value.problems
    assert problem.path == "rows[1]"
    assert "comes to no answer" in problem.message
