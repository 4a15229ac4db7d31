"""The sampler that a definition asks for, and how its randomness is tied to the trial's number."""

from __future__ import annotations

import warnings

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from search.definition import Definition
from search.grid import GridSampler
from search.sections import Grid, Random
from search.space import Space
from search.tpe import HistoryTPESampler


def make_sampler(definition: Definition) -> BaseSampler:
    """A new sampler; call `reseed` before each `study.ask()`."""
    sampler = definition.sampler
    if isinstance(sampler, Grid):
        return GridSampler(Space(definition.parameters), definition.budget.retries)
    if isinstance(sampler, Random):
        return RandomSampler(seed=sampler.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group` is the user's own choice
        return HistoryTPESampler(seed=sampler.seed, **sampler.options)


def reseed(sampler: BaseSampler, study_seed: int, number: int) -> None:
    """Set every generator of a sampler for the proposal of one trial.

    A proposal then depends on the study's seed, the trial's number and the trials that the sampler sees, and not on how
    many proposals this process has made: a restart neither repeats nor changes any.
    """
    seed = seed_of(study_seed, number)
    if isinstance(sampler, RandomSampler):
        sampler._rng.rng.seed(seed)
    elif isinstance(sampler, TPESampler):
        sampler._rng.rng.seed(seed)
        reseed(sampler._random_sampler, study_seed, number)


def seed_of(study_seed: int, number: int) -> int:
    """32 bits for one trial: numpy's SeedSequence, whose hash is the same on every machine and in every version."""
    return int(np.random.SeedSequence((study_seed, number)).generate_state(1)[0])
