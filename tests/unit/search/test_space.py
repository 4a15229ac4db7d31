from __future__ import annotations

import json
from typing import Any

import optuna
import pytest

from search.conditions import MOST_STATES
from search.definition import parse
from search.space import Space
from tests.unit.search.documents import external

CONDITIONAL = {
    # the parent stands after its children, and the grandchild before both
    "warmup": {"low": 1, "high": 3, "when": {"momentum": 0.9}},
    "momentum": {"values": [0.0, 0.9], "when": {"optimizer": ["sgd"]}},
    "optimizer": {"values": ["adam", "sgd"]},
    "note": {"value": "sgd only", "when": {"optimizer": "sgd"}},
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
}


def space_of(entries: dict[str, Any]) -> Space:
    return Space(parse(external(entries)).parameters)


def suggest(space: Space, **fixed: Any) -> tuple[dict[str, Any], optuna.trial.FrozenTrial]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(fixed)
    trial = study.ask()
    return space.suggest(trial), study.get_trials(deepcopy=False)[0]


@pytest.mark.parametrize(
    ("fixed", "active"),
    [
        ({"optimizer": "adam"}, {"optimizer", "lr"}),
        ({"optimizer": "sgd", "momentum": 0.0}, {"optimizer", "momentum", "note", "lr"}),
        ({"optimizer": "sgd", "momentum": 0.9}, {"optimizer", "momentum", "warmup", "note", "lr"}),
    ],
)
def test_only_active_parameters_are_drawn(fixed: dict[str, Any], active: set[str]) -> None:
    space = space_of(CONDITIONAL)

    parameters, trial = suggest(space, **fixed)

    assert parameters.keys() == active
    assert trial.params.keys() == active - {"note"}  # a constant is nothing to search
    assert space.external(trial.params) == parameters
    assert space.check(parameters) == []


def test_a_trial_is_loaded_with_what_optuna_had():
    space = space_of(CONDITIONAL | {"hidden": {"values": [[64], [128, 64]]}})

    parameters, trial = suggest(space, optimizer="sgd", momentum=0.9, hidden="[128,64]")

    assert parameters["hidden"] == [128, 64]
    assert space.internal(parameters) == (trial.params, trial.distributions)
    assert space.internal(json.loads(json.dumps(parameters))) == (trial.params, trial.distributions)


@pytest.mark.parametrize(
    "values",
    [
        [True, 1, "1", 1.5],
        [[64], "[64]", None, {"b": 1, "a": [2]}],
        [0, False, "", None],
        ["adam", "sgd"],
    ],
)
def test_every_choice_comes_back_as_it_was(values: list[Any]) -> None:
    space = space_of({"x": {"values": values}})
    codes = space.distributions()["x"].choices  # type: ignore[attr-defined]

    back = [suggest(space, x=code)[0]["x"] for code in codes]

    assert [(type(value), value) for value in back] == [(type(value), value) for value in values]
    assert [space.internal({"x": value})[0]["x"] for value in values] == list(codes)


def test_steps_come_out_clean_and_go_back_in_as_optuna_rounds_them():
    space = space_of({"x": {"low": 0.0, "high": 0.7, "step": 0.1}})
    for place in range(8):
        optunas = min(place * 0.1, 0.7)  # 0.30000000000000004 at 3

        parameters, _ = suggest(space, x=optunas)

        assert parameters == {"x": place / 10}
        assert space.internal(parameters)[0] == {"x": optunas}


def test_a_range_ends_at_its_last_step():
    space = space_of({"x": {"low": 0.0, "high": 1.0, "step": 0.3}, "n": {"low": 1, "high": 10, "step": 4}})

    assert space.distributions() == {
        "x": optuna.distributions.FloatDistribution(0.0, 0.9, step=0.3),
        "n": optuna.distributions.IntDistribution(1, 9, step=4),
    }


def test_types_follow_the_bounds():
    space = space_of({"n": {"low": 1, "high": 9, "log": True}, "x": {"min": 1, "max": 9.0}})

    parameters, _ = suggest(space)

    assert isinstance(parameters["n"], int)
    assert isinstance(parameters["x"], float)


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"optimizer": "adam", "lr": 1.0}, "parameters.lr", "1.0 is not in the space"),
        ({"optimizer": "adam", "lr": "x"}, "parameters.lr", "not in the space"),
        ({"optimizer": "adam"}, "parameters.lr", "is missing"),
        ({"optimizer": "adam", "lr": 0.1, "momentum": 0.9}, "parameters.momentum", "has no part here"),
        ({"optimizer": "adam", "lr": 0.1, "lrr": 0.1}, "parameters.lrr", "no parameter of this study"),
        ({"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "note": "x"}, "parameters.note", "not in the space"),
    ],
)
def test_given_parameters_must_be_a_point_of_the_space(given: dict[str, Any], path: str, words: str) -> None:
    [problem] = space_of(CONDITIONAL).check(given)

    assert problem.path == path
    assert words in problem.message


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ({"a": {"values": [1, 2, 3]}, "b": {"low": 1, "high": 4}, "c": {"value": 0}}, 12),
        ({"a": {"low": 0.0, "high": 0.6, "step": 0.1}}, 7),
        ({"a": {"low": 0.0, "high": 1.0}}, None),
        # a = 1: one point; a = 2: b = 1..4, of which b = 4 has three of c: 1 + 3 + 3
        (
            {
                "a": {"values": [1, 2]},
                "b": {"low": 1, "high": 4, "when": {"a": 2}},
                "c": {"values": [7, 8, 9], "when": {"b": 4}},
            },
            7,
        ),
        # c joins where a = 1 and b = 1, in one of four: 3 + 5
        (
            {
                "a": {"values": [0, 1]},
                "b": {"values": [0, 1]},
                "c": {"low": 1, "high": 5, "when": {"a": 1, "b": 1}},
            },
            8,
        ),
    ],
)
def test_the_size_counts_each_active_assignment_once(entries: dict[str, Any], size: int | None) -> None:
    assert space_of(entries).size == size


def test_conditions_too_tied_to_count_give_an_upper_bound():
    flags = {f"f{k}": {"values": [0, 1]} for k in range(16)}  # 2^16 states, more than are told apart
    assert MOST_STATES < 2**16
    entries = flags | {"x": {"values": [1, 2], "when": dict.fromkeys(flags, 1)}}

    assert space_of(entries).size == 2**17


def test_a_chain_of_a_thousand_conditions_is_no_trouble():
    entries: dict[str, Any] = {"p0": {"values": [0, 1]}}
    entries |= {f"p{k}": {"values": [0, 1], "when": {f"p{k - 1}": 1}} for k in range(1, 1000)}
    space = space_of(dict(reversed(entries.items())))

    assert space.searched[:2] == ("p0", "p1")
    assert space.size == 1001  # the chain breaks at one of a thousand places, or nowhere
