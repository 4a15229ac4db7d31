"""Inequalities between parameters: what is told at once, where a grid looks, and how a point is moved inside."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from search.corners import corners_of
from search.definition import Definition, parse
from search.grid import GridSampler
from search.repair import drawn, nearest, wandered
from search.space import Space
from store.errors import DefinitionError
from tests.unit.search.documents import external, train

SPACE: dict[str, Any] = {
    "a": {"low": 0.0, "high": 1.0},
    "b": {"low": 0.0, "high": 1.0},
    "n": {"low": 1, "high": 10},
    "m": {"low": 1, "high": 10},
    "q": {"values": [1, 2, 4]},
    "k": {"values": ["x", "y"]},
    "c": {"low": 0.5, "high": 2.0, "when": {"k": "x"}},
    "d": {"low": 0.0, "high": 1.0, "when": {"k": "y"}},
    "w": {"value": 3},
}


def defined(*inequalities: str, parameters: dict[str, Any] = SPACE, **sections: Any) -> Definition:
    return parse(external(parameters, parameter_constraints=list(inequalities), **sections))


@pytest.mark.parametrize(
    ("section", "place", "words"),
    [
        ("a < b", "", ["must be a list of inequalities", "model.width_low < model.width_high"]),
        (["a < b"] * 33, "", ["33 entries", "32 are the most"]),
        ([{"a": "b"}], "[0]", ["must be text"]),
        (["a < b", "a <> b"], "[1]", ['at character 4 of "a <> b"', "a parameter or a number"]),
        (["a < bb"], "[0]", ['"bb" is no parameter', "did you mean 'b'"]),
        (["k < 1"], "[0]", ['"k" has values that are no numbers']),
        (["a + c <= 0.4"], "[0]", ["never holds, with a from 0 to 1, c from 0.5 to 2"]),
        (["w > n", "w < 3"], "[1]", ["never holds, with w from 3 to 3"]),
        (["c < d"], "[0]", ["the conditions of c, d exclude each other"]),
        (["a < b", "n < m", "b < a"], "[2]", ["leaves nothing", "parameter_constraints[0];"]),
        (["n < m", "a < b", "m < q", "q <= 2"], "[3]", ["constraints[0] and parameter_constraints[2];"]),  # 1 < 2 < q
        (["2 * n + 4 * m >= 2 * q + 1", "2 * n + 4 * m <= 2 * q + 1"], "[1]", ["leaves nothing"]),  # even and odd
        (["a >= 0.7", "a + c <= 1.1"], "[1]", ["leaves nothing", "constraints[0]"]),  # while c takes part
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(section: Any, place: str, words: list[str]) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse(external(SPACE, parameter_constraints=section))

    (problem,) = refused.value.problems
    assert problem.path == f"parameter_constraints{place}"
    assert all(word in str(problem) for word in words), str(problem)


def test_what_can_hold_is_kept_as_it_was_written():
    texts = ["a <= b", "b <= a", "n < m", "q < n", "c - a < 0.9", "w <= n"]

    assert defined(*texts).document()["parameter_constraints"] == texts
    assert "parameter_constraints" not in defined().document()
    told = {"q": {"values": [1, 4]}, "c": {"low": 0.5, "high": 2.0, "when": {"q": [1, 4]}}}
    assert defined("c + 1.5 <= q", parameters=told)  # beside q = 4, though not beside the first value that c needs


def test_a_given_point_is_held_against_them():
    definition = defined("a < b", "c < a")
    space = Space(definition.parameters, definition.parameter_constraints)
    point: dict[str, JsonValue] = {"a": 0.5, "b": 0.5, "n": 1, "m": 1, "q": 1, "k": "y", "d": 0.1, "w": 3}

    (problem,) = space.check(point)
    assert (problem.path, problem.message) == ("parameters", "break the constraint a < b")
    assert space.check(point | {"b": 0.6}) == []  # c takes no part, so that nothing is asked of it


def test_rounding_breaks_nothing():
    tenths = {name: {"low": 0.0, "high": 1.0} for name in "abc"}
    region = defined("a + b <= c", parameters=tenths).region

    assert region.broken({"a": 0.1, "b": 0.2, "c": 0.3}) is None  # 0.1 + 0.2 is 0.30000000000000004
    assert region.broken({"a": 0.1, "b": 0.2, "c": 0.3 - 1e-6}) is not None


SMALL: dict[str, Any] = {
    "a": {"low": 0, "high": 3},
    "b": {"low": 0.0, "high": 1.0, "step": 0.25},
    "k": {"values": [8, 1, 3]},
    "c": {"low": 0, "high": 3, "when": {"a": [1, 2]}},
    "e": {"value": 2, "when": {"c": [0, 1]}},
}
TERMS = st.tuples(st.sampled_from([-2.0, -1.0, 0.5, 1.0]), st.sampled_from("abkce"))
INEQUALITIES = st.tuples(
    st.lists(TERMS, min_size=1, max_size=3, unique_by=lambda term: term[1]),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.sampled_from([-1.0, 0.0, 0.5, 2.0]),
)
HOLDS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}


def keeps(point: dict[str, Any], inequality: Any) -> bool:
    terms, sign, bound = inequality
    return not {name for _, name in terms} <= point.keys() or bool(
        HOLDS[sign](sum(factor * point[name] for factor, name in terms), bound)
    )


def written(inequality: Any) -> str:
    terms, sign, bound = inequality
    return f"{' + '.join(f'{factor} * {name}' for factor, name in terms)} {sign} {bound}"


def cells(definition: Definition) -> list[dict[str, JsonValue]]:
    sampler = GridSampler(Space(definition.parameters, definition.parameter_constraints))
    found = []
    while sampler._next is not None:
        found.append(sampler._values(sampler._next))
        sampler._next = sampler._successor(sampler._next)
    return found


EVERY = cells(parse(external(SMALL)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(INEQUALITIES, min_size=1, max_size=3))
def test_a_grid_has_the_cells_that_keep_them_and_no_others(inequalities: list[Any]) -> None:
    """Against trying every cell; points outside are moved to points inside, and wander among these."""
    left = [cell for cell in EVERY if all(keeps(cell, each) for each in inequalities)]
    texts = [written(each) for each in inequalities]
    try:
        definition = defined(*texts, parameters=SMALL)
    except DefinitionError:
        # Refused where nothing is left while all parameters of one of them take part.
        assert any(not any({n for _, n in each[0]} <= cell.keys() for cell in left) for each in inequalities)
        return

    assert cells(definition) == left
    for cell in EVERY[::7]:
        moved = nearest(definition.region, cell)
        assert moved is None or moved in left
        if moved is not None:
            assert wandered(definition.region, moved, np.random.default_rng(1)) in left


def test_among_whole_numbers_less_than_a_half_is_at_most_the_number_below():
    assert cells(defined("n < 2.5", parameters={"n": {"low": 1, "high": 10}})) == [{"n": 1}, {"n": 2}]


def test_an_inequality_cuts_off_no_cell_in_which_one_of_its_parameters_takes_no_part():
    found = cells(defined("a + c >= 5", parameters=SMALL))

    # c takes part beside a of 1 and 2, and is 3 at most.
    assert {(cell["a"], cell.get("c")) for cell in found} == {(0, None), (2, 3), (3, None)}


def test_a_step_is_reached_that_division_puts_a_hair_further():
    """In floats 0.3 is 2.9999999999999996 steps of 0.1, and 0.6 is 5.999999999999999."""
    tenths = {"x": {"low": 0.0, "high": 0.3, "step": 0.1}, "y": {"low": 0.0, "high": 0.6, "step": 0.1}}

    kept = cells(defined("x + y <= 9", parameters=tenths))

    assert kept == cells(defined(parameters=tenths))
    assert len(kept) == 4 * 7
    # … and 0.1 + 0.2 is 3.0000000000000004 of them: y has 6, 5, 4 and 3 values beside those of x.
    assert len(cells(defined("y >= x + 0.1", parameters=tenths))) == 6 + 5 + 4 + 3


def test_a_vast_grid_passes_over_what_they_cut_off():
    wide = {f"p{k}": {"low": 0, "high": 999} for k in range(4)}  # 10^12 cells
    started = time.perf_counter()

    few = cells(defined("p0 + p1 + p2 + p3 <= 3", parameters=wide))
    last = cells(defined("p0 + p1 + p2 + p3 >= 3995", parameters=wide))
    odd = GridSampler(Space(*_of(defined("p1 + p2 > p3 + 1995", "2 * p0 >= p1 + 1", parameters=wide))))

    assert time.perf_counter() - started < 5
    assert len(few) == 35  # of four numbers with a sum up to 3: 7 choose 4
    assert few[0] == dict.fromkeys(wide, 0)
    assert (len(last), last[0]) == (5, {"p0": 998, "p1": 999, "p2": 999, "p3": 999})
    assert odd._next == (499, 997, 999, 0)  # p1 is 997 at least, so that p0 is 499 at least


def test_a_vast_grid_passes_over_what_only_a_solver_finds_empty():
    """Beside p = 0 the sum of even numbers would be odd, which the bounds of single parameters do not tell."""
    even = {f"e{k}": {"low": 0, "high": 998, "step": 2} for k in range(4)}
    whole = "p + e0 + e1 + e2 + e3"
    definition = defined(f"{whole} <= 1001", f"{whole} >= 1001", parameters={"p": {"low": 0, "high": 1}, **even})
    started = time.perf_counter()

    assert GridSampler(Space(*_of(definition)))._next == (1, 0, 0, 1, 499)  # 2 + 998 beside p = 1
    assert time.perf_counter() - started < 5


def test_a_whole_number_on_a_log_scale_is_drawn_as_wide_as_it_lies():
    """From half below it to half above: 1 from log 0.5 to log 1.5, and so on to log 4.5."""
    parameter = defined(parameters={"n": {"low": 1, "high": 4, "log": True}}).parameters["n"]
    rng = np.random.default_rng(0)

    values = [drawn(parameter, rng) for _ in range(4000)]

    expected = np.diff(np.log([0.5, 1.5, 2.5, 3.5, 4.5])) / np.log(9)
    np.testing.assert_allclose([values.count(n) / 4000 for n in range(1, 5)], expected, atol=4 * np.sqrt(0.25 / 4000))


def _of(definition: Definition) -> Any:
    return definition.parameters, definition.parameter_constraints


def test_the_nearest_point_is_near_and_moves_only_what_must_move():
    region = defined("a + b <= 1", "n < m").region
    outside: dict[str, JsonValue] = {"a": 0.9, "b": 0.3, "n": 4, "m": 4, "q": 2, "k": "y", "d": 0.4, "w": 3}

    moved = nearest(region, outside)

    assert moved is not None
    assert {name: moved[name] for name in "qkdw"} == {"q": 2, "k": "y", "d": 0.4, "w": 3}
    assert abs(moved["a"] - 0.9) + abs(moved["b"] - 0.3) == pytest.approx(0.2, abs=1e-4)  # type: ignore[operator]
    assert (moved["n"], moved["m"]) in ((3, 4), (4, 5))
    assert nearest(region, moved) == moved


def test_a_walk_is_uniform_in_the_region():
    """A triangle: a < b < c has one in six of the cube, with means 1/4, 2/4, 3/4 and variance 3/80 each."""
    region = defined("a < b", "b < c", parameters={name: {"low": 0.0, "high": 1.0} for name in "abc"}).region
    rng = np.random.default_rng(0)

    points = [wandered(region, {"a": 0.1, "b": 0.11, "c": 0.12}, rng) for _ in range(400)]
    values = np.array([[point[name] for name in "abc"] for point in points], dtype=float)

    assert np.all(np.diff(values, axis=1) > 0)
    np.testing.assert_allclose(values.mean(axis=0), [0.25, 0.5, 0.75], atol=4 * np.sqrt(3 / 80 / 400))
    np.testing.assert_allclose(values.var(axis=0), [3 / 80, 4 / 80, 3 / 80], rtol=0.3)


def test_corners_that_they_cut_off_give_way_to_the_nearest_points():
    """Warm-up must be shorter than the training: the corner of eight epochs of five is never built."""
    definition = parse(
        train(
            parameters={"epochs": {"low": 5, "high": 9}, "schedule.warmup_epochs": {"low": 0, "high": 8}},
            trial={"kind": "train", "data": {"source": "sklearn:digits"}, "schedule": {"name": "cosine"}},
            parameter_constraints=["schedule.warmup_epochs < epochs"],
        )
    )
    points = corners_of(definition.region)

    assert all(point["schedule.warmup_epochs"] < point["epochs"] for point in points)  # type: ignore[operator]
    assert {"epochs": 5, "schedule.warmup_epochs": 0} in points
    assert {"epochs": 9, "schedule.warmup_epochs": 8} in points
    assert len(points) == len({tuple(itertools.chain(*point.items())) for point in points})
