"""TPE's candidates are Optuna's: nearly so where they are compared, to the last bit where one is proposed."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

from search.candidates import Candidates

COUNT = 24
SPACES: dict[str, dict[str, BaseDistribution]] = {
    "floats": {f"x{place}": FloatDistribution(-1.0, 3.0) for place in range(5)},
    "mixed": {
        "lr": FloatDistribution(1e-5, 1e-1, log=True),
        "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
        "dropout": FloatDistribution(0.0, 0.6, step=0.1),
        "batch": IntDistribution(16, 256, log=True),
    },
    "choices": {"a": CategoricalDistribution([1, 2, 3])},
}


@pytest.mark.parametrize("space", SPACES)
def test_each_candidate_is_optunas(space: str) -> None:
    draws = np.random.default_rng(3)
    sure = 0
    for seed in range(30):
        estimator = density(SPACES[space], draws)
        expected = list(estimator.sample(np.random.RandomState(seed), COUNT).values())

        candidates = Candidates(estimator._mixture_distribution, np.random.RandomState(seed), COUNT)
        rough = candidates.roughly()
        for ours, stock in zip(candidates.exactly(), expected, strict=True):
            assert ours.tolist() == stock.tolist()
        if rough is None:
            continue
        sure += 1
        np.testing.assert_allclose(rough, expected, rtol=1e-9, atol=1e-12)
        for point in range(COUNT):
            one = [value.item() for value in candidates.exactly_one(point)]
            assert one == [stock[point] for stock in expected]
    assert sure >= 28  # the cheap way is the usual one


def density(space: dict[str, BaseDistribution], draws: np.random.Generator) -> _ParzenEstimator:
    """Of ten points drawn at random, one of them at an edge."""
    observed = {
        name: np.array([internal(each, share) for share in [0.0, *draws.random(9)]]) for name, each in space.items()
    }
    return _ParzenEstimator(observed, space, TPESampler()._parzen_estimator_parameters)


def internal(distribution: BaseDistribution, share: float) -> float:
    """A value of a distribution, so far from its low end."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return int(share * len(choices))
        case FloatDistribution(low=low, high=high, step=None, log=True):
            return low * (high / low) ** share
        case FloatDistribution(low=low, high=high, step=None):
            return low + share * (high - low)
        case FloatDistribution(low=low, high=high, step=step) | IntDistribution(low=low, high=high, step=step):
            return low + step * int(share * (high - low) / step)
    raise TypeError(distribution)
