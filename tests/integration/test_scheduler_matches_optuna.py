"""One trial at a time, the service proposes and decides exactly as Optuna used directly, also across restarts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
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
    """A made-up validation loss that the parameters move; more layers overfit sooner."""
    base = (math.log10(parameters["lr"]) + 2.5) ** 2 + 0.1 * parameters["layers"] + parameters.get("momentum", 0.3)
    return base + 1 / epoch + 0.02 * parameters["layers"] * epoch


Row = tuple[dict[str, Any], str, int]


def stock(
    sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner, enqueued: Sequence[dict[str, Any]] = ()
) -> list[Row]:
    """What Optuna does: the parameters, the end and the last epoch of each trial."""
    reference = optuna.create_study(study_name="s", sampler=sampler, pruner=pruner)
    rows: list[Row] = []
    for number in range(TRIALS):
        reseed(sampler, SEED, number)
        if number < len(enqueued):
            reference.enqueue_trial(enqueued[number])
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


SAMPLERS: dict[str, tuple[Callable[..., optuna.samplers.BaseSampler], dict[str, Any]]] = {
    "random": (optuna.samplers.RandomSampler, {}),
    "tpe": (optuna.samplers.TPESampler, {}),
    "cmaes": (optuna.samplers.CmaEsSampler, {"popsize": 4, "consider_pruned_trials": True}),
    "nsga2": (optuna.samplers.NSGAIISampler, {"population_size": 5}),
    "nsga3": (optuna.samplers.NSGAIIISampler, {"population_size": 5, "dividing_parameter": 2}),
    "qmc": (optuna.samplers.QMCSampler, {"scramble": True}),
    "cmaes, with_margin": (optuna.samplers.CmaEsSampler, {"popsize": 4, "with_margin": True}),
}
RUNGS = {"min_resource": 1, "max_resource": 9, "reduction_factor": 3}
PRUNERS: dict[str, tuple[Callable[[], optuna.pruners.BasePruner], dict[str, Any]]] = {
    "none": (optuna.pruners.NopPruner, {}),
    "median": (optuna.pruners.MedianPruner, {}),
    "percentile": (
        lambda: optuna.pruners.PercentilePruner(30.0, n_warmup_steps=2),
        {"percentile": 30.0, "n_warmup_steps": 2},
    ),
    "threshold": (lambda: optuna.pruners.ThresholdPruner(upper=1.9), {"upper": 1.9}),
    "patient": (
        lambda: optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), patience=1, min_delta=0.1),
        {"patience": 1, "min_delta": 0.1, "wrapped": {"name": "median"}},
    ),
    "successive_halving": (
        lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        {"reduction_factor": 3},
    ),
    "wilcoxon": (
        lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.2, n_startup_steps=3),
        {"p_threshold": 0.2, "n_startup_steps": 3},
    ),
    "hyperband": (lambda: optuna.pruners.HyperbandPruner(**RUNGS), RUNGS),
}
ON_BOTH_DATABASES = [*itertools.product(("random", "tpe"), ("none", "median", "hyperband")), ("nsga2", "median")]
ON_ONE = [
    *((sampler, "median") for sampler in ("cmaes", "cmaes, with_margin", "nsga3", "qmc")),
    *(("tpe", pruner) for pruner in ("percentile", "threshold", "patient", "successive_halving", "wilcoxon")),
]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of the stock samplers made here
@pytest.mark.parametrize(
    ("database_url", "sampler", "pruner"),
    [(database, *case) for database in ("sqlite", "postgresql") for case in ON_BOTH_DATABASES]
    + [("sqlite", *case) for case in ON_ONE],
    indirect=["database_url"],
)
def test_proposals_and_decisions_are_optunas(yard: Yard, sampler: str, pruner: str) -> None:
    make_sampler, sampler_options = SAMPLERS[sampler]
    make_pruner, options = PRUNERS[pruner]
    expected = stock(make_sampler(seed=SEED, **sampler_options), make_pruner())
    sections = {
        "sampler": {"name": sampler.split(",")[0], "seed": SEED, **sampler_options},
        "pruner": {"name": pruner, **options},
    }

    assert ours(yard, sections, restart_before=lambda number: number % 5 == 4) == expected
    if pruner != "none":
        assert {"PRUNED", "COMPLETE"} <= {row[1] for row in expected}, "the case decides nothing"


# Four whole points, so that the samplers have learnt something when they are to complete the others.
GIVEN: list[dict[str, Any]] = [
    *({"lr": lr, "layers": 2, "optimizer": "sgd", "momentum": 0.1} for lr in (1e-3, 3e-3, 1e-2, 3e-2)),
    {"lr": 0.005},
    {"optimizer": "adam"},
    {"optimizer": "sgd", "momentum": 0.5, "layers": 3},
    {},
    {"layers": 1},
]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("database_url", "sampler", "options"),
    [
        ("sqlite", "random", {}),
        ("sqlite", "tpe", {"n_startup_trials": 3}),
        ("postgresql", "tpe", {"n_startup_trials": 3}),
        *(("sqlite", name, SAMPLERS[name][1]) for name in ("cmaes", "nsga2", "nsga3", "qmc")),
    ],
    indirect=["database_url"],
)
def test_what_a_person_leaves_open_is_completed_as_by_enqueue_trial(
    yard: Yard, sampler: str, options: dict[str, Any]
) -> None:
    expected = stock(SAMPLERS[sampler][0](seed=SEED, **options), optuna.pruners.NopPruner(), GIVEN)
    sections = {"sampler": {"name": sampler, "seed": SEED, **options}, "enqueue": GIVEN}

    found = ours(yard, sections, restart_before=lambda number: number % 3 == 2)

    assert found == expected
    assert all(given.items() <= row[0].items() for given, row in zip(GIVEN, found, strict=False))
