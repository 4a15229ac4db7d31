"""What Optuna warns of and is as it should be does not come up in the log, where people take it for trouble.

A warning fails any test here.
"""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from search.definition import parse
from search.pruners import last_step_of, make_pruner
from tests.unit.search.documents import train


def study_with(pruner: dict[str, Any]) -> optuna.Study:
    return optuna.create_study(pruner=make_pruner(parse(train(pruner=pruner))))


@pytest.mark.parametrize("wrapped", [{}, {"wrapped": {"name": "median"}}])
def test_a_patient_pruner_is_made_without_a_word(wrapped: dict[str, Any]) -> None:
    assert isinstance(study_with({"name": "patient", "patience": 2, **wrapped}).pruner, optuna.pruners.PatientPruner)


@pytest.mark.parametrize("steps", [0, 2])
def test_wilcoxon_compares_what_there_is_of_a_best_trial_with_fewer_steps(steps: int) -> None:
    """It stopped early, or is of another study and has no steps at all; Optuna warns at each decision."""
    study = study_with({"name": "wilcoxon", "p_threshold": 0.3})
    best, other = study.ask(), study.ask()
    for step in range(1, steps + 1):
        best.report(0.1, step)
    study.tell(best, 0.1)
    decisions = []
    for step in (1, 2, 3):
        other.report(0.5, step)
        decisions.append(other.should_prune())

    # Two pairs, both worse: p is 1/4. A third step has no pair.
    assert decisions == [False, steps == 2, steps == 2]


def test_the_built_in_training_ends_by_its_epochs_alone() -> None:
    """A pruner may be told of fewer, to know of fewer rungs."""
    assert last_step_of(parse(train(pruner={"name": "hyperband", "max_resource": 2}))) is None
