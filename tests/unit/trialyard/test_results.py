from __future__ import annotations

from typing import Any

import pytest
import yaml

from trialyard.resources import Study, Trial
from trialyard.results import best_trials, fixed_parameters


def study(direction: str = "maximize", **trial: Any) -> Study:
    definition = {
        "name": "digits",
        "objective": {"metric": "val/accuracy", "direction": direction},
        "trial": {"kind": "train", "data": {"source": "sklearn:digits"}, "optimizer": {"name": "sgd", "lr": 0.1}}
        | trial,
    }
    return Study.model_validate(
        {
            "name": "digits",
            "state": "COMPLETE",
            "created_at": "2026-01-01T00:00:00Z",
            "definition": definition,
            "counts": {},
        }
    )


def trial(number: int, value: float | None, state: str = "COMPLETE") -> Trial:
    values = None if value is None else {"val/accuracy": value}
    return Trial(number=number, state=state, parameters={}, values=values)


@pytest.mark.parametrize(("direction", "numbers"), [("maximize", [3, 1, 4]), ("minimize", [0, 1, 4])])
def test_the_best_come_first_and_the_earlier_of_two_equals(direction: str, numbers: list[int]) -> None:
    trials = [trial(0, 0.1), trial(1, 0.5), trial(2, None, "PRUNED"), trial(4, 0.5), trial(3, 0.9)]

    assert [each.number for each in best_trials(study(direction), trials, 3)] == numbers


def test_the_parameters_stand_at_their_paths_in_the_trial_section() -> None:
    given = study()
    parameters = {"optimizer.lr": 3e-05, "model.hidden": [128, 64], "regularization.dropout": 0.1, "batch_size": 64}

    text = fixed_parameters(given, parameters)

    assert yaml.safe_load(text) == {
        "trial": {
            "kind": "train",
            "data": {"source": "sklearn:digits"},
            "optimizer": {"name": "sgd", "lr": 3e-05},
            "model": {"hidden": [128, 64]},
            "regularization": {"dropout": 0.1},
            "batch_size": 64,
        }
    }
    assert "hidden: [128, 64]" in text
    assert given.definition["trial"]["optimizer"]["lr"] == 0.1  # the study itself is left as it was


def test_the_parameters_of_an_objective_of_ones_own_become_constants() -> None:
    text = fixed_parameters(study(kind="objective", name="branin"), {"x.y": 0.5})

    document = yaml.safe_load(text)
    assert document["parameters"] == {"x.y": {"value": 0.5}}
    assert document["trial"]["name"] == "branin"
