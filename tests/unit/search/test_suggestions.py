from __future__ import annotations

import pytest

from search.suggestions import closest, nearest

BUDGET = ["trials", "parallel", "timeout", "retries"]
KNOBS = ["optimizer.lr", "optimizer.name", "model.name", "model.depth", "regularization.dropout", "batch_size"]


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("trails", BUDGET, "trials"),
        ("Timeout", BUDGET, "timeout"),
        ("AdamW", ["adam", "adamw"], "adamw"),  # not the shorter one, which has as many letters in common
        ("one-cycle", ["one_cycle", "cosine"], "one_cycle"),
        ("n_trials", BUDGET, "trials"),
        ("max_evals", BUDGET, "trials"),
        ("n_jobs", BUDGET, "parallel"),
        ("choices", ["values", "low", "high"], "values"),
        ("lr", KNOBS, "optimizer.lr"),
        ("learning_rate", KNOBS, "optimizer.lr"),
        ("optimizer.learning_rate", KNOBS, "optimizer.lr"),
        ("model.dropout", KNOBS, "regularization.dropout"),  # the same leaf tells more than the same section
        ("trial.optimizer.lr", KNOBS, "optimizer.lr"),
        ("modle.name", KNOBS, "model.name"),  # of several with this leaf the likest
        ("name", KNOBS, "optimizer.name"),
        ("none", ["constant", "cosine"], "constant"),
        ("none", ["none", "constant"], "none"),
        ("sort", ["limit", "cursor", "state"], None),
        ("bayes", ["tpe", "cmaes", "gp"], "tpe"),
    ],
)
def test_a_name_is_told_what_it_may_have_been_meant_to_be(name: str, known: list[str], meant: str | None):
    assert closest(name, known) == meant


def test_without_one_that_is_near_few_are_listed_and_many_are_not():
    assert nearest("xyz", BUDGET) == "known here: trials, parallel, timeout, retries"
    assert nearest("xyz", [f"name{number}" for number in range(50)]) == ""


def test_names_elsewhere_are_suggested_and_not_listed():
    elsewhere = ["budget.trials", "budget.parallel"]

    assert nearest("n_trials", ["trial", "name"], elsewhere) == "did you mean 'budget.trials'?"
    assert nearest("nam", ["trial", "name"], elsewhere) == "did you mean 'name'?"
    assert nearest("xyz", ["trial", "name"], elsewhere) == "known here: trial, name"
