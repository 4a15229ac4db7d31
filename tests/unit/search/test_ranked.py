"""What the models of `auto` learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search.optuna_study import OptunaStudy
from search.surrogate import Observed
from store.models import TrialState
from tests.unit.search.test_auto import ASHA, LINE, begun


def enter(study: OptunaStudy, first: float, last: float, levels: int) -> int:
    """A trial of nine epochs that comes to so many of the levels 1, 2, 4 and the end, whatever the rungs say."""
    number = study.enqueue({"x": first / 100}).number
    for step in range(1, (0, 1, 2, 4, 9)[levels] + 1):
        study.report(number, step, [first + (last - first) * (step - 1) / 8])
        if study.is_held(number):
            study.park(number)
            if step < (0, 1, 2, 4, 9)[levels]:
                study.promote(number)
    if levels == 4:
        study.finish(number, TrialState.COMPLETE, [last])
    return number


def curves(study: OptunaStudy, most: int = 200) -> Observed:
    study.propose()  # takes in what there is
    sampler: Any = study._sampler
    found: Observed = sampler._ranked.curves(most)
    return found


@pytest.fixture
def study() -> OptunaStudy:
    return begun(LINE, ASHA, random_share=0.0)


def test_of_a_curve_the_first_and_the_last_two_values_are_learnt_with_what_is_missing_then(study: OptunaStudy) -> None:
    whole, half, waiting = enter(study, 5.0, 1.0, 4), enter(study, 6.0, 2.0, 2), enter(study, 7.0, 3.0, 1)

    observed = curves(study)

    by_trial = {number: observed.missing[observed.trials == number].tolist() for number in (whole, half, waiting)}
    assert by_trial == {whole: [1, pytest.approx(1 / 3), 0], half: [1, pytest.approx(2 / 3)], waiting: [1]}
    # All six in one order: 1, 3.5, 5, 5.5, 6, 7.
    assert np.argsort(observed.targets[observed.trials == whole]).tolist() == [2, 1, 0]
    assert observed.targets.max() == observed.targets[observed.trials == waiting][0]


def test_who_counts_as_worst_does_so_once_at_the_end(study: OptunaStudy) -> None:
    good = enter(study, 2.0, 1.0, 4)
    diverged = study.enqueue({"x": 0.9}).number
    study.report(diverged, 1, [0.1])
    study.count_as_worst(diverged)
    study.finish(diverged, TrialState.FAILED)

    observed = curves(study)

    assert observed.missing[observed.trials == diverged].tolist() == [0]
    assert observed.targets[observed.trials == diverged][0] > observed.targets[observed.trials == good].max()


def test_values_of_trials_that_break_a_constraint_come_after_all_others(study: OptunaStudy) -> None:
    enter(study, 5.0, 4.0, 4)
    broken = study.enqueue({"x": 0.9}).number
    study.report(broken, 1, [1.0])
    study.park(broken)
    study.finish(broken, TrialState.COMPLETE, [0.5], constraints={"size": 1.0})

    observed = curves(study)

    is_broken = observed.trials == broken
    assert observed.targets[is_broken].min() > observed.targets[~is_broken].max()


def test_of_many_trials_those_that_came_farthest_are_learnt_from(study: OptunaStudy) -> None:
    """Three of 40: the best, the one that came farthest, which stands last but for nobody beside it, and another."""
    waiting = [enter(study, 1.0 + place / 50, 0.0, 1) for place in range(39)]
    farthest = enter(study, 50.0, 60.0, 4)

    trials = set(curves(study, most=3).trials.tolist())

    assert {waiting[0], farthest} < trials
    assert len(trials) == 3


@pytest.mark.parametrize(("pruner", "models"), [(ASHA, {"model", "curves"}), ({"name": "none"}, {"model"})])
def test_models_are_kept_and_fitted_anew_only_with_more_trials(pruner: dict[str, Any], models: set[str]) -> None:
    study = begun(LINE, pruner, random_share=0.0)
    for place in range(30):
        enter(study, 1.0 + place, 0.5 + place, 4 if place % 2 else 1)
    for _ in range(12):
        study.propose()
    kept = {key: value for key, value in study.study_attrs.items() if key.startswith("trialyard:")}
    for _ in range(12):
        study.propose()

    assert {key.removeprefix("trialyard:") for key in kept} == models
    assert {key: study.study_attrs[key] for key in kept} == kept
