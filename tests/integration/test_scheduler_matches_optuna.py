"""One trial at a time, the service proposes and decides exactly as Optuna used directly, also across restarts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import optuna
import pytest

from search.samplers import reseed
from store.messages import Finish
from tests.yard import METRIC, Yard, study

SEED = 7
TRIALS = 24
EPOCHS = 9
PARAMETERS = {
    "lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "layers": {"low": 1, "high": 4},
    "optimizer": {"values": ["adam", "sgd"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": ["sgd"]}},
}


def suggest(trial: optuna.Trial) -> dict[str, Any]:
    parameters = {
        "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        "layers": trial.suggest_int("layers", 1, 4),
        "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd"]),
    }
    if parameters["optimizer"] == "sgd":
        parameters["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
    return parameters


def curve(parameters: dict[str, Any], epoch: int) -> float:
    """A made-up validation loss that the parameters move."""
    base = (math.log10(parameters["lr"]) + 2.5) ** 2 + 0.1 * parameters["layers"] + parameters.get("momentum", 0.3)
    return base + 1 / epoch


Row = tuple[dict[str, Any], str, int]


def stock(sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner) -> list[Row]:
    """What Optuna does: the parameters, the end and the last epoch of each trial."""
    reference = optuna.create_study(study_name="s", sampler=sampler, pruner=pruner)
    rows: list[Row] = []
    for number in range(TRIALS):
        reseed(sampler, SEED, number)
        trial = reference.ask()
        parameters = suggest(trial)
        epoch, pruned = 0, False
        while epoch < EPOCHS and not pruned:
            epoch += 1
            trial.report(curve(parameters, epoch), epoch)
            pruned = trial.should_prune()
        if pruned:
            reference.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            reference.tell(trial, curve(parameters, epoch))
        rows.append((parameters, "PRUNED" if pruned else "COMPLETE", epoch))
    return rows


def ours(yard: Yard, sections: dict[str, Any], restart_before: Callable[[int], bool]) -> list[Row]:
    document = study(parameters=PARAMETERS, budget={"trials": TRIALS, "parallel": 1}, **sections)
    study_id = yard.begin(document)
    worker = yard.worker()
    rows: list[Row] = []
    for number in range(TRIALS):
        if restart_before(number):
            yard.restart()
        assignment = worker.start(study_id, number)
        epoch, pruned = 0, False
        while epoch < EPOCHS and not pruned:
            epoch += 1
            decision = worker.report(assignment.attempt, epoch, curve(assignment.parameters, epoch)).decision
            pruned = decision == "prune"
        end = {"outcome": "pruned"} if pruned else {"metrics": {METRIC: curve(assignment.parameters, epoch)}}
        worker.say(Finish(attempt=assignment.attempt, **({"outcome": "finished"} | end)))  # type: ignore[arg-type]
        rows.append((assignment.parameters, "PRUNED" if pruned else "COMPLETE", epoch))
    return rows


SAMPLERS = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
PRUNERS: dict[str, tuple[Callable[[], optuna.pruners.BasePruner], dict[str, Any]]] = {
    "none": (optuna.pruners.NopPruner, {}),
    "median": (optuna.pruners.MedianPruner, {}),
    "hyperband": (
        lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9, reduction_factor=3),
        {"min_resource": 1, "max_resource": 9, "reduction_factor": 3},
    ),
}


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_proposals_and_decisions_are_optunas(yard: Yard, sampler: str, pruner: str) -> None:
    make_pruner, options = PRUNERS[pruner]
    expected = stock(SAMPLERS[sampler](seed=SEED), make_pruner())
    sections = {"sampler": {"name": sampler, "seed": SEED}, "pruner": {"name": pruner, **options}}

    assert ours(yard, sections, restart_before=lambda number: number % 5 == 4) == expected
    if pruner != "none":
        assert {"PRUNED", "COMPLETE"} <= {row[1] for row in expected}, "the case decides nothing"
