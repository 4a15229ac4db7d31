"""Points of a space as numbers, and candidates around the best of them."""

from __future__ import annotations

import numpy as np
import pytest

from search.cube import MOST_TOLD_APART, Cube
from search.definition import parse
from search.space import Space
from tests.unit.search.documents import external

NESTED = {
    "momentum": {"low": 0.0, "high": 0.9, "step": 0.3, "when": {"optimizer": "sgd", "layers": [1, 5]}},
    "optimizer": {"values": ["adam", "sgd", [1, 2]]},
    "layers": {"low": 1, "high": 7, "step": 2},
    "units": {"low": 1, "high": 1000, "log": True},
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "nesterov": {"values": [True, False], "when": {"momentum": [0.3, 0.9]}},
    "fixed": {"value": 3},
    "warm": {"low": 0, "high": 3, "when": {"fixed": 3}},
}


@pytest.fixture
def space() -> Space:
    return Space(parse(external(NESTED)).parameters)


def test_drawn_points_are_points_of_the_space_and_come_back_as_they_were(space: Space) -> None:
    cube = Cube(space)
    points = cube.draw(np.random.RandomState(1), 300, middle=0.5)

    for point in points:
        parameters = space.external(cube.values(point))
        assert space.check(parameters) == []
        assert cube.place(parameters) == pytest.approx(point, abs=1e-9, nan_ok=True)
    lacking = dict(zip(cube.names, np.isnan(points).mean(axis=0), strict=True))
    assert (lacking["lr"], lacking["warm"]) == (0, 0)
    assert 0.7 < lacking["momentum"] < 0.95  # a third has sgd, half of these or more the layers
    assert lacking["nesterov"] > lacking["momentum"]


def test_uniform_draws_find_all_steps_alike(space: Space) -> None:
    cube = Cube(space)
    points = cube.draw(np.random.RandomState(1), 4000, middle=0.0)
    _, counts = np.unique(points[:, cube.names.index("layers")], return_counts=True)

    assert len(counts) == 4
    assert counts == pytest.approx([1000] * 4, rel=0.1)


def test_of_very_many_choices_those_that_are_learnt_have_the_distances_of_all() -> None:
    many = {"c": {"values": [f"v{place}" for place in range(MOST_TOLD_APART + 1)]}, "x": {"low": 0.0, "high": 1.0}}
    cube = Cube(Space(parse(external(many)).parameters))
    learnt = np.array([[3.0, 0.1], [60.0, 0.1], [3.0, 0.1], [np.nan, 0.1]])
    asked = np.array([[3.0, 0.1], [60.0, 0.1], [2.0, 0.1], [64.0, 0.1], [np.nan, 0.1]])

    coding = cube.coding(learnt)
    apart = ((coding.features(asked)[:, None] - coding.features(learnt)) ** 2).sum(axis=2)

    assert coding.groups.tolist() == [0, 0, 0, 1]  # 3, 60, all others; x
    assert apart == pytest.approx(
        np.array([[0, 1, 0, 0.5], [1, 0, 1, 0.5], [1, 1, 1, 0.5], [1, 1, 1, 0.5], [0.5, 0.5, 0.5, 0]])
    )


def test_choices_are_as_far_from_each_other_as_the_ends_of_a_range(space: Space) -> None:
    cube = Cube(space)
    a, b = ({"optimizer": each, "layers": 3, "units": 9, "lr": 1e-3, "warm": 0} for each in ("adam", "sgd"))
    points = np.array([cube.place(a), cube.place(b)])
    features = cube.coding(points).features(points)

    assert ((features[0] - features[1]) ** 2).sum() == pytest.approx(1)
