from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import TPESampler

from search.kernels import Floats
from search.mixture import Mixture
from tests.unit.search.test_tpe import SPACES as KINDS

OPTUNAS = TPESampler()._parzen_estimator_parameters
TRIALS = 1500
SPACES: dict[str, dict[str, Any]] = {name: dict(space) for name, space in KINDS.items()}


def values_of(space: str) -> Floats:
    """(parameters, trials), drawn at random."""
    draws = np.random.RandomState(5)
    return np.array([_drawn(each, draws, TRIALS) for each in SPACES[space].values()])


def points(space: str) -> Floats:
    """(parameters, points): some at random, the ends of every range, and all trials: narrow kernels are felt there."""
    draws = np.random.RandomState(6)
    others = [
        np.append(_drawn(each, draws, 22), [0, 1] if hasattr(each, "choices") else [each.low, each.high])
        for each in SPACES[space].values()
    ]
    return np.concatenate([others, values_of(space)], axis=1)


def _drawn(each: Any, draws: np.random.RandomState, count: int) -> Floats:
    if hasattr(each, "choices"):
        return draws.randint(len(each.choices), size=count).astype(float)
    if each.step is None:
        return draws.uniform(each.low, each.high, count)
    steps = round((each.high - each.low) / each.step) + 1
    values: Floats = each.low + each.step * draws.randint(steps, size=count)
    return values


def begun(space: str, values: Floats, count: int) -> Mixture:
    mixture = Mixture(SPACES[space])
    mixture.begin(range(count), values[:, :count])
    return mixture


def check(mixture: Mixture, space: str) -> None:
    at = points(space)
    ours = mixture.log_density(at)
    optunas = mixture.optunas(OPTUNAS).log_pdf(dict(zip(SPACES[space], at, strict=True)))
    np.testing.assert_allclose(ours - ours[0], optunas - optunas[0], atol=1e-9)


@pytest.mark.parametrize("count", [2, 26, 90, TRIALS])  # few kernels are as wide as the range, many as narrow as may be
@pytest.mark.parametrize("space", SPACES)
def test_the_density_is_optunas_but_for_rounding(space: str, count: int) -> None:
    check(begun(space, values_of(space), count), space)


@pytest.mark.parametrize("space", SPACES)
def test_it_stays_so_while_trials_come_and_go(space: str) -> None:
    draws, values = random.Random(1), values_of(space)
    mixture = begun(space, values, 130)
    for _ in range(60):
        number = draws.randrange(TRIALS)
        if number in mixture:
            assert mixture.leave(number)
        else:
            assert mixture.enter(number, values[:, number].tolist())
    for number in draws.sample(mixture.numbers, 20):
        assert mixture.leave(number)
    check(mixture, space)


def test_few_kernels_begin_anew() -> None:
    """With fewer than 98 their number bounds how wide they are."""
    values = values_of("floats")
    mixture = begun("floats", values, 97)
    assert not mixture.enter(97, values[:, 97].tolist())

    mixture = begun("floats", values, 99)
    assert mixture.leave(50)
    check(mixture, "floats")
    assert not mixture.leave(51)


def test_equal_kernels_begin_anew() -> None:
    """Which of them is wide goes by numpy's order of equal values."""
    values = values_of("floats")
    values[2, 200] = values[2, 7]
    mixture = begun("floats", values, 200)
    assert not mixture.enter(200, values[:, 200].tolist())

    mixture = begun("floats", values, 201)
    check(mixture, "floats")
    assert not mixture.leave(200)


def test_with_more_dimensions_than_numbers_have_room_for_it_is_optunas_too() -> None:
    space: dict[str, Any] = {f"x{place}": FloatDistribution(0.0, 1.0) for place in range(120)}
    draws = np.random.RandomState(3)
    mixture = Mixture(space)
    mixture.begin(range(150), 0.5 + 1e-9 * draws.random_sample((120, 150)))
    at = 0.5 + 1e-9 * draws.random_sample((120, 5))
    optunas = mixture.optunas(OPTUNAS).log_pdf(dict(zip(space, at, strict=True)))

    np.testing.assert_allclose(np.diff(mixture.log_density(at)), np.diff(optunas), atol=1e-9)
