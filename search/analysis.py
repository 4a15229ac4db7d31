"""What a study's trials say about its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from search.definition import Definition, Objective
from search.fitting import Fitting
from search.space import Space

FEWEST_TRIALS = 2
MOST_TRIALS = 1_500  # a tenth of a second; of more trials as many are taken, evenly spread


def importances(
    definition: Definition, objective: Objective, trials: Sequence[tuple[Mapping[str, Any], float]]
) -> dict[str, float]:
    """How much each parameter decides whether a trial is among the best tenth: PED-ANOVA (Watanabe et al. 2023).

    Args:
        trials: parameters and the objective's value of the complete trials; those of another space are left out.

    Returns:
        Shares that add up to 1, the largest first; nothing where there are fewer than two trials.
    """
    if len(trials) < FEWEST_TRIALS:
        return {}
    space, fitting = Space(definition.parameters, definition.parameter_constraints), Fitting(definition)
    study = optuna.create_study(direction=objective.direction)
    for parameters, value in trials[:: 1 + (len(trials) - 1) // MOST_TRIALS]:
        if (point := fitting.point(parameters)) is None:
            continue
        params, distributions = space.internal(point)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    if len(study.get_trials(deepcopy=False)) < FEWEST_TRIALS:
        return {}
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
