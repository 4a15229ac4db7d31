"""From SQL rows back to a study in memory: after a start, a takeover, or a transaction that failed."""

from __future__ import annotations

from collections import defaultdict
from operator import itemgetter

from sqlalchemy import select
from sqlalchemy.orm import Session

from search.definition import parse
from search.ledger import LiveTrial
from search.live_study import LiveStudy
from search.optuna_study import PastTrial
from store.models import AttemptRow, ReportRow, StudyRow, StudyState, TrialRow, TrialState

ACTIVE = (StudyState.PREPARING, StudyState.RUNNING, StudyState.PAUSED)


def study_states(session: Session, known: set[int]) -> dict[int, StudyState]:
    """The states of all studies that have not ended, and of those already known; a deleted one is missing."""
    wanted = StudyRow.state.in_([str(state) for state in ACTIVE]) | StudyRow.id.in_(known)
    return {row.id: StudyState(row.state) for row in session.execute(select(StudyRow.id, StudyRow.state).where(wanted))}


def load_study(session: Session, study_id: int) -> LiveStudy:
    """Rebuild one study with all that its sampler and pruner remember."""
    row = session.get_one(StudyRow, study_id)
    study = LiveStudy(row.id, parse(row.definition), StudyState(row.state), row.started_at)
    trials = session.scalars(select(TrialRow).where(TrialRow.study_id == study_id).order_by(TrialRow.number)).all()
    attempts = _newest_attempts(session, study_id)
    metric = study.definition.objective.metric
    values = _objective_values(session, study_id, metric)
    past = (_past(trial, values[trial.number], metric) for trial in trials)
    study.optuna.load(past, row.system_attrs)
    for trial in trials:
        study.counts[TrialState(trial.state)] += 1
        if not TrialState(trial.state).ended:
            study.open[trial.number] = _live(session, trial, attempts.get(trial.number))
    ends = [(trial.ended_at, TrialState(trial.state), _value(trial, metric)) for trial in trials if trial.ended_at]
    for at, state, value in sorted(ends, key=itemgetter(0)):
        study.recall_end(state, value, at)
    return study


def load_trial(session: Session, study_id: int, number: int) -> LiveTrial | None:
    """One trial in whatever state SQL has it; None if there is none."""
    row = session.get(TrialRow, (study_id, number))
    if row is None:
        return None
    newest = select(AttemptRow).where(AttemptRow.study_id == study_id, AttemptRow.number == number)
    return _live(session, row, session.scalar(newest.order_by(AttemptRow.attempt.desc()).limit(1)))


def _newest_attempts(session: Session, study_id: int) -> dict[int, AttemptRow]:
    rows = session.scalars(select(AttemptRow).where(AttemptRow.study_id == study_id).order_by(AttemptRow.attempt))
    return {row.number: row for row in rows}


def _objective_values(session: Session, study_id: int, metric: str) -> dict[int, dict[int, float]]:
    """The objective by trial and step; where attempts overlap, the newest one's value counts."""
    query = select(ReportRow.number, ReportRow.step, ReportRow.metrics)
    rows = session.execute(query.where(ReportRow.study_id == study_id).order_by(ReportRow.attempt))
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for number, step, metrics in rows:
        if metric in metrics:
            values[number][step] = metrics[metric]
    return values


def _past(row: TrialRow, intermediate: dict[int, float], metric: str) -> PastTrial:
    attrs = row.system_attrs
    return PastTrial(row.number, TrialState(row.state), row.parameters, _value(row, metric), attrs, intermediate)


def _value(row: TrialRow, metric: str) -> float | None:
    return row.values[metric] if row.values else None


def _live(session: Session, row: TrialRow, attempt: AttemptRow | None) -> LiveTrial:
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
        started_at=row.started_at,
    )
    if attempt is not None:
        trial.attempt, trial.worker, trial.device = attempt.attempt, attempt.worker, attempt.device
        key = (row.study_id, row.number, attempt.attempt)
        same = (ReportRow.study_id == key[0], ReportRow.number == key[1], ReportRow.attempt == key[2])
        trial.steps = set(session.scalars(select(ReportRow.step).where(*same)))
    return trial
