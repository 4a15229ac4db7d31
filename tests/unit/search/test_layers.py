"""Widths and cells that are searched layer by layer, and conditions on numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search.definition import parse
from tests.unit.search.documents import external, train
from tests.unit.search.test_definition import problems_of
from trainer.config import TrainConfig
from trialyard.study_file import from_yaml

WIDTHS = [16, 32]
DEPTH = {"low": 1, "high": 3}


def layer(place: int, **more: Any) -> dict[str, Any]:
    return {"values": WIDTHS, "when": {"model.depth": {"at_least": place + 1}}, **more}


def by_layer(**changed: Any) -> dict[str, Any]:
    knobs = {"model.depth": DEPTH, "model.hidden.0": {"values": WIDTHS}, "model.hidden.1": layer(1)}
    return train(parameters=knobs | {"model.hidden.2": layer(2)} | changed)


def with_model(parameters: dict[str, Any], **model: Any) -> dict[str, Any]:
    return train(parameters=parameters, trial={"data": {"source": "sklearn:digits"}, "model": model})


def test_a_bound_in_a_condition_stands_for_the_values_within_it() -> None:
    definition = parse(by_layer())

    assert definition.parameters["model.hidden.1"].when == {"model.depth": (2, 3)}
    assert parse(definition.document()) == definition
    fruit = {"n": {"values": [1, "many", 2.5, 4]}, "x": {"low": 0, "high": 1, "when": {"n": {"at_most": 2.5}}}}
    assert parse(external(fruit)).parameters["x"].when == {"n": (1, 2.5)}


def test_the_layers_that_take_part_are_the_widths_of_the_model() -> None:
    definition = parse(by_layer())

    resolved = definition.resolve({"model.depth": 2, "model.hidden.0": 32, "model.hidden.1": 16})

    assert resolved["model"] == {"depth": 2, "hidden": [32, 16]}
    assert TrainConfig.model_validate(resolved).model.hidden == [32, 16]
    shown = {tuple(corner["model"]["hidden"]) for corner in definition.corners()}
    assert {(16,), (32, 32, 32)} <= shown  # what a preflight builds


@pytest.mark.parametrize(
    ("changed", "path", "says"),
    [
        ({"model.hidden.1": layer(2)}, "parameters.model.hidden.1.when", "leaves layer 1 out where model.depth is 2"),
        ({"model.hidden.1": layer(2)}, "parameters.model.hidden.1.when", "write when: {model.depth: {at_least: 2}}"),
        ({"model.hidden.0": layer(1)}, "parameters.model.hidden.0.when", "leave the condition out"),
        ({"model.hidden.1": {"values": WIDTHS}}, "parameters.model.hidden.1", "is 1, which has no layer 1"),
        ({"model.depth": {"low": 1, "high": 4}}, "parameters.model.depth", "a depth of 4 needs model.hidden.3"),
        ({"model.hidden.4": layer(2)}, "parameters.model.hidden.4", "model.hidden.3 is not searched"),
        ({"model.hidden": {"values": [[8]]}}, "parameters.model.hidden", "searched as a whole"),
        ({"model.hidden.32": layer(2)}, "parameters.model.hidden.32", "counted from 0 to 31"),
        ({"model.hidden.0": {"values": [16, 0]}}, "parameters.model.hidden.0", "0 is refused"),
        ({"model.hidden.1": layer(3)}, "parameters.model.hidden.1.when.model.depth", "no value lies within"),
        (
            {"model.hidden.1": {"values": WIDTHS, "when": {"model.depth": {"at_least": "2"}}}},
            "parameters.model.hidden.1.when.model.depth.at_least",
            "must be a number",
        ),
        (
            {"optimizer.lr": {"low": 0.1, "high": 0.2}, "batch_size": layer(0, when={"optimizer.lr": {"at_most": 1}})},
            "parameters.batch_size.when.optimizer.lr",
            "range of floats without a step",
        ),
    ],
)
def test_layers_and_depths_that_disagree_are_refused(changed: dict[str, Any], path: str, says: str) -> None:
    problems = problems_of(by_layer(**changed))

    assert [problem for problem in problems if problem[0] == path and says in problem[1]], problems


def test_a_depth_of_the_trial_counts_as_one_that_is_searched() -> None:
    knobs = {"model.hidden.0": {"values": WIDTHS}}

    assert problems_of(with_model(knobs, depth=2)) == [
        ("trial.model.depth", "a depth of 2 needs model.hidden.1; add it, or take a smaller depth")
    ]
    assert [path for path, _ in problems_of(with_model(knobs, hidden=[8]))] == ["trial.model.hidden"]
    assert parse(with_model(knobs)).resolve({"model.hidden.0": 16})["model"] == {"hidden": [16]}


def test_the_example_searches_each_stage() -> None:
    example = Path(__file__).parents[3] / "examples" / "architecture.yaml"

    definition = parse(from_yaml(example.read_text()))

    assert definition.sampler.name == "nsga2"
    assert {len(corner["model"].get("cells", ())) for corner in definition.corners()} == {1, 2, 3}


def test_cells_are_one_a_stage() -> None:
    cells = {f"model.cells.{place}": {"values": ["conv", "inverted"]} for place in range(3)}

    resolved = parse(with_model(cells, name="cnn")).resolve(dict.fromkeys(cells, "inverted"))  # 3 is the usual depth

    assert TrainConfig.model_validate(resolved).model.stage_cells == ["inverted"] * 3
    assert "2 cells for 3 stages" in problems_of(with_model(dict(list(cells.items())[:2]), name="cnn"))[0][1]
    strange = {"model.cells.0": {"values": ["conv", "lstm"]}}
    assert '"lstm" is none of conv' in problems_of(with_model(strange, name="cnn", depth=1))[0][1]
    assert problems_of(with_model(cells, name="resnet"))[0][0] == "parameters.model.cells.0"  # without effect there
    given = problems_of(with_model({"model.depth": DEPTH}, name="cnn", cells=["conv"] * 3))
    assert given[0][0] == "parameters.model.depth"
    assert "3 cells for 1 stages" in given[0][1]
