"""What a study may set by an override, and what it may not."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from worker.command import preflight
from worker.objectives_file import CommandObjective
from worker.overrides import UnfitOverride, override

HYDRA = CommandObjective(command=["python", "train.py", "out={a place}"], parameters="overrides")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("optimizer.lr", 1e-05, "optimizer.lr=1e-05"),
        ("model/backbone", "resnet18", "model/backbone=resnet18"),
        ("layers.0", [64, 32], "layers.0=[64, 32]"),
        ("data.path", "sets/a b-1.2+x%", "data.path=sets/a b-1.2+x%"),
        ("note", None, "note=null"),
        ("hydration", True, "hydration=true"),
    ],
)
def test_a_value_is_set_as_hydra_reads_it(name: str, value: JsonValue, word: str) -> None:
    assert override(name, value) == word


@pytest.mark.parametrize(
    "name",
    ["hydra.run.dir", "hydra/launcher", "hydra", "+x", "~x", "++x.y", "model._target_", "_args_", "x@y", "--config-dir",
     "a b", "a=b", "a..b", "", "x\n"],
)  # fmt: skip
def test_a_name_that_would_do_more_than_set_a_value_is_refused(name: str) -> None:
    with pytest.raises(UnfitOverride, match="is no name of an override"):
        override(name, 1)


@pytest.mark.parametrize(
    "value",
    ["${oc.env:SECRET}", "{_target_: os.system}", "[1,2]", "choice(1,2)", "'x'", 'a"b', "a\\b", "a=b", "a,b", "a\nb",
     {"_target_": "os.system"}, [{"x": 1}], [["${x}"]]],
)  # fmt: skip
def test_a_value_that_would_do_more_than_stand_there_is_refused(value: JsonValue) -> None:
    with pytest.raises(UnfitOverride, match="cannot be the value of an override"):
        HYDRA.arguments({"a place": "there", "x": value}, {})
    with pytest.raises(UnfitOverride, match="cannot be the value of an override"):
        HYDRA.arguments({"a place": value}, {})


def test_a_study_whose_parameters_may_be_no_overrides_is_refused_before_its_first_trial() -> None:
    parameters = {
        "a place": {"values": ["a", "b"]},  # its name is none of an override, and need not be
        "lr": {"low": 0.0, "high": 1.0},
        "hydra.run.dir": {"value": "there"},
        "loss": {"values": ["mse", "${oc.env:SECRET}"]},
        "model": {"value": {"_target_": "os.system"}},
    }

    assert [problem.path for problem in preflight("x", HYDRA, parameters)] == [
        "parameters.hydra.run.dir", "parameters.loss", "parameters.model",
    ]  # fmt: skip
