"""The pruner that a definition asks for."""

from __future__ import annotations

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)

from search.asha import Rungs
from search.auto_rungs import AutoRungs
from search.definition import Definition
from search.evolving import perturbed
from search.exploring import Explorer
from search.fold_pruner import FoldPruner
from search.halving import FrontHalving
from search.population import Population
from search.sections import (
    Asha,
    Auto,
    Hyperband,
    Median,
    Patient,
    Pbt,
    Percentile,
    PrunerSpec,
    SuccessiveHalving,
    Threshold,
    Wilcoxon,
)
from search.sorted_pruners import SortedHyperbandPruner, SortedMedianPruner


def make_pruner(definition: Definition, warm: int = 0) -> BasePruner:
    """A new pruner. Hyperband deals trials to its brackets by the study's name and the trial's number: keep both.

    Args:
        warm: so many complete trials are another study's. They have no values by step, and count for no start-up.
    """
    median = MedianPruner if definition.deterministic else SortedMedianPruner
    return NopPruner() if len(definition.objectives) > 1 else _make(definition.pruner, warm, median)


def _make(pruner: PrunerSpec, warm: int, median: type[MedianPruner]) -> BasePruner:
    """`median`: sorted columns know all that has ended; a deterministic study looks at a part of it each time."""
    match pruner:
        case Wilcoxon():
            return FoldPruner(**pruner.options)
        case Percentile():
            return PercentilePruner(**pruner.options | {"n_startup_trials": pruner.n_startup_trials + warm})
        case Median():
            return median(**pruner.options | {"n_startup_trials": pruner.n_startup_trials + warm})
        case Threshold():
            return ThresholdPruner(**pruner.options)
        case Patient(wrapped=wrapped):
            inner = None if wrapped is None else _make(wrapped, warm, median)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # which the user has chosen
                return PatientPruner(inner, pruner.patience, pruner.min_delta)
        case SuccessiveHalving():
            # Optuna's own default guesses the first rung from the trials that are complete when it is first asked, and
            # would guess another after a restart.
            return SuccessiveHalvingPruner(**{"min_resource": pruner.min_resource} | pruner.options)
        case Hyperband():
            return SortedHyperbandPruner(**pruner.options)
        case _:
            return NopPruner()


def make_rungs(definition: Definition) -> Rungs | None:
    """The rungs of asha, which no pruner of Optuna's stands for: its trials wait and are promoted. None for others."""
    pruner = definition.pruner
    if not isinstance(pruner, Asha):
        return None
    directions = [objective.direction for objective in definition.objectives]
    rungs = AutoRungs if isinstance(definition.sampler, Auto) and len(directions) == 1 else Rungs
    return rungs(pruner.min_resource, pruner.max_resource, pruner.reduction_factor, directions, pruner.least_complete)


def make_population(definition: Definition) -> Population | None:
    """The population of pbt, whose trials wait and go on from each other's checkpoints. None for other samplers."""
    sampler = definition.sampler
    if not isinstance(sampler, Pbt):
        return None
    changing = perturbed(definition.parameters, sampler.perturb, definition.kind)
    factors, resampled = sampler.perturbation_factors, sampler.resample_probability
    return Population(
        Explorer(definition.region, changing, factors, resampled),
        definition.objective.direction,
        seed=sampler.seed,
        size=sampler.population_size,
        interval=sampler.perturbation_interval,
        burn_in=sampler.burn_in_period,
        last_step=sampler.max_resource,
        share=sampler.quantile_fraction,
    )


def last_step_of(definition: Definition) -> int | None:
    """The step at which a trial comes to its end by the pruner's or the population's `max_resource`.

    None where there is no such bound, and for the built-in training, which ends by itself.
    """
    pruner, sampler = definition.pruner, definition.sampler
    if definition.kind == "train":
        return None
    if isinstance(sampler, Pbt):
        return sampler.max_resource
    bounded = pruner.wrapped if isinstance(pruner, Patient) else pruner
    return bounded.max_resource if isinstance(bounded, Asha | Hyperband) else None


def make_halving(definition: Definition) -> FrontHalving | None:
    """What judges by several objectives in the place of Optuna's pruners. None for a single one, and for other pruners.

    Hyperband deals trials to its brackets as Optuna's does.
    """
    pruner = definition.pruner
    if len(definition.objectives) == 1 or not isinstance(pruner, SuccessiveHalving | Hyperband):
        return None
    first = (pruner.min_resource, pruner.reduction_factor, pruner.bootstrap_count)
    if isinstance(pruner, SuccessiveHalving):
        rate = pruner.min_early_stopping_rate
        return FrontHalving(*first, bracket_of=lambda _number: rate)
    return FrontHalving(*first, bracket_of=SortedHyperbandPruner(**pruner.options).dealing(definition.name))
