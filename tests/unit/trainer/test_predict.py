"""What a trained model answers to rows as people send them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.config import CrossValidation, Data, Split, TrainConfig
from trainer.data.prepare import prepare_for
from trainer.data.prepared import Prepared
from trainer.ensemble.combine import Weighted
from trainer.ensemble.ensemble_file import Ensemble
from trainer.errors import DataError
from trainer.fit import Monitor, fit
from trainer.model_file import Predictor, load
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


def trained(
    source: str, folder: Path, *, min_category_rows: int = 1, folds: CrossValidation | None = None
) -> Predictor:
    data = Data(source=source, target="y", split=Split(test=0), min_category_rows=min_category_rows)
    config, kept = TrainConfig(data=data, epochs=1, cross_validation=folds), MemoryFolder()
    prepared = prepare_for(config, device=CPU, data_folders=[folder])
    fit(config, prepared, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=kept)
    return load(kept)


def values(model: Model, table: pd.DataFrame) -> list[float]:
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return [each["value"] for each in answer(model, rows)["predictions"]]


def test_models_that_know_other_categories_each_read_the_values_as_they_are(
    write_csv: Callable[..., str], tmp_path: Path
) -> None:
    # Of the first one all jobs are too rare to be told apart; the second one knows them.
    jobs, y = ["clerk", "cook", "pilot"] * 20, np.random.default_rng(0).normal(size=60)
    source = write_csv(job=jobs, age=[*range(60)], y=(y + 3 * np.tile(range(3), 20)).tolist())
    members = [trained(source, tmp_path, min_category_rows=rows) for rows in (50, 1)]
    both, table = Ensemble(members, Weighted(weights=(0.5, 0.5))), pd.DataFrame({"job": jobs[:3], "age": [1, 2, 3]})

    assert values(both, table) == pytest.approx(both.scores(table).tolist())
    assert answer(both, [{"job": "pilot", "age": 1}])["notes"] == []


def test_folds_that_learned_from_other_columns_are_each_given_theirs(
    write_csv: Callable[..., str], tmp_path: Path
) -> None:
    # The first 30 rows have each a town of its own, which nobody can learn from; the later ones share three.
    rows = 120
    town = [f"town {row if row < 30 else row % 3}" for row in range(rows)]
    y = np.random.default_rng(0).normal(size=rows).tolist()
    source = write_csv(town=town, age=[*range(rows)], y=y)
    model = trained(source, tmp_path, folds=CrossValidation(folds=3, time_ordered=True))
    table = pd.DataFrame({"town": ["town 1", "town 2"], "age": [1, 2]})
    assert [member.schema.columns for member in model.members][::2] == [["age"], ["age", "town"]]

    assert values(model, table) == pytest.approx(model.scores(table).tolist())
    with pytest.raises(WrongRows, match="the column town is missing"):
        answer(model, [{"age": 1}])
    with pytest.raises(DataError, match="column town is missing"):
        model.scores(table[["age"]])
