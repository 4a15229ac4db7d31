"""The sampler that a definition asks for, and how its randomness is tied to the trial's number."""

from __future__ import annotations

import math
import warnings
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from optuna import Study
from optuna._transform import _SearchSpaceTransform, _untransform_numerical_param
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial
from typing_extensions import override

from search.asha import Rungs
from search.auto import AutoSampler
from search.auto_rungs import AutoRungs
from search.definition import Definition
from search.gp import GpSampler
from search.grid import GridSampler
from search.population import Population
from search.sections import Auto, CmaEs, Gp, Grid, Nsga2, Nsga3, Pbt, Qmc, Random, SamplerSpec
from search.space import Space
from search.tpe import HistoryTPESampler

_AT_ONCE = 64  # seeds


def make_sampler(
    definition: Definition, rungs: Rungs | Population | None = None, space: Space | None = None
) -> BaseSampler:
    """A new sampler; call `reseed` before each `study.ask()`.

    Args:
        rungs: those of the same study, if it has any.
        space: the study's own, if there is one: its distributions are then known for the same at a glance.
    """
    sampler, space = definition.sampler, space or Space(definition.parameters, definition.parameter_constraints)
    if isinstance(sampler, Grid):
        return GridSampler(space, definition.budget.retries)
    if isinstance(sampler, Gp):
        return GpSampler(sampler.seed, sampler.options, len(definition.constraints))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # what Optuna calls experimental is the user's own choice
        if isinstance(sampler, Auto):
            return _of_our_own(sampler, definition, rungs, space)
        return _of_optuna(sampler)


def _of_our_own(sampler: Auto, definition: Definition, rungs: Rungs | Population | None, space: Space) -> BaseSampler:
    """Where trials stand is defined for one objective; several are left to TPE."""
    if len(definition.objectives) > 1:
        return HistoryTPESampler(seed=sampler.seed)
    known = rungs if isinstance(rungs, AutoRungs) else None
    return AutoSampler(space, sampler.n_startup_trials, sampler.random_share, known)


def _of_optuna(sampler: SamplerSpec) -> BaseSampler:
    options = sampler.options
    match sampler:
        case Random() | Pbt():  # of a population the members' beginnings; what comes then: search/population.py
            return SwiftRandomSampler(seed=sampler.seed)
        case CmaEs():
            return CmaEsSampler(seed=sampler.seed, warn_independent_sampling=False, **options)
        case Nsga2():
            return _crossing_two(NSGAIISampler(seed=sampler.seed, **options))
        case Nsga3():
            return _crossing_two(NSGAIIISampler(seed=sampler.seed, **options))
        case Qmc():
            return QMCSampler(seed=sampler.seed, warn_independent_sampling=False, **options)
        case _:
            return HistoryTPESampler(seed=sampler.seed, **options)


Evolving = TypeVar("Evolving", NSGAIISampler, NSGAIIISampler)


def _crossing_two(sampler: Evolving) -> Evolving:
    """The sampler, which then draws at random where it has a single parent and Optuna's own would look for a second:
    of the generation before, a change of the space may leave one trial alone.
    """
    child_of = sampler._child_generation_strategy

    def child(study: Study, space: dict[str, BaseDistribution], parents: list[FrozenTrial]) -> dict[str, Any]:
        return child_of(study, space, parents) if len(parents) > 1 else {}

    sampler._child_generation_strategy = child
    return sampler


class SwiftRandomSampler(RandomSampler):
    """Optuna's own; it makes what it knows of each distribution once, and not for every value."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._known: dict[str, _Drawn] = {}

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        known = self._known.get(param_name)
        if known is None or known.distribution is not param_distribution:
            known = self._known[param_name] = _Drawn(param_distribution)
        return known.draw(self._rng.rng)


class _Drawn:
    """How values of one distribution are drawn."""

    def __init__(self, distribution: BaseDistribution) -> None:
        self.distribution = distribution
        self._transform = _SearchSpaceTransform({"": distribution})
        self._low, self._high = self._transform.bounds[0].tolist()  # of plain numbers numpy draws the same, and sooner
        self._is_choice = isinstance(distribution, CategoricalDistribution)
        is_plain = isinstance(distribution, FloatDistribution) and not distribution.log and distribution.step is None
        # Of Optuna's arithmetic this is what is left then: the upper end is not in the range.
        self._top = math.nextafter(self._high, self._high - 1) if is_plain else None

    def draw(self, rng: np.random.RandomState) -> Any:
        if self._is_choice:
            bounds = self._transform.bounds
            return self._transform.untransform(rng.uniform(bounds[:, 0], bounds[:, 1]))[""]
        drawn = rng.uniform(self._low, self._high)
        if self._top is not None:
            return min(drawn, self._top)
        return _untransform_numerical_param(drawn, self.distribution, transform_log=True)


def reseed(sampler: BaseSampler, study_seed: int, number: int) -> None:
    """Set every generator of a sampler for the proposal of one trial.

    A proposal then depends on the study's seed, the trial's number and the trials that the sampler sees, and not on how
    many proposals this process has made: a restart neither repeats nor changes any.
    """
    seed = seed_of(study_seed, number)
    match sampler:
        case RandomSampler():
            sampler._rng.rng.seed(seed)
        case AutoSampler():
            sampler.reseed(seed)
        case TPESampler() | NSGAIISampler() | NSGAIIISampler():
            sampler._rng.rng.seed(seed)
            reseed(sampler._random_sampler, study_seed, number)
        case CmaEsSampler():
            sampler._cma_rng.rng.seed(seed)
            reseed(sampler._independent_sampler, study_seed, number)
        case GpSampler():  # its other half is seeded with each question
            reseed(sampler.independent_sampler, study_seed, number)
        case QMCSampler():  # the sequence itself goes by its place in it, which is kept with the study
            reseed(sampler._independent_sampler, study_seed, number)


def seed_of(study_seed: int, number: int) -> int:
    """32 bits for one trial: numpy's SeedSequence, whose hash is the same on every machine and in every version."""
    return _seeds(study_seed, number // _AT_ONCE)[number % _AT_ONCE]


@lru_cache(maxsize=64)
def _seeds(study_seed: int, block: int) -> list[int]:
    """Those of trials that follow each other: while other things go on, one takes as long as ten at once."""
    numbers = range(block * _AT_ONCE, (block + 1) * _AT_ONCE)
    return [int(np.random.SeedSequence((study_seed, number)).generate_state(1)[0]) for number in numbers]
