from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from search.conditions import Conditions
from search.definition import parse, submitted
from search.fitting import Fitting
from store.errors import DefinitionError, Problem
from tests.unit.search.documents import ADULT_MLP, external, train
from trialyard.study_file import from_yaml


def problems_of(document: object) -> list[tuple[str, str]]:
    """Path and sentence of each problem."""
    with pytest.raises(DefinitionError) as caught:
        parse(document)
    return [(problem.path, f"{problem.message}; {problem.hint}") for problem in caught.value.problems]


def with_parameter(name: str, entry: object, **sections: Any) -> dict[str, Any]:
    return train(parameters={name: entry}, **sections)


def with_trial(**keys: Any) -> dict[str, Any]:
    return train(trial={"kind": "train", "data": {"source": "sklearn:digits"}, **keys})


def test_the_study_file_of_the_contract_is_understood():
    definition = parse(from_yaml(ADULT_MLP))

    assert definition.kind == "train"
    assert definition.budget.timeout == 2 * 60 * 60
    assert definition.sampler.document() == {"name": "tpe", "seed": 7}
    assert definition.pruner.options == {"min_resource": 1, "max_resource": 27, "reduction_factor": 3}
    assert definition.document()["parameters"]["optimizer.lr"] == {"low": 1e-4, "high": 0.1, "log": True}


LOSS = {"metric": "val/loss", "direction": "minimize"}
TWO = [LOSS, {"metric": "params", "direction": "minimize"}]
SHAPES = [
    (3, "study", ["must be a mapping"]),
    (train(name=None), "name", ["is missing"]),
    (train(name="My Study"), "name", ['"My Study"', "lower-case"]),
    (train(name="a" * 65), "name", ["1 to 64"]),
    (train(budgets={}), "budgets", ["did you mean 'budget'"]),
    (train(n_trials=5), "n_trials", ["did you mean 'budget.trials'"]),
    (train(lr=0.1), "lr", ["did you mean 'trial.optimizer.lr'"]),
    (train(epochs=3), "epochs", ["did you mean 'trial.epochs'"]),
    (train(budget={"trials": 9, "n_trials": 5}), "budget.n_trials", ["did you mean 'trials'"]),
    (train(name="ü"), "name", ['"ü" is no name']),
    (train(name="a\u202e"), "name", ['"a\\u202e" is no name']),
    (train(sampler={"name": "TPE"}), "sampler.name", ["did you mean 'tpe'"]),
    (train(objective=[LOSS]), "objective", ["has 1 entry, and"]),
    (train(objective=None), "objective", ["is missing", "metric: val/accuracy"]),
    (train(objective={"metric": "val/loss"}), "objective.direction", ["is missing", "minimize or maximize"]),
    (
        train(objective={"metric": "val/loss", "direction": "minimise"}),
        "objective.direction",
        ['"minimise" is none of minimize, maximize', "did you mean 'minimize'"],
    ),
    (train(objective={"metric": "val/accurac", "direction": "maximize"}), "objective.metric", ["mean 'val/accuracy'"]),
    (
        train(objective={"metric": "test/accuracy", "direction": "maximize"}),
        "objective.metric",
        ["measured once", "take val/accuracy"],
    ),
    (train(objective=[{"metric": "val/loss"}]), "objective", ["1 entry", "2 to 4", "without a list"]),
    (train(objective=[LOSS] * 5), "objective", ["5 entries", "constraints"]),
    (train(objective=[LOSS, LOSS]), "objective[1].metric", ["there already"]),
    (train(objective=[LOSS, {"metric": "val/x", "direction": "minimize"}]), "objective[1].metric", ["no training"]),
    (train(objective=[LOSS, {"metric": "params"}]), "objective[1].direction", ["is missing", "minimize or maximize"]),
    (train(objective=TWO, sampler={"name": "cmaes"}), "sampler.name", ["single objective", "tpe", "nsga2"]),
    (train(objective=TWO, pruner={"name": "median"}), "pruner.name", ["single objective"]),
    (train(objective=TWO, budget={"trials": 9, "target": 0.5}), "budget.target", ["one objective", "patience_trials"]),
    (train(constraints={"params": 3}), "constraints", ["must be a list", "at_most: 200000"]),
    (train(constraints=[{"metric": "params"}]), "constraints[0]", ["one of at_most and at_least"]),
    (train(constraints=[{"metric": "param", "at_most": 9}]), "constraints[0].metric", ["did you mean 'params'"]),
    (train(constraints=[{"metric": "test/loss", "at_most": 9}]), "constraints[0].metric", ["measured once"]),
    (
        train(constraints=[{"metric": "params", "at_least": 9}, {"metric": "params", "at_most": 8}]),
        "constraints[1]",
        ["no params is at least 9 and at most 8"],
    ),
    (train(constraints=[{"metric": "params", "at_most": 9}] * 2), "constraints[1]", ["an earlier one"]),
    (train(constraints=[{"metric": "params", "at_most": 9}], sampler={"name": "cmaes"}), "sampler.name", ["learn"]),
    (train(sampler="tpe"), "sampler", ["must be a mapping", "write {name: tpe}"]),
    (train(sampler={}), "sampler.name", ["is missing"]),
    (
        train(sampler={"name": "tpee"}),
        "sampler.name",
        ["none of auto, grid, random, tpe, gp, cmaes", "did you mean 'tpe'"],
    ),
    (train(sampler={"name": "cmaes", "popsize": 1}), "sampler.popsize", ["at least 3"]),
    (train(sampler={"name": "cmaes", "with_margin": True, "lr_adapt": True}), "sampler", ["exclude each other"]),
    (
        train(sampler={"name": "cmaes"}, parameters={"batch_size": {"values": [32, 64]}}),
        "sampler.name",
        ["cmaes searches ranges", "such as tpe"],
    ),
    (train(sampler={"name": "nsga2", "population_size": 1}), "sampler.population_size", ["at least 2"]),
    (train(sampler={"name": "nsga2", "mutation_prob": 1.5}), "sampler.mutation_prob", ["at most 1"]),
    (train(sampler={"name": "nsga2", "dividing_parameter": 3}), "sampler.dividing_parameter", ["no key that is known"]),
    (train(sampler={"name": "qmc", "qmc_type": "sobel"}), "sampler.qmc_type", ["none of sobol, halton", "'sobol'"]),
    (train(sampler={"name": "tpe", "seed": -1}), "sampler.seed", ["at least 0", "-1"]),
    (train(sampler={"name": "tpe", "n_startup": 3}), "sampler.n_startup", ["did you mean 'n_startup_trials'"]),
    (train(sampler={"name": "random", "group": True}), "sampler.group", ["known here: seed, name"]),
    (train(sampler={"name": "tpe", "group": True, "multivariate": False}), "sampler", ["group", "multivariate"]),
    (train(pruner={"name": "wilcoxon", "p_threshold": 2.0}), "pruner.p_threshold", ["at most 1"]),
    (train(pruner={"name": "percentile"}), "pruner.percentile", ["is missing", "percentile: 25.0"]),
    (train(pruner={"name": "percentile", "percentile": 101}), "pruner.percentile", ["at most 100"]),
    (train(pruner={"name": "threshold"}), "pruner", ["lower, upper or both"]),
    (train(pruner={"name": "threshold", "lower": 2, "upper": 1}), "pruner", ["lower 2 is above upper 1"]),
    (train(pruner={"name": "patient"}), "pruner.patience", ["is missing", "patience: 3"]),
    (
        train(pruner={"name": "patient", "patience": 2, "wrapped": {"name": "medain"}}),
        "pruner.wrapped.name",
        ["none of median, percentile", "did you mean 'median'"],
    ),
    (
        train(pruner={"name": "patient", "patience": 2, "wrapped": {"name": "hyperband", "min_resource": 9}}),
        "pruner.wrapped",
        ["max_resource 5 is less than min_resource 9"],
    ),
    (train(pruner={"name": "successive_halving", "reduction_factor": 1}), "pruner.reduction_factor", ["at least 2"]),
    (train(pruner={"name": "median", "interval_steps": 0}), "pruner.interval_steps", ["at least 1"]),
    (train(pruner={"name": "hyperband", "min_resource": 6}), "pruner", ["max_resource 5 is less than min_resource 6"]),
    (external({"x": {"low": 0.0, "high": 1.0}}, pruner={"name": "hyperband"}), "pruner.max_resource", ["is missing"]),
    (train(budget=None), "budget", ["is missing", "trials: 60"]),
    (train(budget={}), "budget.trials", ["is missing"]),
    (train(budget={"trials": 0}), "budget.trials", ["at least 1"]),
    (train(budget={"trials": 1_000_001}), "budget.trials", ["at most 1000000"]),
    (train(budget={"trials": 20.0}), "budget.trials", ["whole number", "write 20"]),
    (train(budget={"trials": "20"}), "budget.trials", ["without quotes"]),
    (train(budget={"trials": True}), "budget.trials", ["whole number"]),
    (train(budget={"trials": 1, "timeout": "2 hours"}), "budget.timeout", ["2h, 90m, 1h30m"]),
    (train(budget={"trials": 1, "timeout": "0s"}), "budget.timeout", ["greater than 0"]),
    (train(budget={"trials": 1, "parallel": 0}), "budget.parallel", ["at least 1"]),
    (train(duplicates="drop"), "duplicates", ["none of allow, resample, reuse"]),
    (train(resources={"pool": "A"}), "resources.pool", ["lower-case"]),
    (train(resources={"gpus": 65}), "resources.gpus", ["at most 64"]),
    (train(resources={"gpus": 2, "processes": 2}), "resources", ["each GPU has one process", "leave processes out"]),
    (external({"x": {"low": 0.0, "high": 1.0}}, resources={"processes": 2}), "resources.processes", ["leave it out"]),
    (
        train(trial={"kind": "train", "data": {"source": "sklearn:digits"}, "batch_size": 7}, resources={"gpus": 4}),
        "trial.batch_size",
        ["a batch of 7", "over 4 processes", "at least 8"],
    ),
    (
        train(parameters={"batch_size": {"low": 2, "high": 64}}, resources={"processes": 2}),
        "parameters.batch_size",
        ["at least 4"],
    ),
    (train(trial=None), "trial", ["is missing", "kind: train"]),
    (train(trial=[]), "trial", ["must be a mapping"]),
    (train(trial={"kind": "trian"}), "trial.kind", ["did you mean 'train'"]),
    (train(trial={"kind": "objective"}), "trial.name", ["is missing", "registered"]),
    (train(trial={"kind": "objective", "name": "Mine!"}), "trial.name", ["lower-case"]),
    (train(trial={"kind": "external", "epochs": 3}), "trial.epochs", ["no key that is known"]),
    (with_trial(model={"name": "pretrained", "source": "bert"}), "trial.model.source", ["names no model", "hf:"]),
    (with_trial(model={"name": "pretrained"}), "trial.model", ["needs a source"]),
    (with_trial(transfer={"lr_decay": 0.9}), "trial.transfer.lr_decay", ["acts only with", "it is mlp"]),
    (with_trial(compression={"begin": 0.9}), "trial.compression", ["comes after end"]),
    (
        train(objective={"metric": "latency", "direction": "minimize"}),
        "objective.metric",
        ["measured where there is a section", "compression: {name: none}"],
    ),
    (
        train(objective={"metric": "val/pinball", "direction": "minimize"}),
        "objective.metric",
        ["measured where the loss is quantile", "quantile: 0.9"],
    ),
    (
        with_trial(loss={"name": "mae"}, early_stopping={"metric": "val/pinball"}),
        "trial.early_stopping.metric",
        ["measured where the loss is quantile"],
    ),
    (with_trial(cross_validation={"folds": 1}), "trial.cross_validation.folds", ["at least 2"]),
    (with_trial(cross_validation={"folds": 50, "repeats": 3}), "trial.cross_validation", ["150 models", "too many"]),
    (with_trial(cross_validation={}, seeds=2), "trial.cross_validation.repeats", ["leave seeds out"]),
    (with_trial(compile="sometimes"), "trial.compile", ["none of auto, true, false, cuda_graphs"]),
    (with_trial(epochs=0), "trial.epochs", ["at least 1"]),
    (with_trial(lr=0.1), "trial.lr", ["did you mean 'optimizer.lr'"]),
    (with_trial(optimizer={"name": "AdamW"}), "trial.optimizer.name", ["did you mean 'adamw'"]),
    (
        with_trial(data={"source": "sklearn:iris", "drop": "x"}),
        "trial.data.drop",
        ['must be a list, not "x"', 'write ["x"]'],
    ),
    (
        with_trial(data={"source": "sklearn:iris", "delimiter": "xx"}),
        "trial.data.delimiter",
        ["must have at most 1 character;"],
    ),
    (with_trial(model={"name": "mpl"}), "trial.model.name", ["mlp"]),
    (with_trial(model={"hidden": [64, "8"]}), "trial.model.hidden[1]", ["whole number", "without quotes"]),
    (with_trial(optimizer={"learning_rate": 1}), "trial.optimizer.learning_rate", ["no key that is known"]),
    (with_trial(optimiser={}), "trial.optimiser", ["did you mean 'optimizer'"]),
    (with_trial(data={"source": "digits"}), "trial.data.source", ["begin with sklearn:"]),
    (
        with_trial(data={"source": "sklearn:Iris"}),
        "trial.data.source",
        ["scikit-learn's 'Iris' is not offered", "one of iris, wine, breast_cancer, digits, diabetes"],
    ),
    (with_trial(data={}), "trial.data.source", ["is missing"]),
    (
        with_trial(data={"source": "sklearn:digits", "split": {"validation": 0.5, "test": 0.5}}),
        "trial.data.split",
        ["leave no rows"],
    ),
    (
        with_trial(data={"source": "sklearn:diabetes", "task": "regression"}, regularization={"label_smoothing": 0.1}),
        "trial.regularization.label_smoothing",
        ["no labels to smooth"],
    ),
    (with_trial(early_stopping={"metric": "val/acuracy"}), "trial.early_stopping.metric", ["mean 'val/accuracy'"]),
]

ENTRIES = [
    ({}, "parameters", ["is empty"]),
    ([], "parameters", ["must be a mapping"]),
    ({"x": 3}, "parameters.x", ["must be a mapping", "{low: …, high: …}"]),
    ({"x": {}}, "parameters.x", ["says no values"]),
    ({"x": {"values": [1], "low": 0, "high": 2}}, "parameters.x", ["both values and low"]),
    ({"x": {"low": 0, "min": 0, "high": 2}}, "parameters.x.min", ["same key as low"]),
    ({"x": {"low": 0}}, "parameters.x.high", ["is missing"]),
    ({"x": {"lwo": 0, "high": 2, "low": 1}}, "parameters.x.lwo", ["did you mean 'low'"]),
    ({"x": {"low": "1e-4", "high": 2}}, "parameters.x.low", ["must be a number", "without quotes"]),
    ({"x": {"low": math.nan, "high": 2}}, "parameters.x.low", ["is NaN"]),
    ({"x": {"low": 0, "high": math.inf}}, "parameters.x.high", ["is infinity"]),
    ({"x": {"low": 2, "high": 1}}, "parameters.x", ["the range is empty", "low 2", "high 1"]),
    ({"x": {"low": 1, "high": 1}}, "parameters.x", ["{value: 1}"]),
    ({"x": {"low": -1e308, "high": 1e308}}, "parameters.x", ["wider than any float"]),
    ({"x": {"low": 0.0, "high": 5e-324}}, "parameters.x", ["narrower than 1e-300", "smaller unit"]),
    ({"x": {"low": 0.0, "high": 1.0, "log": True}}, "parameters.x.low", ["greater than 0", "log"]),
    ({"x": {"low": 1, "high": 9, "log": True, "step": 2}}, "parameters.x.step", ["log scale"]),
    ({"x": {"low": 1, "high": 9, "log": 1}}, "parameters.x.log", ["true or false"]),
    ({"x": {"low": 1, "high": 9, "step": 0}}, "parameters.x.step", ["greater than 0"]),
    ({"x": {"low": 1, "high": 9, "step": 0.5}}, "parameters.x.step", ["whole number", "low: 1.0"]),
    ({"x": {"low": 0.0, "high": 1.0, "step": 1.5}}, "parameters.x.step", ["larger than the range"]),
    ({"x": {"low": 0.0, "high": 1.0, "step": 1e-300}}, "parameters.x.step", ["too small"]),
    ({"x": {"values": []}}, "parameters.x.values", ["is empty"]),
    ({"x": {"values": 3}}, "parameters.x.values", ["must be a list", "{value: …}"]),
    ({"x": {"values": [1, 2, 1.0]}}, "parameters.x.values[2]", ["there already", "values[0]"]),
    ({"x": {"values": [[64], [64.0]]}}, "parameters.x.values[1]", ["there already"]),
    ({"x": {"values": [1], "log": True}}, "parameters.x.log", ["means nothing beside values"]),
    ({"x": {"value": 1, "when": 3}}, "parameters.x.when", ["must name a parameter"]),
    ({"x": {"value": 1, "when": {"y": []}}}, "parameters.x.when.y", ["lists no values"]),
    ({"xs": {"value": 1}, "y": {"value": 2, "when": {"x": 1}}}, "parameters.y.when.x", ["did you mean 'xs'"]),
    ({"x": {"value": 1, "when": {"x": 1}}}, "parameters.x.when.x", ["itself"]),
    ({"x": {"values": [1, 2]}, "y": {"value": 1, "when": {"x": 3}}}, "parameters.y.when.x", ["3 is no value"]),
    ({"x": {"values": [1, 2]}, "y": {"value": 1, "when": {"x": True}}}, "parameters.y.when.x", ["true is no value"]),
    (
        {"x": {"low": 0.0, "high": 1.0}, "y": {"value": 1, "when": {"x": 0.5}}},
        "parameters.y.when.x",
        ["values that can be counted", "step: 0.1"],
    ),
    (
        {"x": {"value": 1, "when": {"y": 1}}, "y": {"value": 1, "when": {"x": 1}}},
        "parameters.x.when",
        ["round in a circle"],
    ),
    (
        # z wants x to be 2, but also y, which wants x to be 1
        {"x": {"values": [1, 2]}, "y": {"value": 0, "when": {"x": 1}}, "z": {"value": 0, "when": {"x": 2, "y": 0}}},
        "parameters.z.when",
        ["can never hold", "x would need two values"],
    ),
]

KNOBS = [
    ({"optimizer.lrr": {"low": 0.1, "high": 0.2}}, "parameters.optimizer.lrr", ["no such knob", "mean 'optimizer.lr'"]),
    ({"optimizer": {"value": {}}}, "parameters.optimizer", ["is a section", "optimizer.lr"]),
    ({"data.split.seed": {"low": 0, "high": 9}}, "parameters.data.split.seed", ["could not be compared"]),
    ({"batch_size": {"low": 0, "high": 9}}, "parameters.batch_size", ["0 is refused", "at least 1"]),
    (
        {"batch_size": {"low": 32.0, "high": 256.0}},
        "parameters.batch_size",
        ["whole number", "both bounds as whole numbers"],
    ),
    ({"regularization.dropout": {"low": 0, "high": 1}}, "parameters.regularization.dropout", ["1 is refused"]),
    ({"lr": {"value": 1.0}}, "parameters.lr", ["did you mean 'optimizer.lr'"]),
    ({"whatever": {"value": 1}}, "parameters.whatever", ["trialyard doctor knobs"]),
    ({"checkpoint.keep": {"value": "last"}}, "parameters.checkpoint.keep", ["cannot be searched; set it below trial"]),
    ({"loss.quantile": {"values": [0.1, 0.9]}}, "parameters.loss.quantile", ["cannot be searched"]),
    ({"model.norm": {"values": ["bacth"]}}, "parameters.model.norm", ["bacth", "did you mean 'batch'"]),
    ({"model.hidden": {"values": [[8], 8]}}, "parameters.model.hidden", ["8 is refused", "must be a list"]),
    ({"early_stopping.metric": {"values": ["val/los"]}}, "parameters.early_stopping.metric", ["mean 'val/loss'"]),
    (
        {"optimizer.momentum": {"low": 0.0, "high": 0.9}},  # the optimizer is AdamW where nothing is said
        "parameters.optimizer.momentum",
        ["acts only with optimizer.name rmsprop or sgd", '"adamw"', "when: {optimizer.name: [rmsprop, sgd]}"],
    ),
    (
        {
            "optimizer.name": {"values": ["adam", "sgd"]},
            "optimizer.momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer.name": "adam"}},
        },
        "parameters.optimizer.momentum",
        ["acts only with", '"adam"'],
    ),
    (
        {"optimizer.name": {"value": "sgd"}, "optimizer.nesterov": {"values": [True, False]}},
        "parameters.optimizer.nesterov",
        ["optimizer.momentum above 0", "is 0.0", "let optimizer.momentum be above 0"],
    ),
    ({"model.cells": {"values": [["conv"]]}}, "parameters.model.cells", ["acts only with model.name cnn", '"mlp"']),
]


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        *SHAPES,
        *((external(entries), path, words) for entries, path, words in ENTRIES),
        *((train(parameters=entries), path, words) for entries, path, words in KNOBS),
    ],
)
def test_one_mistake_is_one_problem_that_names_the_place_and_the_cure(
    document: object, path: str, words: list[str]
) -> None:
    [(found, sentence)] = problems_of(document)

    assert found == path
    for word in words:
        assert word in sentence


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("45s", 45), ("90m", 5400), ("1h30m", 5400), ("2h", 7200), ("1d", 86_400), (90, 90), (0.5, 0.5), (None, None)],
)
def test_a_timeout_is_a_time_or_seconds(value: object, seconds: float | None) -> None:
    assert parse(train(budget={"trials": 1, "timeout": value})).budget.timeout == seconds


def test_problems_come_all_at_once_in_the_order_of_the_document():
    document = train(
        name="A",
        parameters={"optimizer.lr": {"low": math.nan, "high": 1}, "nothing": {"low": 1, "high": 2}},
        budget={"trial": 3},
        trial={"kind": "train", "data": {"source": "x"}, "epochs": 0},
    )

    assert [path for path, _ in problems_of(document)] == [
        "name",
        "parameters.optimizer.lr.low",
        "parameters.nothing",
        "budget.trial",
        "budget.trials",  # missing: at the end of its section
        "trial.data.source",
        "trial.epochs",
    ]


def test_no_more_than_a_hundred_problems_are_told():
    document = train(**{f"key{number}": 1 for number in range(150)})

    assert len(problems_of(document)) <= 101


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a\x00b", "control characters"),
        ("\ud800", "surrogate"),
        (2**53 + 1, "2^53"),
        (math.nan, "NaN"),
        (-math.inf, "infinity"),
    ],
)
def test_what_a_database_cannot_hold_is_refused_wherever_it_stands(value: object, words: str) -> None:
    document = train(trial={"kind": "objective", "name": "mine", "options": {"deep": [{"here": value}]}})

    assert [(path, words in sentence) for path, sentence in problems_of(document)] == [
        ("trial.options.deep[0].here", True)
    ]


def test_depth_and_size_are_bounded():
    deep: object = 1
    for _ in range(5_000):
        deep = [deep]
    endless: list[object] = []
    endless.append(endless)
    doubled: list[object] = []
    for _ in range(30):  # 2^30 values behind thirty lists
        doubled = [doubled, doubled]

    for value, words in [(deep, "deep"), (endless, "deep"), (doubled, "too large"), ("x" * 1_000_000, "bytes")]:
        assert words in problems_of(train(duplicates=value))[0][1]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (100_000, "has 100,000 entries; 10,000 are the most"),
        (300_000, "has 2,288,890 bytes; a study may have 1,000,000 in all"),
        (1_000_000, "has 1,000,000 entries; 500,000 values in all are the most"),
    ],
)
def test_too_many_choices_are_told_with_their_place(count: int, message: str) -> None:
    document = with_parameter("model.hidden", {"values": list(range(count))})

    assert problems_of(document) == [("parameters.model.hidden.values", message)]


def test_what_is_too_large_by_many_small_parts_has_no_place() -> None:
    notes = {f"key-{number}": "x" * 1000 for number in range(1000)}

    assert problems_of(train(notes=notes, more=notes)) == [("study", "has 2,030,098 bytes; a study may have 1,000,000")]


def test_both_bounds_of_a_metric_may_be_the_same():
    bounds = [{"metric": "params", "at_least": 9}, {"metric": "params", "at_most": 9}]

    assert len(parse(train(constraints=bounds)).constraints) == 2


def test_points_are_counted_where_many_conditions_stand_beside_each_other():
    """What a condition has looked at and no later one does is forgotten."""
    pairs = [
        {f"a{place}": {"values": [0, 1]}, f"b{place}": {"values": [1, 2, 3], "when": {f"a{place}": [1]}}}
        for place in range(20)
    ]
    parameters = parse(
        train(parameters={name: each for pair in pairs for name, each in pair.items()}, trial={"kind": "external"})
    ).parameters

    assert Conditions(parameters).size == 4**20  # a pair has the points 0, (1, 1), (1, 2) and (1, 3)


def test_a_number_that_no_float_can_hold_is_refused_before_anything_is_reckoned_with_it():
    huge = 10**400
    for entry in ({"low": 0, "high": huge}, {"low": 0.5, "high": huge}, {"low": 1, "high": huge, "log": True}):
        assert problems_of(with_parameter("optimizer.lr", entry)) == [
            ("parameters.optimizer.lr.high", "is a larger number than any float; write a smaller one")
        ]
    digits = problems_of(with_parameter("optimizer.lr", {"values": [-(10**5_000), 0.5]}))
    assert [path for path, _ in digits] == ["parameters.optimizer.lr.values[0]"]


def bounded(count: int, values: int) -> dict[str, Any]:
    """A study with so many parameters, each under a bound that stands for so many values of another one."""
    others = {f"b{place}": {"low": 0.0, "high": 1.0, "when": {"a": {"at_least": 1}}} for place in range(count)}
    return train(parameters={"a": {"low": 0, "high": values}, **others}, trial={"kind": "external"})


def test_bounds_in_conditions_stand_for_a_number_of_values_in_all():
    [(path, sentence)] = problems_of(bounded(11, 9_999))

    assert path == "parameters.b10.when.a"
    assert sentence.startswith("stands, with the bounds before it, for more than 100,000 values; let a have fewer")


@pytest.mark.parametrize(
    ("bound", "within"),
    [
        ({"at_least": 2, "at_most": 4}, (2, 2.5, 4)),
        ({"at_most": 2}, (1, 2)),
        ({"at_least": 4.5}, (8,)),
        ({}, None),
    ],
)
def test_bounds_go_by_the_numbers_of_a_list_in_whatever_order(bound: dict[str, Any], within: tuple[Any, ...] | None):
    space = {"a": {"values": [8, "3", 2, True, 4, 2.5, 1, [3]]}, "b": {"low": 0.0, "high": 1.0, "when": {"a": bound}}}
    document = train(parameters=space, trial={"kind": "external"})
    if within is None:
        [(path, _)] = problems_of(document)
        assert path == "parameters.b.when.a"
    else:
        assert parse(document).parameters["b"].when == {"a": within}


def test_a_study_that_is_accepted_can_be_read_again():
    definition = parse(bounded(4, 9_999))
    assert parse(definition.document()) == definition
    large = bounded(4, 9_999) | {"trial": {"kind": "objective", "name": "mine", "options": {"text": "x" * 800_000}}}

    [(path, sentence)] = problems_of(large)
    assert path == "study"
    assert "bytes with its defaults and the values that its conditions let in; a study may have 1,000,000" in sentence


def test_a_value_that_the_rest_of_the_trial_does_not_allow_is_named_at_its_parameter():
    trial = {
        "kind": "train",
        "data": {"source": "sklearn:diabetes", "task": "regression"},
        "regularization": {"label_smoothing": 0.1},
    }
    document = train(parameters={"regularization.label_smoothing": {"values": [0.0, 0.1]}}, trial=trial)

    [(path, sentence)] = problems_of(document)
    assert (path, "0.1 is refused: a regression has no labels" in sentence) == (
        "parameters.regularization.label_smoothing",
        True,
    )


def test_a_knob_that_acts_for_some_values_is_accepted():
    knobs = {"optimizer.name": {"values": ["adam", "sgd"]}, "optimizer.momentum": {"low": 0.0, "high": 0.9}}

    assert parse(train(parameters=knobs)).kind == "train"


DIGITS = {"source": "sklearn:digits"}
IDLE = [
    (
        {"optimizer": {"name": "sgd", "nesterov": True}},
        "trial.optimizer.nesterov",
        ["optimizer.name sgd and optimizer.momentum above 0", "here optimizer.momentum is 0.0", "or leave this out"],
    ),
    ({"optimizer": {"momentum": 0.9}}, "trial.optimizer.momentum", ["rmsprop or sgd", 'is "adamw"']),
    ({"optimizer": {"lookahead_size": 0.8}}, "trial.optimizer.lookahead_size", ["lookahead_steps above 0"]),
    ({"regularization": {"snapshots": 3}}, "trial.regularization.snapshots", ["schedule.name cosine_restarts"]),
    ({"regularization": {"swa_start": 0.5}}, "trial.regularization.swa_start", ["let regularization.swa be true"]),
    ({"regularization": {"dropout_shape": "funnel"}}, "trial.regularization.dropout_shape", ["dropout above 0"]),
    (
        {"regularization": {"stochastic_depth": 0.2}},
        "trial.regularization.stochastic_depth",
        ["or with model.name cnn and model.cell inverted or residual", 'here model.skip is "none"'],
    ),
    ({"model": {"name": "linear", "hidden": [8]}}, "trial.model.hidden", ["embedding_bag or mlp", '"linear"']),
    ({"compression": {"share": 0.9}}, "trial.compression.share", ["magnitude or units", 'is "none"']),
    ({"compression": {"name": "units", "end": 0.9}}, "trial.compression.end", ["above 1; here compression.steps is 1"]),
    ({"data": {**DIGITS, "vocabulary": 50}}, "trial.data.vocabulary", ["data.text given", "data.text is null"]),
    ({"data": {**DIGITS, "augment": {"probability": 0.5}}}, "trial.data.augment.probability", ["cutmix above 0, or"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            train(sampler={"name": "tpe", "group": True, "multivariate": False}),
            Problem("sampler", "group works only with multivariate", "leave out multivariate: false"),
        ),
        (
            with_trial(data={**DIGITS, "task": "regression"}, regularization={"label_smoothing": 0.1}),
            Problem("trial.regularization.label_smoothing", "a regression has no labels to smooth", "set it to 0"),
        ),
        (
            train(resources={"gpus": 2, "processes": 2}),
            Problem("resources", "each GPU has one process", "leave processes out, or gpus 2"),
        ),
        (
            train(pruner={"name": "threshold", "lower": 2, "upper": 1}),
            Problem("pruner", "lower 2 is above upper 1", "exchange them"),
        ),
    ],
)
def test_what_is_wrong_and_what_would_be_right_are_told_apart(document: dict[str, Any], problem: Problem) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(document)

    assert problem in caught.value.problems


RATE = {"optimizer.lr": {"low": 0.25, "high": 1.25}}
WIDTH = {"batch_size": {"low": 1, "high": 8}}


@pytest.mark.parametrize(
    ("parameters", "when", "path", "message", "hint"),
    [
        (
            RATE, {"optimizer.lr": {"at_least": 0.5}}, "optimizer.lr",
            "is a range of floats without a step, and a condition goes by values that can be counted",
            "give optimizer.lr a step, as in step: 0.1, or list its values",
        ),
        (
            {"optimizer.lr": {"low": 0.25, "high": 1.25, "log": True}}, {"optimizer.lr": {"at_most": 0.5}},
            "optimizer.lr",
            "is a range of floats without a step, and a condition goes by values that can be counted",
            "list the values of optimizer.lr",  # on a log scale a step cannot be had
        ),
        (
            {"optimizer.lr": {"low": 0.25, "high": 1.25, "step": 1e-6}}, {"optimizer.lr": {"at_least": 0.5}},
            "optimizer.lr", "has 1,000,001 values, and bounds are for 10,000 at most",
            "let optimizer.lr have fewer values, or list here those that are meant",
        ),
        (
            WIDTH, {"batch_size": {"at_lest": 5}}, "batch_size",
            '{"at_lest": 5} is no value that it can have', "for bounds write at_least, at_most or both",
        ),
        (WIDTH, {"batch_size": {"at_least": "5"}}, "batch_size.at_least", 'must be a number, not "5"',
         "write it without quotes"),
        (WIDTH, {"batch_size": {"at_least": [5]}}, "batch_size.at_least", "must be a number, not [5]",
         "or list the values themselves"),
    ],
)  # fmt: skip
def test_a_condition_that_cannot_be_met_says_what_would_be_one(
    parameters: dict[str, Any], when: dict[str, Any], path: str, message: str, hint: str
) -> None:
    document = train(parameters={**parameters, "epochs": {"low": 1, "high": 9, "when": when}})

    with pytest.raises(DefinitionError) as caught:
        parse(document)

    assert Problem(f"parameters.epochs.when.{path}", message, hint) in caught.value.problems


def test_folds_may_be_asked_for_beside_the_split_that_they_take_the_place_of() -> None:
    split = {"validation": 0.4, "test": 0.2, "stratify": False}
    document = with_trial(data={**DIGITS, "split": split}, cross_validation={"folds": 5})
    assert submitted(document).trial["data"]["split"] == split


TEXTS = {"source": "file:messages.csv", "text": "message"}


@pytest.mark.parametrize(
    ("sections", "model"),
    [
        ({}, {"name": "embedding_bag"}),
        ({"model": {"width": 32}}, {"name": "embedding_bag", "width": 32}),
        ({"model": {"name": "text_cnn"}}, {"name": "text_cnn"}),
    ],
)
def test_texts_are_read_by_a_model_of_texts_if_none_is_named(sections: dict[str, Any], model: dict[str, Any]) -> None:
    parameters = {"model.width": {"values": [16, 32]}} if not sections else {"optimizer.lr": {"low": 0.01, "high": 0.1}}
    definition = submitted(with_trial(data=TEXTS, **sections) | {"parameters": parameters})

    assert definition.trial["model"] == model
    assert parse(definition.document()) == definition


def test_what_begins_with_another_model_is_given_no_name() -> None:
    with pytest.raises(DefinitionError, match=r"mlp cannot read data\.text"):
        submitted(with_trial(data=TEXTS, model={"source": "hf:some/model"}))


@pytest.mark.parametrize("more", [{}, {"with_margin": True}, {"lr_adapt": True}])
def test_a_generation_of_a_single_parent_is_refused_of_a_new_study(more: dict[str, Any]) -> None:
    document = train(sampler={"name": "cmaes", "popsize": 3, **more})

    with pytest.raises(DefinitionError) as caught:
        submitted(document)

    [problem] = caught.value.problems
    assert (problem.path, problem.hint) == ("sampler.popsize", "at least 4, or leave it out")
    assert parse(document).sampler.name == "cmaes"  # one that is stored stays readable


@pytest.mark.parametrize("sampler", [{"popsize": 4}, {"popsize": 3, "use_separable_cma": True}, {}])
def test_a_generation_that_can_be_learned_from_is_accepted(sampler: dict[str, Any]) -> None:
    assert submitted(train(sampler={"name": "cmaes", **sampler})).sampler.name == "cmaes"


@pytest.mark.parametrize(("trial", "path", "words"), IDLE)
def test_a_knob_of_the_trial_that_no_trial_can_use_is_refused_of_a_new_study(
    trial: dict[str, Any], path: str, words: list[str]
) -> None:
    document = with_trial(**trial)

    with pytest.raises(DefinitionError) as caught:
        submitted(document)

    [problem] = caught.value.problems
    assert problem.path == path
    for word in words:
        assert word in f"{problem.message}; {problem.hint}"
    assert parse(document).trial["data"]["source"] == "sklearn:digits"  # one that is stored stays readable


@pytest.mark.parametrize(
    ("parameters", "trial"),
    [
        ({"optimizer.name": {"values": ["adam", "sgd"]}}, {"optimizer": {"momentum": 0.9, "nesterov": True}}),
        ({"optimizer.momentum": {"low": 0.0, "high": 0.9}}, {"optimizer": {"name": "sgd", "nesterov": True}}),
        # where the parameter takes no part, the trial's own momentum counts
        (
            {"epochs": {"values": [2, 3]}, "optimizer.momentum": {"value": 0.0, "when": {"epochs": 2}}},
            {"optimizer": {"name": "sgd", "nesterov": True, "momentum": 0.5}},
        ),
        ({"schedule.name": {"values": ["cosine", "cosine_restarts"]}}, {"regularization": {"snapshots": 3}}),
        ({"model.skip": {"values": ["none", "standard"]}}, {"regularization": {"stochastic_depth": 0.2}}),
        ({"model.hidden.0": {"low": 4, "high": 8}}, {"regularization": {"dropout": 0.1, "dropout_shape": "funnel"}}),
        ({"epochs": {"low": 1, "high": 3}}, {"optimizer": {"momentum": 0.0}, "compression": {"name": "none"}}),
        # of a perceptron, a depth says how many layers are searched one by one
        ({f"model.hidden.{place}": {"low": 4, "high": 8} for place in range(2)}, {"model": {"depth": 2}}),
    ],
)
def test_a_knob_of_the_trial_that_some_trial_can_use_is_accepted(parameters: dict[str, Any], trial: dict[str, Any]):
    assert submitted({**with_trial(**trial), "parameters": parameters}).kind == "train"


def test_a_grid_without_trials_has_as_many_as_it_has_points():
    entries = {"a": {"values": [1, 2, 3]}, "b": {"low": 0, "high": 10, "step": 5}}  # 3 × (0, 5, 10)

    assert parse(external(entries, sampler={"name": "grid"}, budget={})).budget.trials == 9
    assert parse(external(entries, sampler={"name": "grid"}, budget=None) | {"budget": {}}).budget.trials == 9
    assert parse(external(entries, sampler={"name": "grid"}, budget={"trials": 4})).budget.trials == 4


def test_a_grid_needs_an_end():
    endless = external({"x": {"low": 0.0, "high": 1.0}}, sampler={"name": "grid"})
    vast = external({f"p{k}": {"low": 1, "high": 1000} for k in range(4)}, sampler={"name": "grid"}, budget={})

    assert problems_of(endless)[0][0] == "parameters.x"
    assert problems_of(vast) == [
        (
            "budget.trials",
            "is missing, and the grid has 1,000,000,000,000 points; say how many of them to try, at most 1,000,000",
        )
    ]


def test_what_is_left_out_is_filled_in_and_stays_the_same_afterwards():
    document = train(sampler={"name": "tpe"}, pruner={"name": "hyperband"}, trial={"data": {"source": "sklearn:iris"}})
    definition = parse(document)
    stored = definition.document()

    assert stored["trial"]["kind"] == "train"
    assert stored["pruner"]["max_resource"] == 20  # the trainer's own default of epochs
    assert 0 <= stored["sampler"]["seed"] < 2**32
    defaults = dict.fromkeys(["parallel", "timeout", "device_hours", "target", "patience_trials"])
    assert stored["budget"] == {"trials": 10, "retries": 2, "max_failed": 10} | defaults
    assert parse(stored) == definition
    assert parse(document).sampler != definition.sampler  # another seed


def test_hyperband_reaches_as_far_as_the_longest_training():
    knobs = {"epochs": {"low": 5, "high": 81}}

    assert parse(train(parameters=knobs, pruner={"name": "hyperband"})).pruner.options["max_resource"] == 81


def test_parameters_are_put_in_at_their_paths():
    definition = parse(train(trial={"kind": "train", "data": {"source": "sklearn:digits"}, "early_stopping": None}))

    resolved = definition.resolve({"optimizer.lr": 0.5, "early_stopping.patience": 3, "epochs": 9})

    assert resolved == {
        "kind": "train",
        "data": {"source": "sklearn:digits"},
        "early_stopping": {"patience": 3},
        "optimizer": {"lr": 0.5},
        "epochs": 9,
    }
    assert definition.trial["early_stopping"] is None


def test_other_trials_are_handed_on_as_they_are():
    definition = parse(external({"x.y": {"low": 0, "high": 3}}))

    assert definition.resolve({"x.y": 2}) == {"kind": "external"}


def test_corners_show_every_extreme_with_few_points():
    knobs = {
        "optimizer.name": {"values": ["adamw", "sgd", "rmsprop"]},
        "optimizer.momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer.name": ["sgd"]}},
        "batch_size": {"values": [32, 64, 128]},  # numbers: the smallest and the largest will do
        "model.hidden": {"values": [[8], [16], [32]]},
    }
    corners = parse(train(parameters=knobs)).corners()

    shown = [
        (each["optimizer"]["name"], each["optimizer"].get("momentum"), each["batch_size"], each["model"]["hidden"])
        for each in corners
    ]
    assert shown == [
        ("adamw", None, 32, [8]),  # all low
        ("rmsprop", None, 128, [32]),  # all high
        ("sgd", 0.0, 32, [8]),
        ("sgd", 0.9, 32, [8]),
        ("adamw", None, 32, [16]),
    ]


def test_reading_a_definition_needs_neither_optuna_nor_torch():
    code = "import sys, search.definition; print(sorted({'optuna', 'torch'} & sys.modules.keys()))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


ONE = {"metric": "val/loss", "direction": "minimize"}


@pytest.mark.parametrize(
    ("sections", "search"),
    [
        ({}, ("auto", "asha")),
        ({"sampler": {"name": "auto"}}, ("auto", "asha")),
        ({"pruner": {"name": "none"}}, ("auto", "none")),
        ({"sampler": {"name": "random"}}, ("random", "none")),
        ({"budget": {"trials": 20}}, ("auto", "asha")),
        ({"budget": {"trials": 19}}, ("auto", "none")),
        ({"deterministic": True, "budget": {"trials": 4, "parallel": 2}}, ("auto", "none")),
        ({"objective": [ONE, {"metric": "params", "direction": "minimize"}]}, ("auto", "none")),
        ({"objective": {"metric": "params", "direction": "minimize"}}, ("auto", "none")),
        ({"trial": {"data": {"source": "sklearn:iris"}, "epochs": 2}}, ("auto", "none")),
        ({"trial": {"data": {"source": "sklearn:iris"}, "epochs": 3}}, ("auto", "asha")),
        ({"parameters": {"epochs": {"low": 5, "high": 50}}}, ("auto", "none")),
    ],
)
def test_who_chooses_no_search_gets_auto_and_asha_where_trials_can_wait(
    sections: dict[str, Any], search: tuple[str, str]
):
    document = train(sampler=None, pruner=None, objective=ONE, budget={"trials": 40}) | sections
    definition = parse(document)

    assert (definition.sampler.name, definition.pruner.name) == search
    assert parse(definition.document()) == definition


@pytest.mark.parametrize("section", ["sampler", "pruner", "budget"])
@pytest.mark.parametrize("value", ["asha", 5, [1], None])
def test_a_section_that_is_no_mapping_is_told_so(section: str, value: object):
    document = {**train(sampler={"name": "grid"}, parameters={"batch_size": {"values": [8, 16]}}), section: value}

    with pytest.raises(DefinitionError) as error:
        parse(document)
    assert [(each.path, each.message.split(",")[0]) for each in error.value.problems] == [
        (section, "must be a mapping of keys to values")
    ]


def test_trials_of_other_kinds_run_to_their_end_unless_told_otherwise():
    document = external({"x": {"low": 0.0, "high": 1.0}})
    definition = parse({key: value for key, value in document.items() if key != "sampler"})

    assert (definition.sampler.name, definition.pruner.name) == ("auto", "none")


FITTING_TOGETHER: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"model.groups": {"values": [4, 6]}},
        {"model": {"norm": "group", "hidden": [12]}},
    ),  # 8, the default, does not fit
    ({"model.groups": {"values": [4, 6]}, "model.hidden": {"values": [[12], [24]]}}, {"model": {"norm": "group"}}),
    ({"model.heads": {"values": [2, 3]}}, {"model": {"name": "ft_transformer", "width": 30}}),
    ({"model.width": {"values": [30]}, "model.heads": {"values": [3, 5]}}, {"model": {"name": "ft_transformer"}}),
]


@pytest.mark.parametrize(("parameters", "trial"), FITTING_TOGETHER)
def test_a_knob_is_not_refused_for_a_value_that_no_trial_has(parameters: dict[str, Any], trial: dict[str, Any]):
    assert parse(with_trial(**trial) | {"parameters": parameters}).told()["data.source"] == "sklearn:digits"


def test_a_trial_that_is_one_with_its_parameters_only_tells_what_it_says_all_the_same():
    parameters = {
        "model.source": {"values": ["hf:a", "hf:b"]},
        "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
    }
    study = parse(with_trial(model={"name": "pretrained"}, optimizer={"lr": 3e-3}) | {"parameters": parameters})

    told = study.told()
    assert (told["model.name"], told["optimizer.lr"], told["batch_size"]) == ("pretrained", 3e-3, 128)
    assert "model.source" not in told  # nobody says which
    assert Fitting(study).point({"model.source": "hf:b"}) == {"model.source": "hf:b", "optimizer.lr": 3e-3}


def test_values_that_must_fit_each_other_are_told_as_far_as_they_do():
    parameters = {"compression.begin": {"low": 0.1, "high": 0.2}, "compression.end": {"low": 0.3, "high": 0.4}}
    study = parse(with_trial(compression={"name": "units", "steps": 2, "begin": 0.9}) | {"parameters": parameters})

    assert study.told().keys() & parameters.keys() == {"compression.end"}


def test_of_knobs_that_must_fit_each_other_the_value_that_does_not_is_named():
    document = with_trial(model={"norm": "group", "hidden": [12]})
    [(path, sentence)] = problems_of(document | {"parameters": {"model.groups": {"values": [4, 5]}}})
    assert (path, "5 groups do not divide a width of 12" in sentence) == ("parameters.model.groups", True)

    some = {"model.groups": {"values": [4, 6]}, "model.hidden": {"values": [[12], [16]]}}
    [(path, sentence)] = problems_of(with_trial(model={"norm": "group"}) | {"parameters": some})
    assert (path, "6 groups do not divide a width of 16" in sentence) == ("parameters", True)

    [(path, sentence)] = problems_of(document | {"parameters": {"optimizer.lr": {"low": 0.1, "high": 0.2}}})
    assert (path, "8 groups do not divide a width of 12" in sentence) == ("trial.model.groups", True)


def test_a_sampler_whose_name_is_no_text_is_refused_whatever_else_the_study_has():
    for also in ({"warm_start": {"studies": ["earlier"]}}, {"constraints": [{"metric": "model_size", "at_most": 3}]}):
        problems = problems_of(with_trial() | also | {"sampler": {"name": ["tpe"]}})
        assert "sampler.name" in [path for path, _ in problems]
