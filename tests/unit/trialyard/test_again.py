"""A study file that is run again: what it may say anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.definition import parse
from trialyard.again import larger_budget
from trialyard.errors import BadInput

HOME = Path("/home/me/search")
STUDY: dict[str, Any] = {
    "name": "s",
    "objective": {"metric": "val/loss", "direction": "minimize"},
    "parameters": {"optimizer.lr": {"low": 0.01, "high": 0.1}},
    "budget": {"trials": 10},
    "trial": {"data": {"source": "sklearn:iris"}, "epochs": 30},
}


def again(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What the study is given when it was begun with some sections and is run again with others."""
    stored = parse(parse(STUDY | before).document())
    return larger_budget(stored, STUDY | now, HOME)


def test_a_file_that_is_as_it_was_changes_nothing() -> None:
    assert again({}, {}) == {}
    assert again({"sampler": {"name": "tpe", "seed": 1}}, {"sampler": {"name": "tpe"}}) == {}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        # With twenty trials or more `auto` has a pruner of its own, and more of them may fail; neither was meant.
        ({"trials": 10}, {"trials": 200}, {"trials": 200}),
        ({"trials": 10, "timeout": 60}, {"trials": 10, "timeout": "2m"}, {"timeout": 120}),
        ({"trials": 10, "timeout": 60}, {"trials": 10}, {"timeout": None}),
        ({"trials": 10, "max_failed": 1}, {"trials": 10, "max_failed": 5}, {"max_failed": 5}),
        ({"trials": 10, "parallel": 4}, {"trials": 10, "parallel": 2}, {"parallel": 2}),
        ({"trials": 10, "target": 0.5}, {"trials": 12, "target": 0.1}, {"trials": 12, "target": 0.1}),
    ],
)
def test_a_larger_budget_is_told_by_its_keys(
    before: dict[str, Any], now: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert again({"budget": before}, {"budget": now}) == expected


def texts(**data: str) -> dict[str, Any]:
    return {"trial": {"data": {"source": "file:a.csv", "text": "said", **data}, "model": {"name": "embedding_bag"}}}


def table(**data: Any) -> dict[str, Any]:
    return {"trial": {"data": {"source": "file:a.csv", **data}, "epochs": 30}}


def asha(**pruner: int) -> dict[str, Any]:
    return {"pruner": {"name": "asha", "min_resource": 1, "max_resource": 27, **pruner}}


@pytest.mark.parametrize(
    ("migrated", "now"),
    [
        (texts(words="plain"), texts()),
        (table(find_dates=False), table()),
        (asha(reduction_factor=3), asha()),
    ],
    ids=["words", "dates", "asha"],
)
def test_a_file_that_is_silent_about_what_a_migration_wrote_agrees_with_the_study(
    migrated: dict[str, Any], now: dict[str, Any]
) -> None:
    assert again(migrated, now) == {}
    assert again(migrated, now | {"budget": {"trials": 12}}) == {"trials": 12}


@pytest.mark.parametrize(
    ("before", "now", "where"),
    [
        ({}, {"budget": {"trials": 9}}, "budget.trials"),
        ({}, {"budget": {"trials": 10, "retries": 5}}, "budget.retries"),
        ({}, {"budget": {"trials": 20, "timeout": 60}}, "budget.timeout"),
        ({}, {"parameters": {"optimizer.lr": {"low": 0.01, "high": 0.2}}}, "parameters.optimizer.lr.high"),
        (
            {},
            {"budget": {"trials": 20}, "trial": {"data": {"source": "sklearn:wine"}}},
            "trial.data.source, trial.epochs",
        ),
        (
            {"sampler": {"name": "tpe", "seed": 1}},
            {"budget": {"trials": 20}, "sampler": {"name": "tpe", "seed": 2}},
            "sampler.seed",
        ),
        (texts(words="plain"), texts(words="by_script"), "trial.data.words"),
        (table(find_dates=False), table(find_dates=True), "trial.data.find_dates"),
        (table(find_dates=False), table(dates={"d": "iso"}), "trial.data.dates"),
        (asha(reduction_factor=3), asha(reduction_factor=2), "pruner.reduction_factor"),
        ({}, {"budget": {"trials": 11}, "enqueue": [{"optimizer.lr": 0.05}] * 11}, "enqueue"),
    ],
)
def test_anything_else_is_another_study_and_it_is_said_where(
    before: dict[str, Any], now: dict[str, Any], where: str
) -> None:
    with pytest.raises(BadInput) as refused:
        again(before, now)

    message = "name: /home/me/search holds a study 's' that was made from another definition, by "
    assert str(refused.value).startswith(f"{message}{where}; ")
