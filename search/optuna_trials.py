"""Trials on their way into Optuna and out of it: as SQL knows them, as another study's, as a proposal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.gp import KERNELS
from search.space import Space
from store.models import TrialState

OPTUNA_STATE = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.CANCELLED: OptunaState.FAIL,
}

ENQUEUED = "trialyard:enqueued"  # a study's system attribute: how many of its `enqueue` are made
# … and those, as of trials, that no other space shares
OF_ONE_SPACE = ("cma:", KERNELS, "NSGAIISampler:parent", "NSGAIIISampler:parent", ENQUEUED)
WORST = "trialyard:worst"  # a trial's system attribute: it has no values, and the sampler takes it for one with these

CONSTRAINTS = "constraints:"  # Optuna's prefix of what a trial's constraints came to

MOST_SHARED = 8  # sets of distributions: with many conditions there are too many to look through

_LONG_AGO = datetime(2000, 1, 1)  # noqa: DTZ001 - Optuna's times have no zone, and no sampler looks at them


@dataclass(frozen=True)
class PastTrial:
    """A trial as SQL knows it: `values` in the order of the objectives, `intermediate` a single objective's by step.

    `is_of_this_space`: it was proposed in the present version of the space.
    """

    number: int
    state: TrialState
    parameters: Mapping[str, Any]
    values: Sequence[float] | None = None
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    intermediate: Mapping[int, float] = field(default_factory=dict)
    is_of_this_space: bool = True


@dataclass(frozen=True)
class WarmTrial:
    """A complete trial of another study: it teaches the sampler, and is none of this study's.

    `constraints` are what those of this study come to for it.
    """

    parameters: Mapping[str, Any]
    values: Sequence[float]
    constraints: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """A new trial's number and parameters. `twin`: a complete trial with the same ones, whose values may serve."""

    number: int
    parameters: dict[str, Any]
    twin: int | None


class Storage(InMemoryStorage):
    """Optuna's own, which also takes trials over as they are: checks and deep copies cost seconds at a restart."""

    def __init__(self) -> None:
        super().__init__()
        self._distributions: list[dict[str, BaseDistribution]] = []

    def set_params(self, trial_id: int, params: dict[str, Any], distributions: dict[str, BaseDistribution]) -> None:
        """A trial's parameters are drawn, all of them."""
        trial = shallow(self._get_trial(trial_id))
        trial.params, trial.distributions = params, self._shared(distributions)
        self._set_trial(trial_id, trial)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """As Optuna's, which copies the trial for those who hold it on other threads."""
        trial = self._get_trial(trial_id)
        self.check_trial_is_updatable(trial_id, trial.state)
        trial.intermediate_values[step] = intermediate_value

    def append(self, study_id: int, trial: FrozenTrial) -> None:
        info = self._studies[study_id]
        self._max_trial_id += 1
        trial.number, trial._trial_id = len(info.trials), self._max_trial_id
        self._trial_id_to_study_id_and_number[trial._trial_id] = (study_id, trial.number)
        info.trials.append(trial)
        trial.distributions = self._shared(trial.distributions)
        info.param_distribution |= trial.distributions
        self._update_cache(trial._trial_id, study_id)

    def _shared(self, distributions: dict[str, BaseDistribution]) -> dict[str, BaseDistribution]:
        """One object for all trials with these: with many trials a good part of the memory. Optuna changes copies."""
        for known in self._distributions:
            if known == distributions:
                return known
        if len(self._distributions) < MOST_SHARED:
            self._distributions.append(distributions)
        return distributions


def shallow(trial: FrozenTrial) -> FrozenTrial:
    """What `copy.copy` gives, at a fifth of the cost."""
    twin = FrozenTrial.__new__(FrozenTrial)
    twin.__dict__.update(trial.__dict__)
    return twin


def frozen(space: Space, trial: PastTrial, point: Mapping[str, Any] | None) -> FrozenTrial:
    """A stored trial for Optuna; `point` are its parameters in this space, None if they are none."""
    state = OPTUNA_STATE.get(trial.state, OptunaState.RUNNING)
    values, attrs = trial.values, dict(trial.system_attrs)
    if WORST in attrs:
        state, values = OptunaState.COMPLETE, attrs[WORST]
    if point is None:
        values, state = None, OptunaState.FAIL if state.is_finished() else state
    if state is OptunaState.PRUNED and trial.intermediate:
        values = [trial.intermediate[max(trial.intermediate)]]  # as `Study.tell` does for a pruned trial
    if not trial.is_of_this_space:  # an evolution strategy's memory has the dimensions of its own space
        attrs = {key: kept for key, kept in attrs.items() if not key.startswith(OF_ONE_SPACE)}
    told = blank(space, state, point or {}, values)
    told.system_attrs, told.intermediate_values = attrs, dict(trial.intermediate)
    return told


def taught(space: Space, trial: WarmTrial, point: Mapping[str, Any] | None) -> FrozenTrial:
    """Another study's trial for Optuna, at a point of this space; without one it teaches nothing."""
    if point is None:
        return blank(space, OptunaState.FAIL, {}, None)
    told = blank(space, OptunaState.COMPLETE, point, trial.values)
    told.system_attrs = {f"{CONSTRAINTS}{key}": violation for key, violation in trial.constraints.items()}
    return told


def begun(space: Space, given: Mapping[str, Any] | None) -> FrozenTrial:
    """A new trial, still to be drawn; `given`: what a person has chosen of its parameters, None if nobody has."""
    trial = blank(space, OptunaState.RUNNING, {}, None)
    if given is not None:
        trial.system_attrs = {"fixed_params": space.internal(given)[0]}  # where `Study.enqueue_trial` puts them
    return trial


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """All trials of a study, to be read and neither changed nor kept: a large study's list takes long to copy."""
    storage = study._storage
    if isinstance(storage, Storage):
        return storage._studies[study._study_id].trials
    return storage.get_all_trials(study._study_id, deepcopy=False)


def worst_of(study: optuna.Study, trial: FrozenTrial) -> list[float] | None:
    """By each objective the worst value of complete trials and, of a single one, of what this trial reported.

    None while nothing has been measured.
    """
    seen = [each.values for each in trials_of(study) if each.state is OptunaState.COMPLETE and each.values is not None]
    seen += [[value] for value in trial.intermediate_values.values()]
    if not seen:
        return None
    return [
        max(values) if direction is StudyDirection.MINIMIZE else min(values)
        for values, direction in zip(zip(*seen, strict=True), study.directions, strict=True)
    ]


def blank(space: Space, state: OptunaState, point: Mapping[str, Any], values: Sequence[float] | None) -> FrozenTrial:
    """A trial at a point of the space, of which nothing else is known; a storage gives it its number."""
    params, distributions = space.internal(point)
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=state,
        params=params,
        distributions=distributions,
        value=None,
        values=values,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        datetime_start=_LONG_AGO,
        datetime_complete=_LONG_AGO if state.is_finished() else None,
    )
