"""Pruners over sorted columns decide as Optuna's own, report by report, also when the study is loaded again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import optuna
import pytest
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner
from optuna.trial import TrialState

from search.sorted_pruners import SortedHyperbandPruner, SortedMedianPruner

HYPERBAND = {"min_resource": 1, "max_resource": 27, "reduction_factor": 3}
LATE = {"min_resource": 2, "max_resource": 20, "reduction_factor": 2, "bootstrap_count": 3}
PAIRS: dict[str, tuple[Callable[[], BasePruner], Callable[[], BasePruner]]] = {
    "median": (SortedMedianPruner, MedianPruner),
    "patient median": (
        lambda: SortedMedianPruner(n_startup_trials=20, n_warmup_steps=3, interval_steps=4, n_min_trials=7),
        lambda: MedianPruner(n_startup_trials=20, n_warmup_steps=3, interval_steps=4, n_min_trials=7),
    ),
    "hyperband": (lambda: SortedHyperbandPruner(**HYPERBAND), lambda: HyperbandPruner(**HYPERBAND)),
    "late hyperband": (lambda: SortedHyperbandPruner(**LATE), lambda: HyperbandPruner(**LATE)),
}
TRIALS = 400
SIDE_BY_SIDE = 12
LAST_STEP = 27


def decisions(make_pruner: Callable[[], BasePruner], direction: str, reload_at: frozenset[int]) -> list[bool]:
    """What a pruner says to each report of many trials that run side by side, some of which leave epochs out."""
    draws = random.Random(1)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(study_name="s", direction=direction, sampler=sampler, pruner=make_pruner())
    running: dict[int, float] = {}  # trial number -> what it is worth
    said: list[bool] = []
    asked = 0
    while asked < TRIALS:
        while len(running) < SIDE_BY_SIDE:
            running[study.ask().number] = draws.random()
            asked += 1
            if asked in reload_at:
                copy = optuna.create_study(study_name="s", direction=direction, sampler=sampler, pruner=make_pruner())
                copy.add_trials(study.get_trials())
                study = copy
        number = draws.choice(list(running))
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
        step = (study._storage.get_trial(trial_id).last_step or 0) + draws.choice([1, 1, 1, 2, 5])
        value = math.nan if draws.random() < 0.01 else round(running[number] + 0.3 * draws.random(), 3)
        study._storage.set_trial_intermediate_value(trial_id, step, value)
        said.append(study.pruner.prune(study, study._storage.get_trial(trial_id)))
        if said[-1] or step >= LAST_STEP:
            study._storage.set_trial_state_values(
                trial_id, TrialState.PRUNED if said[-1] else TrialState.COMPLETE, [running.pop(number)]
            )
    return said


@pytest.mark.filterwarnings("ignore:All-NaN")  # numpy's word on a trial that reported nothing else
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("pair", PAIRS)
def test_every_decision_is_optunas(pair: str, direction: str) -> None:
    ours, stock = PAIRS[pair]
    expected = decisions(stock, direction, frozenset())

    assert decisions(ours, direction, frozenset({40, 90, 200})) == expected
    assert 0.02 < sum(expected) / len(expected) < 0.5, "the case decides nothing"
