"""What a study's trials say about its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

from search.definition import Definition, Objective
from search.space import Space

FEWEST_TRIALS = 2
MOST_TRIALS = 1_500  # a tenth of a second; of more trials as many are taken, evenly spread


def importances(
    definition: Definition, objective: Objective, trials: Sequence[tuple[Mapping[str, Any], float]]
) -> dict[str, float]:
    """How much each parameter decides whether a trial is among the best tenth: PED-ANOVA (Watanabe et al. 2023).

    Args:
        trials: parameters and the objective's value of the complete trials.

    Returns:
        Shares that add up to 1, the largest first; nothing where there are fewer than two trials.
    """
    if len(trials) < FEWEST_TRIALS:
        return {}
    space = Space(definition.parameters)
    study = optuna.create_study(direction=objective.direction)
    for parameters, value in trials[:: 1 + (len(trials) - 1) // MOST_TRIALS]:
        params, distributions = space.internal(parameters)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
