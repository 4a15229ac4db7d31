"""Trials that break a constraint, do not fit into memory, or diverge: the sampler makes of them what stock Optuna makes
of them when it is told the same, also over restarts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState as OptunaState

from search.samplers import reseed
from store.messages import AttemptKey, Finish, Report
from tests.yard import METRIC, Yard, study

SEED, TRIALS = 7, 24
PARAMETERS = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
BOUND = 0.8


def loss(parameters: dict[str, Any]) -> float:
    return (parameters["x"] - 0.3) ** 2 + math.sin(5 * parameters["y"])


def size(parameters: dict[str, Any]) -> float:
    return float(parameters["x"] + parameters["y"])


def ends(number: int) -> str:
    """How a trial ends: most of them well."""
    return {5: "diverged", 11: "infeasible", 13: "diverged"}.get(number, "finished")


SAMPLERS: dict[str, tuple[Callable[..., optuna.samplers.BaseSampler], dict[str, Any]]] = {
    "tpe": (optuna.samplers.TPESampler, {}),
    "nsga2": (optuna.samplers.NSGAIISampler, {"population_size": 5}),
}


def stock(sampler: optuna.samplers.BaseSampler) -> list[dict[str, Any]]:
    """What Optuna proposes, told that a diverged trial and one that did not fit came out as badly as the worst."""
    reference = optuna.create_study(study_name="s", sampler=sampler)
    rows = []
    for number in range(TRIALS):
        reseed(sampler, SEED, number)
        trial = reference.ask()
        parameters = {name: trial.suggest_float(name, 0.0, 1.0) for name in PARAMETERS}
        rows.append(parameters)
        if ends(number) == "finished":
            trial.set_constraint("size at_most", size(parameters) - BOUND)
            reference.tell(trial, loss(parameters))
            continue
        if ends(number) == "infeasible":
            trial.set_constraint("size at_most", 1.0)
        complete = reference.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
        reference.tell(trial, max(each.value for each in complete if each.value is not None))
    return rows


@pytest.mark.parametrize(
    ("database_url", "sampler"),
    [("sqlite", "tpe"), ("postgresql", "tpe"), ("sqlite", "nsga2")],
    indirect=["database_url"],
)
def test_constraints_and_bad_ends_teach_as_in_optuna(yard: Yard, sampler: str) -> None:
    make_sampler, options = SAMPLERS[sampler]
    document = study(
        parameters=PARAMETERS,
        constraints=[{"metric": "size", "at_most": BOUND}],
        sampler={"name": sampler, "seed": SEED, **options},
        budget={"trials": TRIALS, "parallel": 1, "max_failed": 2},
    )
    study_id, worker = yard.begin(document), yard.worker()
    rows = []
    for number in range(TRIALS):
        if number % 5 == 4:
            yard.restart()
        assignment = worker.start(study_id, number)
        rows.append(assignment.parameters)
        worker.say(finish(assignment.attempt, assignment.parameters, ends(number)))

    assert rows == stock(make_sampler(seed=SEED, **options))
    trials = yard.trials(study_id)
    assert yard.study(study_id).state == "COMPLETE"
    assert [(trials[number].state, trials[number].violation) for number in (5, 11)] == [
        ("FAILED", None),
        ("PRUNED", 1.0),
    ]
    for number in (0, TRIALS - 1):
        assert trials[number].violation == max(0.0, size(trials[number].parameters) - BOUND)
    assert {0.0} < {trial.violation for trial in trials if trial.state == "COMPLETE"}, "the case decides nothing"


def finish(attempt: AttemptKey, parameters: dict[str, Any], outcome: str) -> Finish:
    metrics = {METRIC: loss(parameters), "size": size(parameters)} if outcome == "finished" else {}
    return Finish(attempt=attempt, outcome=outcome, metrics=metrics)  # type: ignore[arg-type]


def test_a_worker_hears_which_metrics_the_search_looks_at(yard: Yard) -> None:
    study_id = yard.begin(study(constraints=[{"metric": "size", "at_most": BOUND}]))

    assert yard.worker().start(study_id, 0).watched == [METRIC, "size"]


def test_what_does_not_fit_is_no_failure_and_is_not_run_again(yard: Yard) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1, "max_failed": 0}))
    worker = yard.worker()
    reason = "out of device memory: tried to allocate 80 GiB"
    worker.finish(worker.start(study_id, 0).attempt, outcome="infeasible", reason=reason)
    worker.finish(worker.start(study_id, 1).attempt, 0.5)

    first, second = yard.trials(study_id)
    assert (first.state, first.reason, first.violation) == ("PRUNED", reason, 1.0)
    assert second.state == "COMPLETE"
    assert yard.study(study_id).state == "COMPLETE"
    assert [event.body["feasible"] for event in yard.events(study_id) if event.kind == "trial"][-1] is None


def test_a_constraint_that_no_trial_reports_fails_the_trial_by_name(yard: Yard) -> None:
    study_id = yard.begin(study(constraints=[{"metric": "size", "at_most": 1}]))
    worker = yard.worker()
    worker.finish(worker.start(study_id, 0).attempt, 0.5)

    assert "a constraint's metric 'size' is missing" in (yard.trials(study_id)[0].reason or "")


def test_a_constraint_counts_as_it_was_last_reported(yard: Yard) -> None:
    study_id = yard.begin(study(constraints=[{"metric": "size", "at_least": 3}]))
    worker = yard.worker()
    attempt = worker.start(study_id, 0).attempt
    worker.say(Report(attempt=attempt, step=1, metrics={METRIC: 0.7, "size": 1.0}))
    worker.finish(attempt, 0.5)

    assert yard.trials(study_id)[0].violation == 2.0


def test_no_trial_that_breaks_a_constraint_reaches_the_target(yard: Yard) -> None:
    document = study(constraints=[{"metric": "size", "at_most": 1}], budget={"trials": 3, "parallel": 1, "target": 0.1})
    study_id, worker = yard.begin(document), yard.worker()
    for number, broken in enumerate((2.0, 2.0, 1.0)):
        yard.restart()
        attempt = worker.start(study_id, number).attempt
        worker.say(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.05, "size": broken}))

    assert yard.states(study_id) == ["COMPLETE"] * 3
