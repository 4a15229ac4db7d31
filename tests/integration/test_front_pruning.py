"""Trials of a study with several objectives, stopped and promoted by the scheduler, also over restarts."""

from __future__ import annotations

from typing import Any

import pytest

from store.messages import AttemptKey, Decision, Finish, Report
from tests.yard import Worker, Yard, study

TWO = [{"metric": "loss", "direction": "minimize"}, {"metric": "score", "direction": "maximize"}]
# (loss, score) at the first rung: 1 is beaten by 0; 2 by none; 3 by 2; 4 by none
POINTS = [(1.0, 1.0), (2.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 4.0)]


def report(worker: Worker, attempt: AttemptKey, step: int, point: tuple[float, float]) -> str:
    answer = worker.say(Report(attempt=attempt, step=step, metrics=measured(point)))
    assert isinstance(answer, Decision)
    return answer.decision


def measured(point: tuple[float, float]) -> dict[str, float]:
    return dict(zip(("loss", "score"), point, strict=True))


def begin(yard: Yard, pruner: dict[str, Any], trials: int = 5) -> int:
    return yard.begin(study(objective=TWO, pruner=pruner, budget={"trials": trials, "parallel": 1}))


@pytest.mark.parametrize(
    "pruner",
    [
        {"name": "successive_halving", "min_resource": 2, "reduction_factor": 2},
        # of one bracket, as the last step is not twice the first
        {"name": "hyperband", "min_resource": 2, "max_resource": 3, "reduction_factor": 2},
    ],
)
def test_a_trial_whose_front_is_not_that_of_the_best_half_is_stopped_at_its_rung(
    yard: Yard, pruner: dict[str, Any]
) -> None:
    study_id, worker = begin(yard, pruner), yard.worker()
    for number, point in enumerate(POINTS):
        yard.restart()
        attempt = worker.start(study_id, number).attempt
        assert report(worker, attempt, 1, (9.0, 0.0)) == "continue"  # below the rung
        stopped = report(worker, attempt, 2, point) == "prune"
        assert stopped == (number in (1, 3))
        outcome = {"outcome": "pruned"} if stopped else {"outcome": "finished", "metrics": measured(point)}
        worker.say(Finish(attempt=attempt, **outcome))  # type: ignore[arg-type]

    assert yard.states(study_id) == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED", "COMPLETE"]
    assert [trial.values for trial in yard.trials(study_id)][2] == {"loss": 2.0, "score": 3.0}


def test_asha_pauses_at_a_rung_and_promotes_from_its_front(yard: Yard) -> None:
    pruner = {"name": "asha", "min_resource": 1, "max_resource": 3, "reduction_factor": 3, "least_complete": 0}
    study_id, worker = begin(yard, pruner, trials=3), yard.worker()
    for number, point in enumerate([(2.0, 1.0), (1.0, 2.0), (3.0, 0.0)]):
        yard.restart()
        attempt = worker.start(study_id, number).attempt
        assert report(worker, attempt, 1, point) == "pause"
        worker.say(Finish(attempt=attempt, outcome="paused"))

    # One of three may go on: trial 1 alone is in front
    assert yard.states(study_id) == ["PAUSED", "QUEUED", "PAUSED"]
    worker.say(Finish(attempt=worker.start(study_id, 1).attempt, outcome="finished", metrics=measured((1.0, 2.0))))
    assert yard.states(study_id) == ["PRUNED", "COMPLETE", "PRUNED"]
