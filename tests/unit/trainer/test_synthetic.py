"""Sources that are made up: as they are told to be, and learnable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search.definition import parse
from store.errors import DefinitionError
from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.config import Data, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.synthetic import generate
from trainer.fit import Monitor, fit
from trainer.generators import Classification, Generator, Regression, Shapes, Spirals, Texts


def trained(source: str, monitor: Monitor, **sections: Any) -> dict[str, float]:
    data = {"source": source, "split": {"test": 0}} | sections.pop("data", {})
    config = TrainConfig.model_validate({"data": data, "optimizer": {"lr": 0.01}, "batch_size": 64} | sections)
    prepared = prepare(config.data, device=CPU, data_folders=(), as_images=config.takes_images)
    return fit(config, prepared, monitor=monitor, reporter=Recorder(), folder=MemoryFolder()).metrics


@pytest.mark.parametrize("kind", [Classification, Regression, Spirals, Shapes, Texts])
def test_the_seed_decides_the_rows(kind: type[Generator]) -> None:
    def rows(seed: int) -> Any:
        found = generate(kind(rows=40, seed=seed))
        return found.to_numpy() if hasattr(found, "to_numpy") else found.pixels

    assert len(rows(1)) == 40
    assert np.array_equal(rows(1), rows(1))
    assert not np.array_equal(rows(1), rows(2))


def test_a_spiral_is_learned_by_a_perceptron_and_by_no_straight_line() -> None:
    accuracy, source = Monitor("val/accuracy", "maximize"), "synthetic:spirals?rows=600"

    assert trained(source, accuracy, model={"hidden": [64, 64]}, epochs=30)["val/accuracy"] > 0.95
    assert trained(source, accuracy, model={"hidden": []}, epochs=30)["val/accuracy"] < 0.8


def test_a_sum_of_columns_is_learned_up_to_its_noise() -> None:
    source = "synthetic:regression?rows=800&columns=6&informative=3&noise=2.5"
    metrics = trained(source, Monitor("val/rmse", "minimize"), model={"hidden": []}, epochs=40, optimizer={"lr": 0.05})

    assert metrics["val/rmse"] == pytest.approx(2.5, rel=0.2)  # the noise is all that is left


def test_shapes_are_images_that_convolutions_tell_apart() -> None:
    accuracy = Monitor("val/accuracy", "maximize")
    model = {"name": "cnn", "depth": 3, "width": 8, "norm": "batch"}

    assert trained("synthetic:shapes?rows=800", accuracy, model=model, epochs=8)["val/accuracy"] > 0.9


def test_texts_are_told_apart_by_the_words_that_a_class_prefers() -> None:
    metrics = trained("synthetic:texts?classes=3&rows=600", Monitor("val/accuracy", "maximize"), epochs=10,
                      data={"text": "text"}, model={"name": "embedding_bag", "hidden": []})  # fmt: skip

    assert metrics["val/accuracy"] > 0.95


def test_half_of_the_labels_drawn_at_random_bound_the_accuracy() -> None:
    source = "synthetic:classification?rows=2000&columns=4&informative=4&noise=0.5"
    metrics = trained(source, Monitor("val/accuracy", "maximize"), model={"hidden": [16]}, epochs=5)

    # Of two classes, half of the rows are right by themselves and half of the others by chance: 0.75 at the most
    assert 0.6 < metrics["val/accuracy"] < 0.81


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("synthetic:spiral", "synthetic:spiral is not there; did you mean 'spirals'?"),
        ("synthetic:shapes?sise=9", "synthetic:shapes has no option 'sise'; did you mean 'size'?"),
        ("synthetic:shapes?size=4", "synthetic:shapes: size input should be greater than or equal to 8"),
        (
            "synthetic:classification?columns=3",
            "synthetic:classification: 5 informative columns are more than all 3; raise columns",
        ),
    ],
)
def test_a_source_that_cannot_be_made_up_is_refused_with_the_study(source: str, message: str) -> None:
    document = {
        "name": "s",
        "objective": {"metric": "val/loss", "direction": "minimize"},
        "parameters": {"optimizer.lr": {"low": 0.1, "high": 0.2}},
        "budget": {"trials": 1},
        "trial": {"data": {"source": source}},
    }

    with pytest.raises(DefinitionError) as caught:
        parse(document)

    (problem,) = caught.value.problems
    assert str(problem) == f"trial.data.source: {message}"


def test_test_rows_may_be_made_up_with_another_seed() -> None:
    data = Data(source="synthetic:spirals", test_source="synthetic:spirals?seed=1&rows=300")

    test = prepare(data, device=CPU, data_folders=()).test

    assert test is not None
    assert test.rows == 300
