"""What a model's card says of how many models it is, and of their rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api.model_card import model_card
from store.models import StudyRow, TrialRow

ROWS = {"train": 1364, "validation": 91, "test": 114}


@pytest.mark.parametrize(
    ("facts", "sections", "sentence"),
    [
        ({}, {}, "Trained on 1,364 rows, chosen on 91, tested on 114."),
        (
            {"folds": 5},
            {"cross_validation": {"folds": 5}},
            "5 models, whose answers are averaged, were each trained on 1,364 rows, chosen on 91, tested on 114.",
        ),
        (
            {},
            {"seeds": 3},
            "3 models, whose answers are averaged, were each trained on 1,364 rows, chosen on 91, tested on 114.",
        ),
    ],
)
def test_a_card_says_how_many_models_there_are(facts: dict[str, Any], sections: dict[str, Any], sentence: str) -> None:
    assert sentence in card(facts, sections, {}).splitlines()


def test_a_card_has_means_of_folds_with_their_standard_errors_beside_the_test_rows() -> None:
    metrics = {
        "val/auc": 0.75,
        "val/auc_se": 0.0125,
        "test/auc": 0.5,
        "fold/1/auc": 0.7,
        "train/loss": 0.1,
        "params": 7,
    }

    lines = card({"folds": 5}, {"cross_validation": {"folds": 5}}, metrics).splitlines()

    start = lines.index("| metric | validation | test |")
    assert lines[start + 2 : start + 4] == ["| auc | 0.7500 ± 0.0125 | 0.5000 |", ""]


def card(facts: dict[str, Any], sections: dict[str, Any], metrics: dict[str, float]) -> str:
    definition = {
        "name": "s",
        "objective": {"metric": "val/accuracy", "direction": "maximize"},
        "parameters": {"optimizer.lr": {"low": 0.1, "high": 0.2}},
        "budget": {"trials": 1},
        "trial": {"data": {"source": "sklearn:iris"}, **sections},
    }
    study = StudyRow(
        name="s",
        definition=definition,
        facts={"target": "kind", "classes": ["a", "b"], "rows": ROWS, **facts},
        created_at=datetime.now(UTC),
    )
    trial = TrialRow(number=0, parameters={"optimizer.lr": 0.1}, metrics=metrics)
    return model_card(study, trial, None)
