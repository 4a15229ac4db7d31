"""Definitions of other tools, as their documentation writes them, and the studies that they become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from typer.testing import CliRunner

from search.definition import parse
from trialyard.cli import app
from trialyard.importing.foreign import Unreadable
from trialyard.importing.study import Form, Given, convert, slug
from trialyard.study_file import from_yaml

EXTERNAL = {"kind": "external"}
GIVEN = Given("from-a-file", metric="loss", direction="minimize", trials=10, trial=EXTERNAL)


def study(text: str, form: Form, given: Given = GIVEN) -> dict[str, Any]:
    """The study that the text becomes, which the service accepts as it is."""
    document = from_yaml(convert(text, form, given).text)
    parse(document)
    return document


def parameters(text: str, form: Form) -> dict[str, Any]:
    found: dict[str, Any] = study(text, form)["parameters"]
    return found


def problems(text: str, form: Form, given: Given = GIVEN) -> dict[str, str]:
    with pytest.raises(Unreadable) as caught:
        convert(text, form, given)
    return {each.path: each.message for each in caught.value.problems}


SWEEP = """
program: train.py
command: ["${env}", "python", "${program}", "${args}"]
project: digits
name: Digits sweep (v2)
method: bayes
metric: {name: val_loss, goal: minimize, target: 0.05}
run_cap: 40
early_terminate: {type: hyperband, min_iter: 3}
parameters:
  epochs: {value: 27}
  optimizer: {values: [adam, sgd, "no"]}
  batch_size: {values: [32, 64], probabilities: [0.5, 0.5]}
  layers: {min: 1, max: 8}
  dropout: {min: 0.0, max: 0.6}
  lr: {distribution: log_uniform_values, min: 1e-5, max: 1e-1}
  weight_decay: {distribution: log_uniform, min: -9.210340371976182, max: 0}
  momentum: {distribution: inv_log_uniform, min: 0, max: 2.302585092994046}
  width: {distribution: q_uniform, min: 16, max: 256, q: 16}
  smoothing: {distribution: q_uniform, min: 0.0, max: 0.3, q: 0.1}
  hidden: {distribution: q_log_uniform_values, min: 8, max: 512}
  depth: {distribution: q_log_uniform, min: 0, max: 3.4657359027997265}
  head:
    parameters:
      size: {distribution: int_uniform, min: 1, max: 4}
"""


def test_a_sweep_becomes_a_study_with_the_same_ranges() -> None:
    document = study(SWEEP, "wandb", Given("file", trial=EXTERNAL))

    weight_decay, momentum = document["parameters"].pop("weight_decay"), document["parameters"].pop("momentum")
    assert document == {
        "name": "digits-sweep-v2",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "parameters": {
            "epochs": {"value": 27},
            "optimizer": {"values": ["adam", "sgd", "no"]},
            "batch_size": {"values": [32, 64]},
            "layers": {"low": 1, "high": 8},
            "dropout": {"low": 0.0, "high": 0.6},
            "lr": {"low": 1e-5, "high": 0.1, "log": True},
            "width": {"low": 16, "high": 256, "step": 16},
            "smoothing": {"low": 0.0, "high": 0.3, "step": 0.1},
            "hidden": {"low": 8, "high": 512, "log": True},  # q is 1 if left out
            "depth": {"low": 1, "high": 32, "log": True},  # exp(0), exp(ln 32)
            "head.size": {"low": 1, "high": 4},
        },
        "sampler": {"name": "tpe"},
        "pruner": {"name": "successive_halving", "min_resource": 3, "reduction_factor": 3},
        "budget": {"trials": 40, "target": 0.05},
        "trial": {"kind": "external"},
    }
    # The bounds of log_uniform are exponents: exp(-9.21034…) = 1e-4. Those of its inverse are of 1/x: x from 0.1 to 1.
    assert weight_decay == {"low": pytest.approx(1e-4, rel=1e-12), "high": 1.0, "log": True}
    assert momentum == {"low": pytest.approx(0.1, rel=1e-12), "high": 1.0, "log": True}


def test_what_a_sweep_says_and_no_study_can_is_named_with_its_place() -> None:
    text = """
    method: random
    early_terminate: {type: hyperband, max_iter: 27}
    parameters:
      a: {distribution: normal, mu: 0, sigma: 1}
      b: {values: [1, 2], probabilities: [0.9, 0.1]}
      c: {distribution: q_log_uniform_values, min: 1, max: 64, q: 8}
      d: {distribution: q_uniform, min: 1, max: 100, q: 8}
      e: {distribution: beta, min: 0, max: 1}
      f: {low: 1, high: 2}
      g: {min: 1, max: 2, scale: log}
      h: {distribution: log_uniform, min: 32, max: 1024}
    surprise: 1
    """

    assert problems(text, "wandb").keys() == {
        "early_terminate.min_iter",
        "parameters.a.distribution",
        "parameters.b.probabilities",
        "parameters.c",
        "parameters.d",
        "parameters.e.distribution",
        "parameters.f",
        "parameters.f.low",
        "parameters.f.high",
        "parameters.g.scale",
        "parameters.h",
        "surprise",
    }


def test_the_rungs_of_a_sweep_may_be_counted_from_its_last_step() -> None:
    text = """
    method: random
    early_terminate: {type: hyperband, eta: 3, max_iter: 27, s: 2}
    parameters: {a: {min: 0.0, max: 1.0}}
    """

    # rungs at 27 / 3 and 27 / 9
    assert study(text, "wandb")["pruner"] == {"name": "successive_halving", "min_resource": 3, "reduction_factor": 3}


EXPERIMENT = """
apiVersion: kubeflow.org/v1beta1
kind: Experiment
metadata: {namespace: kubeflow, name: tpe-example}
spec:
  objective: {type: maximize, goal: 0.99, objectiveMetricName: accuracy, additionalMetricNames: [loss]}
  algorithm:
    algorithmName: tpe
    algorithmSettings:
      - {name: random_state, value: "10"}
      - {name: n_startup_trials, value: "5"}
  earlyStopping:
    algorithmName: medianstop
    algorithmSettings:
      - {name: start_step, value: "2"}
  parallelTrialCount: 3
  maxTrialCount: 12
  maxFailedTrialCount: 3
  parameters:
    - {name: lr, parameterType: double, feasibleSpace: {min: "0.0001", max: "1", distribution: logUniform}}
    - {name: momentum, parameterType: double, feasibleSpace: {min: "0", max: "0.9", step: "0.3"}}
    - {name: num-layers, parameterType: int, feasibleSpace: {min: "2", max: "5"}}
    - {name: units, parameterType: int, feasibleSpace: {min: "32", max: "128", step: "32"}}
    - {name: batch, parameterType: discrete, feasibleSpace: {list: ["64", "128"]}}
    - {name: rate, parameterType: discrete, feasibleSpace: {list: ["0.5", "1"]}}
    - {name: optimizer, parameterType: categorical, feasibleSpace: {list: [sgd, adam, "1e-4"]}}
  trialTemplate: {primaryContainerName: training, trialParameters: []}
"""


def test_an_experiment_becomes_a_study_and_its_quoted_numbers_become_numbers() -> None:
    assert study(EXPERIMENT, "katib", Given("file", trial=EXTERNAL)) == {
        "name": "tpe-example",
        "objective": {"metric": "accuracy", "direction": "maximize"},
        "parameters": {
            "lr": {"low": 0.0001, "high": 1.0, "log": True},  # a double, although its bound is written "1"
            "momentum": {"low": 0.0, "high": 0.9, "step": 0.3},
            "num-layers": {"low": 2, "high": 5},
            "units": {"low": 32, "high": 128, "step": 32},
            "batch": {"values": [64, 128]},
            "rate": {"values": [0.5, 1]},
            "optimizer": {"values": ["sgd", "adam", "1e-4"]},  # categories stay text
        },
        "sampler": {"name": "tpe", "multivariate": False, "seed": 10, "n_startup_trials": 5},
        "pruner": {"name": "median", "n_startup_trials": 3, "n_warmup_steps": 2},
        "budget": {"trials": 12, "target": 0.99, "parallel": 3, "max_failed": 3},
        "trial": {"kind": "external"},
    }


def test_medianstop_without_settings_has_katibs_defaults() -> None:
    text = """
    spec:
      objective: {type: minimize, objectiveMetricName: loss}
      algorithm: {algorithmName: random}
      earlyStopping: {algorithmName: medianstop}
      parameters: [{name: lr, parameterType: double, feasibleSpace: {min: "0.01", max: "0.1"}}]
    """
    assert study(text, "katib")["pruner"] == {"name": "median", "n_startup_trials": 3, "n_warmup_steps": 4}


@pytest.mark.parametrize("name", ["n_ei_candidates", "n_EI_candidates"])
def test_the_candidates_of_tpe_have_two_names_in_experiments(name: str) -> None:
    settings = f"[{{name: {name}, value: '30'}}]"
    text = f"""
    spec:
      objective: {{type: minimize, objectiveMetricName: loss}}
      algorithm: {{algorithmName: tpe, algorithmSettings: {settings}}}
      parameters: [{{name: lr, parameterType: double, feasibleSpace: {{min: "0.01", max: "0.1"}}}}]
    """
    assert study(text, "katib")["sampler"] == {"name": "tpe", "multivariate": False, "n_ei_candidates": 30}


def test_what_an_experiment_says_and_no_study_can_is_named_with_its_place() -> None:
    text = """
    kind: Experiment
    spec:
      objective: {type: minimize, objectiveMetricName: loss}
      algorithm: {algorithmName: enas}
      nasConfig: {graphConfig: {}}
      parameters:
        - {name: a, parameterType: double, feasibleSpace: {min: "0", max: "1", distribution: normal}}
        - {name: b, parameterType: int, feasibleSpace: {min: "1", max: "ten"}}
        - {name: c, parameterType: double, feasibleSpace: {min: "1", max: "9", step: "2", distribution: logUniform}}
        - {name: d, parameterType: int, feasibleSpace: {min: "1", max: "9"}}
        - {name: d, parameterType: int, feasibleSpace: {min: "1", max: "3"}}
    """

    assert problems(text, "katib").keys() >= {
        "spec.algorithm.algorithmName",
        "spec.nasConfig",
        "spec.parameters[0].feasibleSpace.distribution",
        "spec.parameters[1].feasibleSpace.max",
        "spec.parameters[2].feasibleSpace.step",
        "spec.parameters[4].name",
    }


DISTRIBUTIONS = {
    "lr": FloatDistribution(1e-5, 0.1, log=True),
    "dropout": FloatDistribution(0.0, 0.5, step=0.25),
    "depth": IntDistribution(1, 9, step=2),
    "width": IntDistribution(8, 512, log=True),
    "seed": IntDistribution(3, 3),
    "optimizer": CategoricalDistribution(("adam", None, 2, 0.5, True)),
}
AS_ENTRIES = {
    "lr": {"low": 1e-5, "high": 0.1, "log": True},
    "dropout": {"low": 0.0, "high": 0.5, "step": 0.25},
    "depth": {"low": 1, "high": 9, "step": 2},
    "width": {"low": 8, "high": 512, "log": True},
    "seed": {"value": 3},
    "optimizer": {"values": ["adam", None, 2, 0.5, True]},
}


@pytest.mark.parametrize("as_text", [True, False])
def test_distributions_that_optuna_wrote_become_entries(as_text: bool) -> None:
    written = {name: distribution_to_json(each) for name, each in DISTRIBUTIONS.items()}
    text = json.dumps(written if as_text else {name: json.loads(each) for name, each in written.items()})

    assert parameters(text, "optuna") == AS_ENTRIES


def test_optunas_short_form_and_its_old_names_are_read_too() -> None:
    text = """{
        "a": {"type": "float", "low": 0, "high": 1},
        "b": {"name": "DiscreteUniformDistribution", "attributes": {"low": 0.0, "high": 1.0, "q": 0.5}},
        "c": {"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 8, "step": 1}},
        "d": {"name": "LogUniformDistribution", "attributes": {"low": 0.5, "high": 8}}
    }"""

    assert parameters(text, "optuna") == {
        "a": {"low": 0.0, "high": 1.0},
        "b": {"low": 0.0, "high": 1.0, "step": 0.5},
        "c": {"low": 1, "high": 8, "log": True},
        "d": {"low": 0.5, "high": 8.0, "log": True},
    }
    assert problems('{"a": {"name": "GaussDistribution", "attributes": {}}}', "optuna").keys() == {"a"}


SEARCH_SPACE = """{
    "conv_size": {"_type": "choice", "_value": [2, 3, 5, 7]},
    "seed": {"_type": "randint", "_value": [7, 10]},
    "old": {"_type": "randint", "_value": [3]},
    "dropout": {"_type": "uniform", "_value": [0, 1]},
    "hidden": {"_type": "quniform", "_value": [16, 64, 16]},
    "lr": {"_type": "loguniform", "_value": [0.0001, 0.1]},
    "units": {"_type": "qloguniform", "_value": [1, 64, 1]},
    "layer": {"_type": "choice", "_value": [
        {"_name": "empty"},
        {"_name": "conv", "kernel": {"_type": "choice", "_value": [1, 3]}},
        {"_name": "pool", "kernel": {"_type": "choice", "_value": [1, 3]},
         "stride": {"_type": "randint", "_value": [1, 3]}}
    ]}
}"""


def test_a_search_space_of_nni_becomes_entries_and_randint_leaves_out_its_top() -> None:
    assert parameters(SEARCH_SPACE, "nni") == {
        "conv_size": {"values": [2, 3, 5, 7]},
        "seed": {"low": 7, "high": 9},  # [7, 10)
        "old": {"low": 0, "high": 2},  # [0, 3)
        "dropout": {"low": 0.0, "high": 1.0},
        "hidden": {"low": 16, "high": 64, "step": 16},
        "lr": {"low": 0.0001, "high": 0.1, "log": True},
        "units": {"low": 1, "high": 64, "log": True},
        "layer": {"values": ["empty", "conv", "pool"]},
        "layer.kernel": {"values": [1, 3], "when": {"layer": ["conv", "pool"]}},
        "layer.stride": {"low": 1, "high": 2, "when": {"layer": ["pool"]}},
    }


@pytest.mark.parametrize(
    ("text", "form", "place"),
    [
        (
            "method: random\nparameters: {o.lr: {values: [1]}, o: {parameters: {lr: {values: [2]}, m: {values: [3]}}}}",
            "wandb",
            "parameters.o",
        ),
        (
            '{"m.h": {"_type": "choice", "_value": [1, 2]}, "m": {"_type": "choice", "_value": [{"_name": "b", "h": '
            '{"_type": "choice", "_value": [1, 2]}}]}}',
            "nni",
            "m._value[0].h",
        ),
        (
            '{"m": {"_type": "choice", "_value": [{"_name": "b", "h": {"_type": "choice", "_value": [1, 2]}}]}, '
            '"m.h": {"_type": "choice", "_value": [1, 2]}}',
            "nni",
            "m.h",
        ),
    ],
)
def test_two_entries_that_come_to_one_name_are_told(text: str, form: Form, place: str) -> None:
    assert list(problems(text, form)) == [place]


def test_what_nni_samples_without_bounds_is_named_with_its_place() -> None:
    text = '{"a": {"_type": "qnormal", "_value": [0, 1, 1]}, "b": {"_type": "quniform", "_value": [0, 10, 3]}}'

    assert problems(text, "nni").keys() == {"a._type", "b"}


STUDY_CONFIG = """
displayName: lr search
studySpec:
  algorithm: RANDOM_SEARCH
  metrics:
    - {metricId: accuracy, goal: MAXIMIZE}
    - {metricId: latency, goal: MINIMIZE}
  medianAutomatedStoppingSpec: {useElapsedDuration: false}
  parameters:
    - {parameterId: lr, scaleType: UNIT_LOG_SCALE, doubleValueSpec: {minValue: 0.0001, maxValue: 1}}
    - {parameterId: layers, integerValueSpec: {minValue: "1", maxValue: "3"}, scaleType: UNIT_LINEAR_SCALE}
    - {parameterId: batch, discreteValueSpec: {values: [16, 32]}}
    - parameterId: optimizer
      categoricalValueSpec: {values: [adam, sgd]}
      conditionalParameterSpecs:
        - parentCategoricalValues: {values: [sgd]}
          parameterSpec: {parameterId: momentum, doubleValueSpec: {maxValue: 0.9}}
maxTrialCount: 20
parallelTrialCount: 4
"""


def test_a_study_configuration_of_vizier_becomes_a_study_with_its_conditions() -> None:
    document = from_yaml(convert(STUDY_CONFIG, "vizier", Given("file", trial=EXTERNAL)).text)

    assert document == {
        "name": "lr-search",
        "objective": [
            {"metric": "accuracy", "direction": "maximize"},
            {"metric": "latency", "direction": "minimize"},
        ],
        "parameters": {
            "lr": {"low": 0.0001, "high": 1.0, "log": True},
            "layers": {"low": 1, "high": 3},
            "batch": {"values": [16, 32]},
            "optimizer": {"values": ["adam", "sgd"]},
            "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": ["sgd"]}},  # a zero is left out by protobuf
        },
        "sampler": {"name": "random"},
        "pruner": {"name": "median"},
        "budget": {"trials": 20, "parallel": 4},
        "trial": {"kind": "external"},
    }


def test_the_names_of_protocol_buffers_are_read_as_those_of_json() -> None:
    text = """
    metrics: [{metric_id: y, goal: MINIMIZE}]
    parameters:
      - {parameter_id: x, double_value_spec: {min_value: -1, max_value: 1}}
    """

    assert parameters(text, "vizier") == {"x": {"low": -1.0, "high": 1.0}}


@pytest.mark.parametrize(
    ("algorithm", "sampler"),
    [("DEFAULT", None), ("QUASI_RANDOM_SEARCH", {"name": "qmc"}), ("GAUSSIAN_PROCESS_BANDIT", {"name": "gp"})],
)
def test_the_algorithms_of_the_open_vizier_are_known(algorithm: str, sampler: dict[str, str] | None) -> None:
    text = f"""
    metrics: [{{metric_id: y, goal: MAXIMIZE}}]
    algorithm: {algorithm}
    parameters: [{{parameter_id: x, double_value_spec: {{min_value: 0.0, max_value: 1.0}}}}]
    """

    assert study(text, "vizier").get("sampler") == sampler


def test_what_vizier_defines_under_two_values_takes_part_under_either() -> None:
    child = {"parameterId": "units", "integerValueSpec": {"minValue": "1", "maxValue": "8"}}
    children = [{"parentCategoricalValues": {"values": [value]}, "parameterSpec": child} for value in ("dnn", "wide")]
    model = {"parameterId": "model", "categoricalValueSpec": {"values": ["dnn", "wide", "linear"]}}
    configuration = {
        "metrics": [{"metricId": "acc", "goal": "MAXIMIZE"}],
        "parameters": [model | {"conditionalParameterSpecs": children}],
    }

    units = parameters(json.dumps(configuration), "vizier")["units"]

    assert units == {"low": 1, "high": 8, "when": {"model": ["dnn", "wide"]}}


def test_the_scale_of_a_list_is_told_to_be_left_out() -> None:
    text = """
    metrics: [{metricId: y, goal: MINIMIZE}]
    parameters: [{parameterId: b, discreteValueSpec: {values: [16, 32, 64]}, scaleType: UNIT_LOG_SCALE}]
    """

    notes = convert(text, "vizier", GIVEN).notes

    assert [note.split(" is ")[0] for note in notes] == ["parameters[0].scaleType"]


def test_what_nests_under_one_option_alone_takes_part_under_it_alone() -> None:
    """`act` stands under two layers; its slope only where the first one chooses it."""
    slope = {"_type": "uniform", "_value": [0, 1]}
    with_slope, without = (
        {"_type": "choice", "_value": [{"_name": "elu", **more}, {"_name": "relu"}]} for more in ({"slope": slope}, {})
    )

    def searched(*acts: dict[str, Any]) -> dict[str, Any]:
        options = [{"_name": name, "act": act} for name, act in zip(("conv", "pool"), acts, strict=True)]
        return parameters(json.dumps({"layer": {"_type": "choice", "_value": options}}), "nni")

    assert searched(with_slope, with_slope) == {
        "layer": {"values": ["conv", "pool"]},
        "layer.act": {"values": ["elu", "relu"], "when": {"layer": ["conv", "pool"]}},
        "layer.act.slope": {"low": 0.0, "high": 1.0, "when": {"layer.act": ["elu"]}},
    }
    assert searched(with_slope, without)["layer.act.slope"]["when"] == {"layer": ["conv"], "layer.act": ["elu"]}


def test_what_no_single_condition_says_is_told() -> None:
    """`k` takes part under (conv, elu) and under (pool, relu), which no list of options for each says."""
    size = {"_type": "randint", "_value": [1, 4]}
    options = [
        {"_name": "conv", "act": {"_type": "choice", "_value": [{"_name": "elu", "k": size}, {"_name": "relu"}]}},
        {"_name": "pool", "act": {"_type": "choice", "_value": [{"_name": "elu"}, {"_name": "relu", "k": size}]}},
    ]

    found = problems(json.dumps({"layer": {"_type": "choice", "_value": options}}), "nni")

    assert list(found) == ["layer._value[1].act._value[1].k"]


def test_what_vizier_says_and_no_study_can_is_named_with_its_place() -> None:
    text = """
    metrics: [{metricId: y, goal: MINIMIZE, safetyConfig: {safetyThreshold: 1}}]
    decayCurveStoppingSpec: {useElapsedDuration: false}
    parameters:
      - {parameterId: x, doubleValueSpec: {minValue: 0.1, maxValue: 1}, scaleType: UNIT_REVERSE_LOG_SCALE}
    """

    assert problems(text, "vizier").keys() >= {
        "metrics[0].safetyConfig",
        "decayCurveStoppingSpec",
        "parameters[0].scaleType",
    }


def test_a_file_that_names_no_objective_and_no_budget_says_which_options_give_them() -> None:
    with pytest.raises(Unreadable) as caught:
        convert(SEARCH_SPACE, "nni", Given("file"))

    assert {each.path: each.hint for each in caught.value.problems} == {
        "objective": "give --metric and --direction",
        "budget": "give --trials",
    }


def test_the_command_writes_a_file_that_only_lacks_its_trial(tmp_path: Path) -> None:
    source, target = tmp_path / "My Sweep.yaml", tmp_path / "study.yaml"
    source.write_text("method: grid\nmetric: {name: y}\nparameters: {x: {values: [1, 2]}}\nprogram: train.py\n")

    result = CliRunner().invoke(app, ["import", str(source), "--from", "wandb", "-o", str(target)])

    assert result.exit_code == 0
    assert "program is not carried over" in result.stderr
    assert target.read_text() == (
        "# program is not carried over: `trial` says here what runs\n"
        "name: my-sweep\n"
        "objective: {metric: y, direction: minimize}\n"
        "parameters:\n"
        "  x: {values: [1, 2]}\n"
        "sampler: {name: grid}\n"
        "# trial: say here what one trial is, as in {kind: objective, name: my-script}\n"
    )


@pytest.mark.parametrize(
    ("form", "text", "place"),
    [
        ("wandb", "{method: random, parameters: {x: {values: []}}}", "parameters.x.values"),
        ("optuna", '{"x": {"name": "CategoricalDistribution", "attributes": {"choices": []}}}', "x.attributes.choices"),
        ("nni", '{"x": {"_type": "choice", "_value": []}}', "x._value"),
    ],
)
def test_a_parameter_without_a_choice_is_named_with_its_place(form: Form, text: str, place: str) -> None:
    assert problems(text, form) == {place: "must be a list of one value or more"}


def test_names_become_names_of_studies() -> None:
    assert slug("My Sweep (v2)") == "my-sweep-v2"
    assert slug("ß" * 3) == ""
    assert len(slug("a-" * 100)) <= 64
