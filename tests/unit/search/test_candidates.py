"""TPE's candidates are Optuna's: nearly so where they are compared, to the last bit where one is proposed."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe import _truncnorm
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from scipy.special import ndtr

from search.candidates import Candidates, Source, steps_of
from search.kernels import Floats

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

        candidates = Source(estimator._mixture_distribution).draw(np.random.RandomState(seed), COUNT)
        rough = candidates.roughly()
        for ours, stock in zip(candidates.exactly(), expected, strict=True):
            assert ours.tolist() == stock.tolist()
        if rough is None:
            continue
        sure += 1
        np.testing.assert_allclose(rough, expected, rtol=1e-9, atol=1e-12)
        for point in range(COUNT):
            one = candidates.exactly_one(point)[:, 0].tolist()
            assert one == [stock[point] for stock in expected]
    assert sure >= 28  # the cheap way is the usual one


@pytest.mark.parametrize(
    ("distribution", "edge"),
    [(FloatDistribution(0.0, 0.5, step=0.1), 0.05), (IntDistribution(1, 4, log=True), np.log(2.5))],
)
def test_what_rounding_decides_is_left_to_optuna(distribution: BaseDistribution, edge: float) -> None:
    source = Source(density({"x": distribution}, np.random.default_rng(3))._mixture_distribution)
    mean, width, below, inside = source.shapes[:, 0, -1]  # of the widest kernel
    kernel, quantile = np.array([source.shapes.shape[2] - 1]), (ndtr((edge - mean) / width) - below) / inside

    assert Candidates(source, kernel, np.array([[quantile]])).roughly() is None
    assert Candidates(source, kernel, np.array([[quantile + 0.02]])).roughly() is not None


def test_the_steps_of_a_batch_are_optunas(monkeypatch: pytest.MonkeyPatch) -> None:
    log_ndtr, draws, steps, sure = _truncnorm._log_ndtr, np.random.default_rng(4), [0], 0

    def counted(a: Floats) -> Floats:
        steps[0] += 1
        return log_ndtr(a)

    monkeypatch.setattr(_truncnorm, "_log_ndtr", counted)
    batches = [np.array([share]) for share in (1e-40, 0.5 + 4e-9, 0.98094416, 0.99004983, 1 - 1e-13)]
    batches += [draws.random(draws.integers(1, 9)) ** draws.choice([0.02, 1, 30]) for _ in range(400)]
    for shares in batches:
        steps[0] = 0
        _truncnorm._ndtri_exp(np.log(shares))
        assert steps_of(shares) in (None, steps[0])
        sure += steps_of(shares) is not None
    assert sure > 200


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
