"""What is said of a trial that a pruner stopped."""

from __future__ import annotations

from typing import Any

import pytest

from search.definition import parse
from search.optuna_study import HOPELESS, OptunaStudy
from search.optuna_trials import PastTrial
from search.stopping import Stopping
from store.models import TrialState
from tests.unit.search.documents import train

HYPERBAND = {"name": "hyperband", "min_resource": 1, "max_resource": 27, "reduction_factor": 3}
HALVING = {"name": "successive_halving", "min_resource": 2, "reduction_factor": 4, "min_early_stopping_rate": 1}


@pytest.mark.parametrize(
    ("pruner", "number", "step", "sentence"),
    [
        ({"name": "median"}, 0, 3, "median stopped it at step 3"),
        ({"name": "threshold", "upper": 1.0}, 0, 1, "threshold stopped it at step 1"),
        # of the study s trial 1 is in bracket 1, with rungs at 3, 9 and 27 (test_samplers.py), and trial 3 in bracket 3
        (HYPERBAND, 1, 9, "hyperband stopped it at step 9 (rung 9 of bracket 1)"),
        (HYPERBAND, 1, 26, "hyperband stopped it at step 26 (rung 9 of bracket 1)"),  # its first report since 9
        (HYPERBAND, 3, 27, "hyperband stopped it at step 27 (rung 27 of bracket 3)"),
        (HYPERBAND | {"max_resource": 2}, 3, 1, "hyperband stopped it at step 1 (rung 1)"),  # the only bracket
        (HALVING, 0, 40, "successive_halving stopped it at step 40 (rung 32)"),  # of 8, 32, 128 …
        (
            {"name": "patient", "patience": 2, "wrapped": HYPERBAND},
            1,
            4,
            "patient stopped it at step 4 (rung 3 of bracket 1)",
        ),
    ],
)
def test_a_sentence_names_the_pruner_the_step_and_the_rung(
    pruner: dict[str, Any], number: int, step: int, sentence: str
) -> None:
    assert Stopping(parse(train(name="s", pruner=pruner))).why(number, step) == sentence


@pytest.mark.parametrize("warm", [0, 7])
def test_trials_of_several_objectives_have_their_brackets_too(warm: int) -> None:
    two = [{"metric": name, "direction": "minimize"} for name in ("val/loss", "params")]
    stopping = Stopping(parse(train(name="s", objective=two, pruner=HYPERBAND)), warm)

    assert stopping.why(1, 9) == "hyperband stopped it at step 9 (rung 9 of bracket 1)"


def test_trials_count_from_those_that_the_study_began_with() -> None:
    definition = parse(train(name="s", pruner=HYPERBAND))

    warm = [Stopping(definition, 3).bracket_of(number) for number in range(9)]

    assert warm == [Stopping(definition).bracket_of(number) for number in range(3, 12)]
    assert len(set(warm)) > 1


@pytest.mark.parametrize(
    ("stored", "sentence"), [(9, "hyperband stopped it at step 9 (rung 9 of bracket 0)"), (True, None)]
)
def test_nothing_is_said_of_a_trial_that_an_older_version_stopped(stored: Any, sentence: str | None) -> None:
    """It stored that it had, and not where; the first rung is at 9."""
    definition = parse(train(name="s", pruner=HYPERBAND | {"min_resource": 9}))
    study, parameters = OptunaStudy(definition), OptunaStudy(definition).propose().parameters
    study.load([PastTrial(0, TrialState.RUNNING, parameters, system_attrs={HOPELESS: stored})], {})

    assert study.why_stopped(0) == sentence


def test_while_no_trial_has_come_to_the_first_rung_it_is_the_only_one() -> None:
    assert Stopping(parse(train(name="s", pruner=HALVING))).levels(0) == [[8]]
