"""What one batch of messages changes, gathered in memory and written in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Table, delete, update
from sqlalchemy.orm import DeclarativeBase, Session

from search.population import Copy
from search.rows import Batch
from store.messages import AttemptKey, Metrics
from store.models import (
    AttemptRow,
    CopyRow,
    EventRow,
    Outcome,
    ReportRow,
    StudyRow,
    StudyState,
    TaskRow,
    TrialRow,
    TrialState,
)
from store.tasks import Tasks

Event = tuple[str, dict[str, Any]]  # its kind and its body


class TrialKey(NamedTuple):
    study_id: int
    number: int


@dataclass
class LiveTrial:
    """A trial that has not ended, as the scheduler holds it; the columns of its row, and what its attempt is doing."""

    study_id: int
    number: int
    state: TrialState
    parameters: dict[str, Any]
    created_at: datetime
    values: dict[str, float] | None = None
    violation: float | None = None  # by how much it breaks constraints, summed; None while that is not known
    metrics: dict[str, float] | None = None
    step: int | None = None
    retries: int = 0
    reason: str | None = None
    space_version: int = 1
    inherits: int | None = None  # the trial whose weights it began with
    started_at: datetime | None = None
    ended_at: datetime | None = None
    attempt: int = 0  # the newest one's number
    worker: str = ""
    device: str = ""
    broken: dict[str, float] = field(default_factory=dict)  # constraints whose end no metric of the trial tells
    steps: dict[int, frozenset[str]] = field(default_factory=dict)  # what the running attempt reported of each
    key: TrialKey = field(init=False)

    def __post_init__(self) -> None:
        self.key = TrialKey(self.study_id, self.number)

    @property
    def attempt_key(self) -> AttemptKey:
        return AttemptKey(self.study_id, self.number, self.attempt)


@dataclass(frozen=True)
class StudyChange:
    """A study's step from one state to the next; it is not made when somebody else has changed the state meanwhile.

    `rested`: for so many seconds it had ended, if it is taken up again.
    """

    study_id: int
    was: StudyState
    state: StudyState
    reason: str | None = None
    errors: list[dict[str, str]] | None = None
    facts: dict[str, Any] | None = None
    rested: float = 0.0


class Ledger:
    """The changes of one batch. `system_attrs` reads what Optuna remembers of a trial at the time of writing."""

    def __init__(self, at: datetime, system_attrs: Callable[[TrialKey], dict[str, Any]]) -> None:
        self.at = at
        self._system_attrs = system_attrs
        self._new: dict[TrialKey, LiveTrial] = {}
        self._told: dict[TrialKey, dict[str, Any]] = {}  # the events of those
        self._changed: dict[TrialKey, LiveTrial] = {}
        self._attempts: dict[AttemptKey, dict[str, Any]] = {}
        self._ends: list[dict[str, Any]] = []
        self._copies: list[dict[str, Any]] = []
        self._reports: list[dict[str, Any]] = []
        self._further: list[tuple[dict[str, Any], Metrics]] = []
        self._studies: list[tuple[StudyChange, Event]] = []
        self._abandoned: set[int] = set()
        self._dropped_tasks: list[tuple[int, int]] = []
        self._new_tasks: list[tuple[int, str, dict[str, Any]]] = []
        self._task_columns: dict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
        self._study_columns: dict[int, dict[str, Any]] = defaultdict(dict)
        self._events: dict[int, list[Event]] = defaultdict(list)

    def add(self, trial: LiveTrial) -> None:
        """A trial was proposed."""
        self._new[trial.key] = trial

    def copy(self, trial: LiveTrial, copy: Copy) -> None:
        """A member of a population has other parameters from now on, and why."""
        self._copies.append({"study_id": trial.study_id, "number": trial.number, **asdict(copy), "at": self.at})

    def change(self, trial: LiveTrial) -> None:
        """A trial's columns changed; what stands in it when the ledger is written counts."""
        if trial.key not in self._new:
            self._changed[trial.key] = trial

    def tell(self, trial: LiveTrial) -> None:
        """Put the trial's present state into the study's event log; of one that is new in this batch only the last."""
        body = _trial_event(trial)
        if trial.key in self._told:
            self._told[trial.key].update(body)
            return
        self._events[trial.study_id].append(("trial", body))
        if trial.key in self._new:
            self._told[trial.key] = body

    def begin(self, trial: LiveTrial) -> None:
        """The trial's newest attempt has begun."""
        row = {"worker": trial.worker, "device": trial.device, "started_at": self.at}
        self._attempts[trial.attempt_key] = {**trial.attempt_key._asdict(), **row, **_OPEN}

    def end(self, attempt: AttemptKey, outcome: Outcome, reason: str | None, device_seconds: float) -> None:
        """An attempt has ended; one that began in the same batch is written as ended."""
        end = {"ended_at": self.at, "outcome": str(outcome), "reason": reason, "device_seconds": device_seconds}
        if attempt not in self._attempts:
            self._ends.append({**attempt._asdict(), **end})
        elif self._attempts[attempt]["ended_at"] is None:
            self._attempts[attempt] |= end

    def report(self, attempt: AttemptKey, step: int, metrics: Metrics, is_new: bool = True) -> None:
        """A step was reported, or, if it is not new, metrics that were missing of it."""
        key = {**attempt._asdict(), "step": step}
        if is_new:
            self._reports.append({**key, "metrics": metrics, "at": self.at})
        else:
            self._add_metrics(key, metrics)
        body = {"number": attempt.number, "attempt": attempt.attempt, "step": step, "metrics": metrics}
        self._events[attempt.study_id].append(("report", body))

    def change_task(self, study_id: int, number: int, columns: dict[str, Any]) -> None:
        """A task has moved; it may have been deleted meanwhile."""
        self._task_columns[study_id, number] |= columns

    def add_task(self, study_id: int, kind: str, request: dict[str, Any] | None = None) -> None:
        """A task of the scheduler's own, for any worker of the study's pool."""
        self._new_tasks.append((study_id, kind, request or {}))

    def drop_tasks(self, keys: Iterable[tuple[int, int]]) -> None:
        """Tasks that nobody waits for any more."""
        self._dropped_tasks += keys

    def remember(self, study_id: int, attrs: dict[str, Any]) -> None:
        """What the sampler remembers of a study has changed."""
        self._study_columns[study_id]["system_attrs"] = attrs

    def amend(
        self,
        study_id: int,
        state: StudyState,
        definition: dict[str, Any],
        past_spaces: list[dict[str, Any]] | None = None,
    ) -> None:
        """A person changed the study's definition; those who watch it hear that there is something new to read."""
        self._study_columns[study_id]["definition"] = definition
        if past_spaces is not None:
            self._study_columns[study_id]["past_spaces"] = past_spaces
        self._events[study_id].append(("study", {"state": str(state), "reason": None, "errors": None}))

    def move(self, change: StudyChange) -> None:
        event = ("study", {"state": str(change.state), "reason": change.reason, "errors": change.errors})
        self._events[change.study_id].append(event)
        self._studies.append((change, event))

    def abandon(self, change: StudyChange) -> None:
        """A study that is not in memory ends, and with it whatever SQL has of it that has not ended."""
        self._abandoned.add(change.study_id)
        self.move(change)

    @property
    def is_of_trials_alone(self) -> bool:
        """Whether `write_studies` has nothing to do."""
        tasks = self._dropped_tasks or self._new_tasks or self._task_columns
        return not (tasks or self._study_columns or self._studies or self._further)

    def write_studies(self, session: Session) -> None:
        """Write what few batches have: tasks, changes of studies as a whole, and what is added to steps that are in
        SQL. To be done before `write`."""
        for study_id, number in self._dropped_tasks:
            session.execute(delete(TaskRow).where(TaskRow.study_id == study_id, TaskRow.number == number))
        for study_id, kind, request in self._new_tasks:
            if (study := session.get(StudyRow, study_id)) is not None:
                Tasks(session, study).add(kind, request, self.at)
        for (study_id, number), columns in self._task_columns.items():
            session.execute(
                update(TaskRow).where(TaskRow.study_id == study_id, TaskRow.number == number).values(columns)
            )
        for study_id, columns in self._study_columns.items():
            session.execute(update(StudyRow).where(StudyRow.id == study_id).values(columns))
        for change, event in self._studies:
            if not self._write_study(session, change):
                self._events[change.study_id].remove(event)
            elif change.study_id in self._abandoned:
                self._cancel_open(session, change.study_id)
        for key, metrics in self._further:
            if (report := session.get(ReportRow, key)) is not None:
                report.metrics = report.metrics | metrics
        session.flush()

    def write(self, rows: Batch) -> Callable[[], dict[int, int]]:
        """Write everything else, in an order that the foreign keys allow.

        Returns:
            To be called when it is committed: the newest event's number of each study that got events. A study that
            was deleted meanwhile has none.
        """
        last = {
            study_id: rows.append(_EVENTS, _STUDIES.c.last_event, study_id, self._event_rows(events))
            for study_id, events in self._events.items()
            if events
        }
        rows.insert(_TRIALS, [self._trial_row(trial) for trial in self._new.values()])
        rows.update(_ATTEMPTS, self._ends, unless_set="ended_at")  # first: of a trial one may be open
        rows.insert(_ATTEMPTS, list(self._attempts.values()))
        rows.insert(_REPORTS, self._reports, unless_there=True)
        rows.update(_TRIALS, [self._change_row(trial) for trial in self._changed.values()])
        rows.insert(_COPIES, self._copies)
        rows.update(_TRIALS, [_copied(copy) for copy in self._copies])
        return lambda: {study_id: number for study_id, read in last.items() if (number := read()) is not None}

    def _add_metrics(self, key: dict[str, Any], metrics: Metrics) -> None:
        for row in reversed(self._reports):
            if key.items() <= row.items():
                row["metrics"] = row["metrics"] | metrics
                return
        self._further.append((key, metrics))

    def _trial_row(self, trial: LiveTrial) -> dict[str, Any]:
        return dict(zip(_FIXED, _fixed(trial), strict=True)) | self._change_row(trial)

    def _change_row(self, trial: LiveTrial) -> dict[str, Any]:
        row = dict(zip(_CHANGEABLE, _changeable(trial), strict=True))
        return row | {"state": str(trial.state), "system_attrs": self._system_attrs(trial.key)}

    def _write_study(self, session: Session, change: StudyChange) -> bool:
        """Whether the study was still in the state that it should leave."""
        columns: dict[str, Any] = {"state": str(change.state), "reason": change.reason, "errors": change.errors}
        columns["ended_at"] = self.at if change.state.ended else None
        columns["rested_seconds"] = StudyRow.rested_seconds + change.rested
        if change.facts is not None:
            columns["facts"] = change.facts
        if change.was is StudyState.PREPARING:
            columns["started_at"] = self.at
        unchanged = (StudyRow.id == change.study_id, StudyRow.state == str(change.was))
        statement = update(StudyRow).where(*unchanged).values(columns).returning(StudyRow.id)
        return session.execute(statement).first() is not None

    def _cancel_open(self, session: Session, study_id: int) -> None:
        over = {"reason": "the study has failed", "ended_at": self.at}
        of_study = (
            TrialRow.study_id == study_id,
            TrialRow.state.in_([str(each) for each in TrialState if not each.ended]),
        )
        session.execute(update(TrialRow).where(*of_study).values(state=str(TrialState.CANCELLED), **over))
        unended = (AttemptRow.study_id == study_id, AttemptRow.ended_at.is_(None))
        cancelled = {"outcome": str(Outcome.CANCELLED), "device_seconds": 0.0, **over}
        session.execute(update(AttemptRow).where(*unended).values(cancelled))

    def _event_rows(self, events: Iterable[Event]) -> list[dict[str, Any]]:
        return [{"kind": kind, "body": body, "at": self.at} for kind, body in events]


_FIXED = ("parameters", "created_at", "space_version")
_CHANGEABLE = (
    "study_id", "number", "state", "values", "violation", "metrics", "step", "retries", "reason", "inherits",
    "started_at", "ended_at",
)  # fmt: skip
_fixed, _changeable = attrgetter(*_FIXED), attrgetter(*_CHANGEABLE)


def _table(row: type[DeclarativeBase]) -> Table:
    table = row.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{row} is mapped to no table")
    return table


_STUDIES, _TRIALS, _ATTEMPTS = _table(StudyRow), _table(TrialRow), _table(AttemptRow)
_REPORTS, _EVENTS, _COPIES = _table(ReportRow), _table(EventRow), _table(CopyRow)


_OPEN = {"ended_at": None, "outcome": None, "reason": None, "device_seconds": None}  # of an attempt


def _copied(copy: dict[str, Any]) -> dict[str, Any]:
    return {"study_id": copy["study_id"], "number": copy["number"], "parameters": copy["after"]}


def _trial_event(trial: LiveTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": str(trial.state),
        "parameters": trial.parameters,
        "values": trial.values,
        "feasible": None if trial.violation is None else trial.violation <= 0,
        "metrics": trial.metrics,
        "step": trial.step,
        "reason": trial.reason,
        "attempt": trial.attempt,
        "worker": trial.worker,
    }
