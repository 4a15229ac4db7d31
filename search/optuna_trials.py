"""Trials on their way into Optuna and out of it: as SQL knows them, as another study's, as a proposal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.space import Space
from store.models import TrialState

OPTUNA_STATE = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.CANCELLED: OptunaState.FAIL,
}

WORST = "trialyard:worst"  # a trial's system attribute: it has no values, and the sampler takes it for one with these

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
    """A complete trial of another study: it teaches the sampler, and is none of this study's."""

    parameters: Mapping[str, Any]
    values: Sequence[float]


@dataclass(frozen=True)
class Proposal:
    """A new trial's number and parameters. `twin`: a complete trial with the same ones, whose values may serve."""

    number: int
    parameters: dict[str, Any]
    twin: int | None


class Storage(InMemoryStorage):
    """Optuna's own, which also takes trials over as they are: checks and deep copies cost seconds at a restart."""

    def append(self, study_id: int, trial: FrozenTrial) -> None:
        info = self._studies[study_id]
        self._max_trial_id += 1
        trial.number, trial._trial_id = len(info.trials), self._max_trial_id
        self._trial_id_to_study_id_and_number[trial._trial_id] = (study_id, trial.number)
        info.trials.append(trial)
        info.param_distribution |= trial.distributions
        self._update_cache(trial._trial_id, study_id)


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
