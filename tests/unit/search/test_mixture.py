from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from optuna.samplers import TPESampler

from search.kernels import Floats
from search.mixture import Mixture
from tests.unit.search.test_tpe import SPACES as KINDS

OPTUNAS = TPESampler()._parzen_estimator_parameters
TRIALS = 1500
SPACES: dict[str, dict[str, Any]] = {name: dict(space) for name, space in KINDS.items()}


def columns(space: str) -> dict[str, Floats]:
    """By parameter, (trials,) values drawn at random."""
    draws = np.random.RandomState(5)
    return {name: _drawn(each, draws, TRIALS) for name, each in SPACES[space].items()}


def points(space: str) -> dict[str, Floats]:
    """Some at random, and the ends of every range."""
    draws = np.random.RandomState(6)
    return {
        name: np.append(_drawn(each, draws, 22), [0, 1] if hasattr(each, "choices") else [each.low, each.high])
        for name, each in SPACES[space].items()
    }


def _drawn(each: Any, draws: np.random.RandomState, count: int) -> Floats:
    if hasattr(each, "choices"):
        return draws.randint(len(each.choices), size=count).astype(float)
    if each.step is None:
        return draws.uniform(each.low, each.high, count)
    steps = round((each.high - each.low) / each.step) + 1
    values: Floats = each.low + each.step * draws.randint(steps, size=count)
    return values


def check(mixture: Mixture, space: str) -> None:
    at = points(space)
    np.testing.assert_allclose(mixture.log_density(at), mixture.optunas(OPTUNAS).log_pdf(at), atol=1e-9)


@pytest.mark.parametrize("count", [2, 90, TRIALS])  # few kernels are as wide as the range, many as narrow as is allowed
@pytest.mark.parametrize("space", SPACES)
def test_the_density_is_optunas_but_for_rounding(space: str, count: int) -> None:
    mixture = Mixture(SPACES[space])
    mixture.follow(np.arange(TRIALS) < count, columns(space), {})

    assert len(mixture) == count
    check(mixture, space)


@pytest.mark.parametrize("start", [95, 600])  # from 98 on, kernels move one by one
@pytest.mark.parametrize("space", SPACES)
def test_it_stays_so_while_trials_come_and_go(space: str, start: int) -> None:
    draws, values, mixture = random.Random(start), columns(space), Mixture(SPACES[space])
    members = np.arange(TRIALS) < start
    for _ in range(12):
        members = members.copy()
        for number in draws.sample(range(start + 20), draws.randint(0, 6)):
            members[number] = not members[number]
        # The newest run, and the history does not have them yet.
        others = {number: [values[name][number] for name in SPACES[space]] for number in range(start, start + 20)}
        known = {name: np.where(np.arange(TRIALS) < start, column, np.nan) for name, column in values.items()}
        mixture.follow(members, known, others)
        check(mixture, space)


def test_equal_trials_are_kernels_too() -> None:
    values, mixture = columns("floats"), Mixture(SPACES["floats"])
    for column in values.values():
        column[200:203] = column[7]
    for count in (200, 201, 203, 202, 200, 199):
        mixture.follow(np.arange(TRIALS) < count, values, {})
        check(mixture, "floats")
