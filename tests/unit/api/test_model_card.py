"""What a model's card says of how many models it is, and of their rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from api.model_card import ensemble_card, model_card
from store.models import StudyRow, TaskRow, TrialRow

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


def test_a_card_says_of_a_date_when_it_was_and_what_of_the_calendar_is_learned() -> None:
    date = {"name": "at", "kind": "date", "since": "2023-01-01", "until": "2024-05-02"}
    columns = [date | {"cycles": ["time of day", "day of week"], "missing": 3}]

    lines = card({"columns": columns, "excluded": []}, {}, {}).splitlines()

    assert "| `at` | date, 2023-01-01 to 2024-05-02, time of day, day of week | 3 |" in lines


def card(facts: dict[str, Any], sections: dict[str, Any], metrics: dict[str, float]) -> str:
    trial = TrialRow(number=0, parameters={"optimizer.lr": 0.1}, metrics=metrics)
    return model_card(study(facts, sections), trial, None)


def study(facts: dict[str, Any], sections: dict[str, Any]) -> StudyRow:
    definition = {
        "name": "s",
        "objective": {"metric": "val/accuracy", "direction": "maximize"},
        "parameters": {"optimizer.lr": {"low": 0.1, "high": 0.2}},
        "budget": {"trials": 1},
        "trial": {"data": {"source": "sklearn:iris"}, **sections},
    }
    known = {"target": "kind", "classes": ["a", "b"], "rows": ROWS, **facts}
    return StudyRow(name="s", definition=definition, facts=known, created_at=datetime.now(UTC))


def test_the_card_of_a_refit_has_no_validation_figures() -> None:
    best = {"trial": 3, "metrics": {"val/accuracy": 0.91, "test/accuracy": 0.89}}
    members = [{"trial": None, "weight": 0.5}] * 2
    rows = {"train": 1455, "test": 114}
    result = {"metrics": {"test/accuracy": 0.9}, "best_member": best, "members": members, "epochs": 12, "rows": rows}

    card = ensemble_card(study({}, {}), TaskRow(number=9, ordinal=4, request={"method": "refit"}, result=result))

    assert "| metric | test | trial 3 |\n| --- | --- | --- |\n| accuracy | 0.9 | 0.89 |" in card
    assert "0.91" not in card
    assert "for the 12 epochs that were its best. No row validated it" in card
    assert "Trained on 1,455 rows, tested on 114." in card
