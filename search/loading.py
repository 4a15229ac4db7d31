"""From SQL rows back to a study in memory: after a start, a takeover, or a transaction that failed."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

import structlog
from sqlalchemy import JSON, Row, func, select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session, sessionmaker

from search.definition import Definition, parse
from search.gp_process import missing_extra
from search.isolation import FORESEEN
from search.keeping import with_models
from search.ledger import LiveTrial, StudyChange
from search.live_study import LiveStudy
from search.optuna_trials import PastTrial, WarmTrial
from search.origins import find_origins
from store.errors import DefinitionError, Problem
from store.models import AttemptRow, ReportRow, StudyRow, StudyState, TrialRow, TrialState, WarmTrialRow

# What is read of all trials of a study: each further column costs tens of milliseconds with many of them.
_OF_ALL = ("number", "state", "parameters", "system_attrs", "values", "violation", "space_version", "ended_at")
_TO_REUSE = ("metrics", "step")

NOT_ITS_OWN = (*FORESEEN, OSError, MemoryError)  # what is raised over a study through no fault of its rows

log = structlog.get_logger(__name__)

ACTIVE = (StudyState.PREPARING, StudyState.RUNNING, StudyState.PAUSED)


def study_states(session: Session, known: set[int]) -> dict[int, StudyState]:
    """The states of all studies that have not ended, and of those already known; a deleted one is missing."""
    wanted = StudyRow.state.in_([str(state) for state in ACTIVE]) | StudyRow.id.in_(known)
    return {row.id: StudyState(row.state) for row in session.execute(select(StudyRow.id, StudyRow.state).where(wanted))}


def load_studies(
    reads: sessionmaker[Session], wanted: Iterable[int], known: Iterable[LiveStudy]
) -> tuple[dict[int, LiveStudy], dict[int, DefinitionError]]:
    """Rebuild studies by their numbers, and say of those that cannot run here why; nothing of one that is gone.

    One whose rows we fail on twice cannot, if we hold another one with trials; else the fault may concern all, as after
    an upgrade, and no study is given up.

    Args:
        known: those that are in memory already.

    Raises:
        Exception: what was raised over a study, where there is no other one to tell by.
    """
    loaded: dict[int, LiveStudy] = {}
    refused: dict[int, DefinitionError] = {}
    failed: dict[int, Exception] = {}
    for study_id in wanted:
        try:
            loaded[study_id] = _tried_twice(reads, study_id)
        except NoResultFound:
            log.info("a study was deleted before it was loaded", study=study_id)
        except DefinitionError as error:
            refused[study_id] = error
        except NOT_ITS_OWN:
            raise
        except Exception as error:
            log.exception("a study cannot be loaded", study=study_id)
            failed[study_id] = error
    if failed and not any(study.counts.total() for study in (*known, *loaded.values())):
        raise next(iter(failed.values()))
    return loaded, refused | {study_id: _faulty("loaded", error) for study_id, error in failed.items()}


def refusal_of(study_id: int, state: StudyState, error: DefinitionError) -> StudyChange:
    """The end of a study that cannot run here: it was stored by a version that knew more, or was less strict, than this
    one, or an extra is not installed, or we fail on its rows."""
    reason = f"the scheduler cannot run what is stored: {error.problems[0]}"
    errors = [problem.as_dict() for problem in error.problems]
    return StudyChange(study_id, state, StudyState.FAILED, reason, errors)


def _tried_twice(reads: sessionmaker[Session], study_id: int) -> LiveStudy:
    try:
        with reads() as session:
            return load_study(session, study_id)
    except NOT_ITS_OWN:
        raise
    except Exception as error:  # noqa: BLE001 - what is raised again is told
        log.warning("a study could not be loaded; trying again", study=study_id, error=repr(error))
    with reads() as session:
        return load_study(session, study_id)


def _faulty(what: str, error: Exception) -> DefinitionError:
    message = f"cannot be {what} ({type(error).__name__}: {error})"
    return DefinitionError([Problem("study", message, "a fault of ours; the scheduler's log has it")])


def load_study(session: Session, study_id: int, changed: Definition | None = None) -> LiveStudy:
    """Rebuild one study with all that its sampler and pruner remember.

    Args:
        changed: as it would be with this definition, of another space.

    Raises:
        DefinitionError: it cannot run here.
        NoResultFound: it is gone.
    """
    was_enabled = gc.isenabled()
    gc.disable()  # nearly all objects made here stay: looking for garbage among them takes as long as making them
    try:
        return _load(session, study_id, changed)
    finally:
        if was_enabled:
            gc.enable()


def _load(session: Session, study_id: int, changed: Definition | None) -> LiveStudy:
    row = session.get_one(StudyRow, study_id)
    definition = changed or parse(row.definition)
    if definition.sampler.name == "gp" and (problem := missing_extra()) is not None:
        raise DefinitionError([problem])
    metrics = [objective.metric for objective in definition.objectives]
    warm = _warm_trials(session, study_id, definition)
    study = _begun(row, definition, warm)
    study.origins = find_origins(session, definition)
    version = len(row.past_spaces) + 1 + (changed is not None)
    # Rows as they are: ORM objects of a large study take seconds to make.
    columns = [
        TrialRow.__table__.c[name] for name in (*_OF_ALL, *(_TO_REUSE if definition.duplicates == "reuse" else ()))
    ]
    query = select(*columns).where(TrialRow.study_id == study_id).order_by(TrialRow.number)
    trials = session.execute(query).all()
    # Of several objectives no sampler looks at the values by step.
    by_step = _values_by_step(session, study_id, metrics[0]) if len(metrics) == 1 else {}
    past = (_past(trial, by_step.get(trial.number, {}), metrics, version) for trial in trials)
    study.optuna.load(past, row.system_attrs)
    for trial in trials:
        study.counts[TrialState(trial.state)] += 1
        if trial.state == TrialState.COMPLETE and definition.duplicates == "reuse":
            study.recall_result(trial.number, trial.metrics, trial.step)
        if not TrialState(trial.state).ended and (live := load_trial(session, study_id, trial.number)) is not None:
            study.recall_open(live)
    _recall_ends(study, trials, metrics)
    complete = {trial.number: trial.parameters for trial in trials if trial.state == TrialState.COMPLETE}
    if definition.may_inherit:
        kept = with_models(session, row, definition, complete)
        complete = {number: parameters for number, parameters in complete.items() if number in kept}
    _recall_attempts(session, study, complete)
    return study


def _recall_ends(study: LiveStudy, trials: Sequence[Row[Any]], metrics: Sequence[str]) -> None:
    """In the order of time, which says what was the best when."""
    ends = [
        (trial.ended_at, TrialState(trial.state), None if (trial.violation or 0) > 0 else _values(trial, metrics))
        for trial in trials
        if trial.ended_at
    ]
    for at, state, values in sorted(ends, key=itemgetter(0)):
        study.recall_end(state, values, at)


def _recall_attempts(session: Session, study: LiveStudy, complete: Mapping[int, dict[str, Any]]) -> None:
    """What the attempts have used, and what those of the complete trials leave to others.

    Args:
        complete: parameters by trial.
    """
    times = (AttemptRow.started_at, AttemptRow.ended_at, AttemptRow.device_seconds)
    attempts = select(AttemptRow.number, AttemptRow.attempt, *times)
    of_study = attempts.where(AttemptRow.study_id == study.id).order_by(AttemptRow.number, AttemptRow.attempt)
    for number, attempt, began, ended, device_seconds in session.execute(of_study):
        study.recall_attempt(number, began, None if ended is None else device_seconds or 0.0)
        if number in complete:
            study.heritage.leaves(number, attempt, complete[number])


def _begun(row: StudyRow, definition: Definition, warm: Sequence[WarmTrial]) -> LiveStudy:
    """The study without its trials.

    Raises:
        DefinitionError: it is a new one that we fail on.
    """
    try:
        return LiveStudy(row.id, definition, StudyState(row.state), _began(row), row.past_spaces, warm)
    except Exception as error:
        if StudyState(row.state) is not StudyState.PREPARING:
            raise
        log.exception("a new study cannot be begun", study=row.id)
        raise _faulty("begun", error) from error


def _began(row: StudyRow) -> datetime | None:
    """When the study would have begun, had it never rested."""
    return row.started_at and row.started_at + timedelta(seconds=row.rested_seconds)


def load_trial(session: Session, study_id: int, number: int) -> LiveTrial | None:
    """One trial in whatever state SQL has it; None if there is none."""
    table = TrialRow.__table__
    row = session.execute(select(table).where(table.c.study_id == study_id, table.c.number == number)).first()
    return None if row is None else _live(session, row)


def _values_by_step(session: Session, study_id: int, metric: str) -> dict[int, dict[int, float]]:
    """The objective by trial and step; where attempts overlap, the newest one's value counts."""
    table = ReportRow.__table__
    value = table.c.metrics[metric]
    query = select(table.c.number, table.c.step).where(table.c.study_id == study_id)
    query = query.order_by(table.c.number, table.c.attempt, table.c.step)
    values: dict[int, dict[int, float]] = defaultdict(dict)
    if session.get_bind().dialect.name == "postgresql":
        # A row for each trial comes three times as fast as a row for each report.
        rows = query.add_columns(value.label("value")).subquery()
        lists = func.json_agg(rows.c.step, type_=JSON), func.json_agg(rows.c.value, type_=JSON)
        for number, steps, reported in session.execute(select(rows.c.number, *lists).group_by(rows.c.number)):
            pairs = zip(steps, reported, strict=True)
            values[number] = {step: float(value) for step, value in pairs if value is not None}
        return values
    for number, step, reported in session.execute(query.add_columns(value.as_float())):
        if reported is not None:
            values[number][step] = reported
    return values


def _warm_trials(session: Session, study_id: int, definition: Definition) -> list[WarmTrial]:
    query = select(WarmTrialRow).where(WarmTrialRow.study_id == study_id).order_by(WarmTrialRow.position)
    return [
        WarmTrial(
            row.parameters,
            [row.values[each.metric] for each in definition.objectives],
            # An older version kept the objectives alone.
            {
                each.key: each.violation(row.values[each.metric])
                for each in definition.constraints
                if each.metric in row.values
            },
        )
        for row in session.scalars(query)
    ]


def _past(row: Row[Any], intermediate: dict[int, float], metrics: Sequence[str], version: int) -> PastTrial:
    state, attrs, values = TrialState(row.state), row.system_attrs, _values(row, metrics)
    return PastTrial(row.number, state, row.parameters, values, attrs, intermediate, row.space_version == version)


def _values(row: Row[Any], metrics: Sequence[str]) -> list[float] | None:
    values = row._mapping["values"]  # the row itself has a method of this name
    return [values[metric] for metric in metrics] if values else None


def _live(session: Session, row: Row[Any]) -> LiveTrial:
    trial = LiveTrial(
        row.study_id,
        row.number,
        TrialState(row.state),
        row.parameters,
        row.created_at,
        metrics=row.metrics,
        step=row.step,
        retries=row.retries,
        reason=row.reason,
        space_version=row.space_version,
        inherits=row.inherits,
        started_at=row.started_at,
    )
    attempts = select(AttemptRow).where(AttemptRow.study_id == row.study_id, AttemptRow.number == row.number)
    if (attempt := session.scalars(attempts.order_by(AttemptRow.attempt.desc()).limit(1)).first()) is not None:
        trial.attempt, trial.worker, trial.device = attempt.attempt, attempt.worker, attempt.device
        key = (row.study_id, row.number, attempt.attempt)
        same = (ReportRow.study_id == key[0], ReportRow.number == key[1], ReportRow.attempt == key[2])
        steps = session.execute(select(ReportRow.step, ReportRow.metrics).where(*same))
        trial.steps = {step: frozenset(metrics) for step, metrics in steps}
    return trial
