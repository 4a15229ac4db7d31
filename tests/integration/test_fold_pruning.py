"""The pruner wilcoxon with cross-validated trials: fold beside fold of the best trial, at the same epoch, also over
restarts."""

from __future__ import annotations

import pytest

from store.messages import AttemptKey, Decision, Finish, Report
from tests.yard import Worker, Yard, study

BEST = [0.1, 0.2, 0.3, 0.4, 0.5]
# One-sided p of the signed-rank test over five folds: the share of the 32 sets of ranks 1 to 5 whose sum is at most
# that of the ranks of the folds that are better than the best trial's.
CASES = [
    ([0.11, 0.22, 0.33, 0.44, 0.55], True),  # all are worse, by ranks 1 to 5: 1 / 32 = 0.03
    ([0.09, 0.22, 0.33, 0.44, 0.55], True),  # but that of rank 1: {} and {1}, 2 / 32 = 0.06
    ([0.11, 0.18, 0.33, 0.44, 0.55], True),  # but that of rank 2: {2} too, 3 / 32 = 0.09
    ([0.11, 0.22, 0.27, 0.44, 0.55], False),  # but that of rank 3: {3} and {1, 2} too, 5 / 32 = 0.16
    ([0.09, 0.18, 0.27, 0.36, 5.00], False),  # the mean is far worse, four of five folds are better
]


def metrics(folds: list[float]) -> dict[str, float]:
    single = {f"fold/{number}/loss": value for number, value in enumerate(folds, start=1)}
    return {"val/loss": sum(folds) / len(folds), "val/loss_se": 0.1, **single, "fold/1/auc": 0.5}


def report(worker: Worker, attempt: AttemptKey, step: int, folds: list[float]) -> str:
    answer = worker.say(Report(attempt=attempt, step=step, metrics=metrics(folds)))
    assert isinstance(answer, Decision)
    return answer.decision


@pytest.mark.parametrize(("folds", "stopped"), CASES)
def test_a_trial_is_stopped_where_its_folds_are_worse_than_those_of_the_best(
    yard: Yard, folds: list[float], stopped: bool
) -> None:
    pruner = {"name": "wilcoxon"}  # at its defaults, those of Optuna: a threshold of 0.1, two steps to wait for
    objective = {"metric": "val/loss", "direction": "minimize"}
    study_id = yard.begin(study(objective=objective, pruner=pruner, budget={"trials": 2, "parallel": 1}))
    worker = yard.worker()
    first = worker.start(study_id, 0).attempt
    for step in (1, 2):
        assert report(worker, first, step, [value / step for value in BEST]) == "continue"
    worker.say(Finish(attempt=first, outcome="finished", metrics=metrics(BEST)))
    yard.restart()

    second = worker.start(study_id, 1).attempt
    assert report(worker, second, 1, [9.0] * 5) == "continue"  # the first of two steps to wait for
    yard.restart()

    assert (report(worker, second, 2, [value / 2 for value in folds]) == "prune") == stopped
