from __future__ import annotations

from typing import Any

import pytest

from search.definition import parse
from store.errors import DefinitionError
from tests.unit.search.documents import external, train

TWO = {"x": {"low": 0.0, "high": 1.0}, "k": {"values": ["a", "b"]}}


def test_what_an_entry_leaves_out_is_what_the_trial_section_says():
    parameters = {
        "optimizer.name": {"values": ["adamw", "sgd"]},
        "optimizer.momentum": {"low": 0.0, "high": 0.99, "when": {"optimizer.name": "sgd"}},
        "optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True},
        "epochs": {"value": 3},
    }
    trial = {"kind": "train", "data": {"source": "sklearn:digits"}, "optimizer": {"name": "adamw", "lr": 0.002}}
    document = train(
        parameters=parameters,
        trial=trial,
        enqueue=[{}, {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "optimizer.lr": 0.05}],
    )

    definition = parse(document)

    assert definition.enqueue == (
        {"optimizer.name": "adamw", "optimizer.lr": 0.002, "epochs": 3},
        {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "optimizer.lr": 0.05, "epochs": 3},
    )
    assert parse(definition.document()) == definition


@pytest.mark.parametrize(
    ("enqueue", "path", "words"),
    [
        ({"x": 1}, "enqueue", "must be a list"),
        (["x"], "enqueue[0]", "must be parameters with values"),
        ([{"x": 0.5, "k": "a"}, {"x": 2.0, "k": "a"}], "enqueue[1].x", "2.0 is not in the space"),
        ([{"x": 0.5, "k": "a", "y": 1}], "enqueue[0].y", "is no parameter of this study"),
        ([{"x": 0.5, "k": "a"}] * 6, "enqueue", "has 6 entries, and budget.trials is 5"),
        ([{}] * 1001, "enqueue", "has 1,001 entries"),
    ],
)
def test_an_entry_that_is_no_point_of_the_space_is_refused(enqueue: Any, path: str, words: str):
    with pytest.raises(DefinitionError) as caught:
        parse(external(parameters=TWO, budget={"trials": 5}, enqueue=enqueue))

    [problem] = caught.value.problems
    assert problem.path == path
    assert words in problem.message


CONDITIONAL = {
    "kind": {"values": ["plain", "mixed"]},
    "mix": {"low": 0.0, "high": 1.0, "when": {"kind": "mixed"}},
    "share": {"low": 0.0, "high": 1.0, "when": {"kind": "mixed"}},
    "epochs": {"value": 3},
}


def test_what_nothing_gives_is_left_to_the_sampler():
    given = [{}, {"kind": "mixed"}, {"kind": "mixed", "mix": 0.5}]

    definition = parse(external(parameters=CONDITIONAL, enqueue=given))

    assert definition.enqueue == tuple({**each, "epochs": 3} for each in given)
    assert parse(definition.document()) == definition


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        (
            {"mix": 0.5},
            "may come to have no part: kind is left out",
            'it is active only when {"kind": ["mixed"]}; give that, too',
        ),
        ({"kind": "plain", "mix": 0.5}, "has no part here", 'it is active only when {"kind": ["mixed"]}'),
    ],
)
def test_what_may_have_no_part_is_refused(entry: dict[str, Any], message: str, hint: str):
    with pytest.raises(DefinitionError) as caught:
        parse(external(parameters=CONDITIONAL, enqueue=[entry]))

    [problem] = caught.value.problems
    assert (problem.path, problem.message, problem.hint) == ("enqueue[0].mix", message, hint)


def test_a_grid_has_whole_cells():
    space = {"x": {"low": 1, "high": 3}, "k": {"values": ["a", "b"]}}
    with pytest.raises(DefinitionError, match=r"enqueue\[0\]\.k: is missing; a grid tries all of its cells"):
        parse(external(parameters=space, sampler={"name": "grid"}, enqueue=[{"x": 2}]))


@pytest.mark.parametrize(
    ("parameters", "constraint", "entry"),
    [
        ({"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}}, "a < b", {"a": 1.0}),
        # of the two kinds neither leaves room beside x
        (CONDITIONAL | {"x": {"low": 0.0, "high": 9.0}, "y": {"low": 3.0, "high": 9.0}}, "x + y <= 9", {"x": 7.0}),
    ],
)
def test_an_entry_must_leave_room_for_the_rest(parameters: dict[str, Any], constraint: str, entry: dict[str, Any]):
    document = external(parameters=parameters, parameter_constraints=[constraint], enqueue=[entry])

    with pytest.raises(DefinitionError, match=r"enqueue\[0\]: leave no values for the others"):
        parse(document)


def test_a_value_of_the_trial_section_that_lies_outside_is_named_as_such():
    parameters = {"optimizer.lr": {"low": 0.01, "high": 0.1}}
    trial = {"kind": "train", "data": {"source": "sklearn:digits"}, "optimizer": {"name": "adamw", "lr": 0.002}}

    with pytest.raises(
        DefinitionError, match=r"enqueue\[0\]\.optimizer\.lr: is left out, .* 0\.002 is not in the space"
    ):
        parse(train(parameters=parameters, trial=trial, enqueue=[{}]))


def test_an_entry_keeps_the_inequalities():
    two = {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 0.0, "high": 1.0}}
    document = external(parameters=two, parameter_constraints=["a < b"], enqueue=[{"a": 0.5, "b": 0.25}])

    with pytest.raises(DefinitionError, match=r"enqueue\[0\]: break the constraint a < b"):
        parse(document)
