"""What a study's trials say about its parameters."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.definition import Definition, Objective
from search.fitting import Fitting
from search.optuna_trials import Storage, blank, trials_of
from search.space import Space

Trial = TypeVar("Trial")
Method = Literal["ped_anova", "fanova"]

FEWEST_TRIALS = 2
# Of more trials as many are taken, evenly spread: a tenth of a second of PED-ANOVA, eight of fANOVA, which takes four
# times as long for twice as many.
MOST_TRIALS: dict[Method, int] = {"ped_anova": 1_500, "fanova": 500}


def importances(
    definition: Definition,
    objective: Objective,
    trials: Sequence[tuple[Mapping[str, Any], float]],
    method: Method = "ped_anova",
) -> dict[str, float]:
    """How much each parameter decides what a trial comes to.

    PED-ANOVA (Watanabe et al. 2023) asks whether a trial is among the best tenth. fANOVA (Hutter et al. 2014) divides
    the variance of the values, by a forest fitted to them; it needs scikit-learn.

    Args:
        trials: parameters and the objective's value of the complete trials; those of another space are left out.

    Returns:
        Shares that add up to 1, the largest first, of the parameters that all trials have; equal ones where nothing
        tells the values apart, and nothing where there are fewer than two trials.
    """
    space, fitting = Space(definition.parameters, definition.parameter_constraints), Fitting(definition)
    storage = Storage()
    study = optuna.create_study(storage=storage, direction=objective.direction)
    for parameters, value in spread(trials, MOST_TRIALS[method]):
        if (point := fitting.point(parameters)) is not None:
            storage.append(study._study_id, blank(space, OptunaState.COMPLETE, point, [value]))
    return {} if len(trials_of(study)) < FEWEST_TRIALS else _shares(study, method)


def _shares(study: optuna.Study, method: Method) -> dict[str, float]:
    # It comes with scikit-learn, for which every start of the server would wait for two seconds.
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that trials are few, which the caller shows beside the shares
        if method == "ped_anova":
            shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        else:
            try:
                evaluator = FanovaImportanceEvaluator(seed=0)
                shares = get_param_importances(study, evaluator=evaluator, target=_within_one(study))
            except RuntimeError:  # no tree of the forest has a variance to divide
                names = optuna.search_space.intersection_search_space(trials_of(study))
                shares = dict.fromkeys(names, 1 / len(names)) if names else {}
    return {name: float(share) for name, share in shares.items()}


def _within_one(study: optuna.Study) -> Callable[[FrozenTrial], float]:
    """A trial's value between 0 and 1: squares of values such as 1e200, which a variance is made of, are no numbers."""
    halves = [trial.value / 2 for trial in trials_of(study) if trial.value is not None]  # of which no sum is infinite
    low, width = min(halves), (max(halves) - min(halves)) or 1.0
    return lambda trial: ((trial.value or 0.0) / 2 - low) / width


def spread(trials: Sequence[Trial], most: int) -> Sequence[Trial]:
    """At most so many trials, evenly spread over all."""
    return trials[:: max(1, math.ceil(len(trials) / most))]
