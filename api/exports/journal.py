"""Trials as a journal that Optuna opens: `load_study(storage=JournalStorage(JournalFileBackend(path)))`.

A line of JSON an operation, in the form of Optuna 4 and 5: the study, then each trial as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from optuna.distributions import distribution_to_json
from optuna.storages.journal._storage import JournalOperation
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState
from sqlalchemy.orm import Session, sessionmaker

from api.exports.pages import Remembered, pages, remembered, spaces_of
from api.shapes import Trial
from search.space import Space
from store.models import StudyRow

_STATES = {
    "WAITING": OptunaState.WAITING,
    "QUEUED": OptunaState.WAITING,
    "RUNNING": OptunaState.RUNNING,
    "PAUSED": OptunaState.RUNNING,
    "COMPLETE": OptunaState.COMPLETE,
    "PRUNED": OptunaState.PRUNED,
    "FAILED": OptunaState.FAIL,
    "CANCELLED": OptunaState.FAIL,
}


def as_journal(sessions: sessionmaker[Session], study: StudyRow) -> Iterator[bytes]:
    """The study under its own name, with directions, trials and all that samplers and pruners remember of them.

    What Optuna has no place for are user attributes: the state as we name it, why and where a trial ended, constants,
    and the metrics that it reported last, each as `metrics.<name>`. A choice that is a list or a mapping is its JSON.
    Where the space has changed, each trial has the distributions of its own version.
    """
    spaces = spaces_of(study)
    objectives = study.objectives
    metrics = [objective["metric"] for objective in objectives]
    directions = [StudyDirection[objective["direction"].upper()] for objective in objectives]
    yield _line(JournalOperation.CREATE_STUDY, study_name=study.name, directions=directions)
    yield _line(JournalOperation.SET_STUDY_USER_ATTR, study_id=0, user_attr={"definition": study.definition})
    for key, value in {"study:metric_names": metrics, **study.system_attrs}.items():
        yield _line(JournalOperation.SET_STUDY_SYSTEM_ATTR, study_id=0, system_attr={key: value})
    by_step = metrics[0] if len(metrics) == 1 else None  # Optuna keeps no values by step of several objectives
    for page in pages(sessions, study):
        memory = remembered(sessions, study, by_step, page[0].number, page[-1].number)
        yield b"".join(
            _trial_line(trial, memory[trial.number], metrics, spaces[trial.space_version - 1]) for trial in page
        )


def _trial_line(trial: Trial, memory: Remembered, metrics: list[str], space: Space) -> bytes:
    params, distributions = space.internal(trial.parameters)
    state = _STATES[trial.state]
    values = _values(trial, memory, metrics, state)
    fields: dict[str, Any] = {
        "study_id": 0,
        "state": state,
        "datetime_start": trial.started_at,
        "value": values[0] if values and len(values) == 1 else None,
        "values": values if values and len(values) > 1 else None,
        "params": {name: distributions[name].to_internal_repr(value) for name, value in params.items()},
        "distributions": {name: distribution_to_json(each) for name, each in distributions.items()},
        "intermediate_values": memory.intermediate,
        "user_attrs": _user_attrs(trial, params),
        "system_attrs": memory.system_attrs,
    }
    if trial.ended_at is not None:
        fields["datetime_complete"] = trial.ended_at
    return _line(JournalOperation.CREATE_TRIAL, **fields)


def _values(trial: Trial, memory: Remembered, metrics: list[str], state: OptunaState) -> list[float] | None:
    """The objective's values; of a pruned trial its last intermediate one, as `Study.tell` has it."""
    if trial.values is not None:
        return [trial.values[metric] for metric in metrics]
    if state is OptunaState.PRUNED and memory.intermediate:
        return [memory.intermediate[max(memory.intermediate)]]
    return None


def _user_attrs(trial: Trial, params: Mapping[str, Any]) -> dict[str, Any]:
    newest = trial.attempts[-1] if trial.attempts else None
    attrs: dict[str, Any] = {
        "state": trial.state,
        "reason": trial.reason,
        "attempts": len(trial.attempts) or None,
        "space_version": trial.space_version,
        "worker": newest and newest.worker,
        "device": newest and newest.device,
        "lineage": [copy.model_dump(mode="json") for copy in trial.lineage] or None,
        "constants": {name: value for name, value in trial.parameters.items() if name not in params} or None,
    }
    reported = {f"metrics.{name}": value for name, value in (trial.metrics or {}).items()}
    return {name: value for name, value in attrs.items() if value is not None} | reported


def _line(operation: JournalOperation, **fields: Any) -> bytes:
    entry = {"op_code": int(operation), "worker_id": "trialyard", **fields}
    return orjson.dumps(entry, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
