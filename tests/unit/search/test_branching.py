"""The nearest point that keeps inequalities: against trying every point, and with an end that no clock decides."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from search.branching import GAP, MOST_RELAXATIONS
from search.definition import parse
from search.inequality import Inequality
from search.parameters import Choice
from search.region import Region
from search.repair import is_empty, nearest
from store.errors import DefinitionError
from tests.unit.search.documents import external

SMALL: dict[str, Any] = {
    "a": {"low": 0, "high": 12, "step": 2},
    "b": {"low": 0.0, "high": 1.0, "step": 0.25},
    "k": {"values": [8, 1, 3, 30]},
}
WIDTHS = {"a": 12, "b": 1, "k": 29}
EVERY = [
    dict(zip(SMALL, values, strict=True))
    for values in itertools.product(range(0, 13, 2), (0.0, 0.25, 0.5, 0.75, 1.0), (8, 1, 3, 30))
]
INEQUALITIES = st.tuples(
    st.lists(st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]), min_size=3, max_size=3).filter(any),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.sampled_from([-2.0, 0.0, 0.5, 4.0, 11.0]),
)


def region_of(parameters: dict[str, Any], *inequalities: str) -> Region:
    return parse(external(parameters, parameter_constraints=list(inequalities))).region


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(INEQUALITIES, min_size=1, max_size=3))
def test_it_is_as_near_as_any_point_and_there_whenever_one_is(inequalities: list[Any]) -> None:
    texts = [
        f"{' + '.join(f'{factor} * {name}' for factor, name in zip(factors, SMALL, strict=True))} {sign} {bound}"
        for factors, sign, bound in inequalities
    ]
    try:
        region = region_of(SMALL, *texts)
    except DefinitionError:
        return  # nothing is left, which is tested where it is told
    left = [point for point in EVERY if region.broken(point) is None]
    named = {name for each in region.inequalities for name in each.coefficients}

    for point in EVERY[::23]:
        moved = nearest(region, point)
        away = [sum(abs(other[name] - point[name]) / WIDTHS[name] for name in named) for other in left]
        if moved is None:
            assert not left
        else:
            assert moved in left
            found = sum(abs(moved[name] - point[name]) / WIDTHS[name] for name in named)  # type: ignore[operator]
            assert min(away) - 1e-9 <= found <= min(away) / (1 - GAP) + 1e-9
        assert not (left and is_empty(region, point, held=()))


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """With which options each relaxation was solved."""
    solve, given = scipy.optimize.milp, list[object]()

    def noted(*arguments: Any, **named: Any) -> Any:
        given.append(named.get("options"))
        return solve(*arguments, **named)

    monkeypatch.setattr(scipy.optimize, "milp", noted)
    return given


def test_it_stops_after_so_many_relaxations_and_never_by_the_clock(options: list[object]) -> None:
    """Random weights that are to be shared out evenly (Cornuejols and Dawande 1999), which takes any search long."""
    rng, names = random.Random(3), [f"p{place}" for place in range(20)]
    evenly: list[str] = []
    for weights in ([rng.randint(1, 99) for _ in names] for _ in range(3)):
        total = " + ".join(f"{weight} * {name}" for weight, name in zip(weights, names, strict=True))
        evenly += [f"{total} <= {sum(weights) // 2}", f"{total} >= {sum(weights) // 2}"]
    region = region_of({name: {"low": 0, "high": 1} for name in names}, *evenly)
    options.clear()

    nearest(region, dict.fromkeys(names, 1))

    assert options == [None] * MOST_RELAXATIONS


def test_what_a_sum_of_whole_numbers_cannot_come_to_is_known_without_a_search():
    """Beside p = 0 the sum is even, and never 1001; of 3 * q + 6 * r none is 1,000 or 1,001."""
    even = {f"e{place}": {"low": 0, "high": 998, "step": 2} for place in range(4)}
    whole = "p + e0 + e1 + e2 + e3"
    region = region_of({"p": {"low": 0, "high": 1}, **even}, f"{whole} <= 1001", f"{whole} >= 1001")
    thirds = {"q": {"low": 0, "high": 999}, "r": {"values": [0, 5, 999]}, "free": {"low": 0, "high": 9}}
    point = dict.fromkeys(even, 0)

    assert is_empty(region, {"p": 0, **point}, held=("p",))
    assert not is_empty(region, {"p": 1, **point}, held=("p",))
    with pytest.raises(DefinitionError, match="leaves nothing"):
        region_of(thirds, "3 * q + 6 * r > 999", "3 * q + 6 * r < 1002")
    assert region_of(thirds, "3 * q + 6 * r > 999", "3 * q + 6 * r <= 1002")


@pytest.mark.parametrize(("inequality", "total"), [("<= 46.7", 155), (">= 254.3", 848)])
def test_it_does_not_look_long_for_what_is_hardly_nearer(options: list[object], inequality: str, total: int) -> None:
    """In the relaxation p and q share out a third more or less: a hundred ways seem to be hardly nearer."""
    region = region_of({name: {"low": 1, "high": 512} for name in "pq"}, f"0.3 * p + 0.3 * q {inequality}")

    moved = nearest(region, {"p": 300, "q": 250})

    assert moved is not None
    assert int(moved["p"]) + int(moved["q"]) == total  # type: ignore[arg-type]
    assert len(options) < 20


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_the_solver_gives_up_on_is_not_empty(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Also where it goes on in another half: neither 0 nor 10.5 is from 4 to 6, which a relaxation does not see."""
    between = [Inequality("k <= 6", {"k": 1.0}, 6.0, False), Inequality("k >= 4", {"k": -1.0}, -4.0, False)]
    region = Region({"k": Choice((0, 10.5))}, between)
    assert is_empty(region, {"k": 0}, held=())
    solve, solved = scipy.optimize.milp, itertools.count()

    def gives_up(*arguments: Any, **named: Any) -> Any:
        return trouble if next(solved) == place else solve(*arguments, **named)

    trouble = scipy.optimize.OptimizeResult(x=None, status=4)
    monkeypatch.setattr(scipy.optimize, "milp", gives_up)

    assert not is_empty(region, {"k": 0}, held=())
