"""What a study's trials have used of its budget."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from search.allowance import Allowance
from search.definition import parse
from store.models import TrialState
from tests.unit.search.documents import train

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("resources", "devices"), [({}, 1), ({"gpus": 1}, 1), ({"gpus": 4}, 4), ({"processes": 2}, 1)])
def test_an_attempt_uses_its_time_on_each_of_its_gpus(resources: dict[str, Any], devices: int) -> None:
    allowance = Allowance(parse(train(resources=resources)), NOON, Counter(), optuna=None)  # type: ignore[arg-type]
    allowance.recall_used(1800)
    for number in (0, 1):
        allowance.attempt_began(number, NOON)

    assert allowance.attempt_ended(0, NOON + timedelta(minutes=15)) == 900 * devices
    assert allowance.attempt_ended(0, NOON + timedelta(minutes=20)) == 0  # it is counted once
    assert allowance.attempt_ended(1, NOON - timedelta(minutes=1)) == 0  # a clock that was set back gives nothing back
    allowance.attempt_began(1, NOON)
    assert allowance.device_hours(NOON + timedelta(minutes=30)) == 0.5 + 0.25 * devices + 0.5 * devices


def allowance_of(**budget: Any) -> Allowance:
    objective = {"metric": "val/accuracy", "direction": "maximize"}
    definition = parse(train(objective=objective, budget={"trials": 9, "parallel": 1, **budget}))
    return Allowance(definition, NOON, Counter(), optuna=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("value", "reached"), [(0.9, False), (0.95, True), (0.96, True)])
def test_the_target_is_reached_by_who_comes_just_to_it(value: float, reached: bool) -> None:
    allowance = allowance_of(target=0.95)
    allowance.ended(TrialState.COMPLETE, [value], NOON)

    assert (allowance.spent(NOON) == "budget.target was reached") is reached


def test_patience_counts_trials_that_end_after_the_best_one_did_and_not_at_the_same_moment() -> None:
    """Of those that end in one batch nobody knows which was first."""
    allowance, later = allowance_of(patience_trials=2), NOON + timedelta(minutes=1)
    allowance.ended(TrialState.COMPLETE, [0.9], NOON)
    allowance.ended(TrialState.PRUNED, None, NOON)
    allowance.ended(TrialState.COMPLETE, [0.8], NOON)
    assert allowance.spent(NOON) is None
    allowance.ended(TrialState.FAILED, None, later)  # says nothing of the search
    allowance.ended(TrialState.COMPLETE, [0.9], later)  # as good is not better
    assert allowance.spent(later) is None
    allowance.ended(TrialState.PRUNED, None, later)

    assert allowance.spent(later) == "budget.patience_trials: 2 trials ended without a better one"
