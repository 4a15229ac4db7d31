"""The tables. SQL is the only truth; what must never happen is forbidden here, by the database itself.

Keys are natural: a trial is (study, number), an attempt adds its own number, a report its step. The attempt's number is
the fence: a message of attempt k is refused when attempt k has ended, and k+1 begins only after k has ended.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class StudyState(StrEnum):
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        return self in (StudyState.COMPLETE, StudyState.CANCELLED, StudyState.FAILED)


class TrialState(StrEnum):
    WAITING = "WAITING"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        return self in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.CANCELLED)


class Outcome(StrEnum):
    """How an attempt ended. Only the first four end its trial; after the others the trial may run again."""

    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"
    RETURNED = "returned"  # given back by a worker that was told to leave
    LOST = "lost"


class TaskState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"

    @property
    def ended(self) -> bool:
        return self in (TaskState.COMPLETE, TaskState.FAILED)


class KeyRole(StrEnum):
    """What a key opens: the whole API but for the addresses that a worker joins by, or these alone."""

    USER = "user"
    WORKER = "worker"


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC on every database; SQLite would drop the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # Plain JSON, also on PostgreSQL: JSONB would reorder the keys, and the order of a study's parameters is the order
    # in which the sampler draws them. Python's None is SQL's NULL.
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        dict[str, Any]: JSON(none_as_null=True),
        list[dict[str, Any]]: JSON(none_as_null=True),
        datetime: UtcDateTime(),
    }


def one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(state)) for state in states)})", name=column)


class StudyRow(Base):
    """A study: its definition as it was sent, and where it stands. `last_event` numbers its event log, `last_task` its
    tasks, `last_ensemble` those of them that are ensembles."""

    __tablename__ = "study"
    __table_args__ = (
        one_of("state", StudyState),
        CheckConstraint("(ended_at IS NOT NULL) = (state IN ('COMPLETE', 'CANCELLED', 'FAILED'))", name="ended"),
        # The number of a deleted study is never given again: its artifacts' path has it.
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    definition: Mapped[dict[str, Any]]
    reason: Mapped[str | None]
    errors: Mapped[list[dict[str, Any]] | None]
    facts: Mapped[dict[str, Any] | None]  # what the preflight found out about the data and the model
    # What the sampler remembers of the study as a whole, in Optuna's form.
    system_attrs: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    # The spaces that were replaced, from version 1 on: {"version", "parameters", "until"}.
    past_spaces: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    # What it began with: {"study", "taken", "left_out": [{"reason", "trials", "first"}]}; the trials: WarmTrialRow.
    warm_start: Mapped[dict[str, Any] | None]
    last_event: Mapped[int] = mapped_column(default=0)
    last_task: Mapped[int] = mapped_column(default=0, server_default="0")
    last_ensemble: Mapped[int] = mapped_column(default=0, server_default="0")
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    # From its earlier ends to when it was taken up again: no time of its search.
    rested_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")

    @property
    def objectives(self) -> list[dict[str, str]]:
        """The metrics that it searches by, each with its direction; the first one chooses epochs."""
        objective = self.definition["objective"]
        return objective if isinstance(objective, list) else [objective]


class TrialRow(Base):
    """A trial. `metrics` are the last ones reported (at `step`); `values` are the objective's, once it is COMPLETE."""

    __tablename__ = "trial"
    __table_args__ = (
        one_of("state", TrialState),
        CheckConstraint(
            "(ended_at IS NOT NULL) = (state IN ('COMPLETE', 'PRUNED', 'FAILED', 'CANCELLED'))", name="ended"
        ),
        CheckConstraint("state <> 'COMPLETE' OR \"values\" IS NOT NULL", name="complete_has_values"),
        CheckConstraint("state <> 'FAILED' OR reason IS NOT NULL", name="failed_has_reason"),
        # By the state first: else PostgreSQL, while it has not counted the trials yet, takes this for as good a way to
        # one of them as the primary key, and reads all of its study.
        Index("ix_trial_state_study_id", "state", "study_id"),
        {"sqlite_with_rowid": False},
    )

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(16))
    parameters: Mapped[dict[str, Any]]
    system_attrs: Mapped[dict[str, Any]]  # what the sampler and the pruner remember about it
    values: Mapped[dict[str, Any] | None]
    # By how much constraints are broken, summed; 0 where all are kept, null where there are none or it is not known.
    violation: Mapped[float | None]
    metrics: Mapped[dict[str, Any] | None]
    step: Mapped[int | None]
    space_version: Mapped[int] = mapped_column(default=1, server_default="1")  # of the space that it was proposed in
    inherits: Mapped[int | None]  # the trial of the same study whose weights it began with
    retries: Mapped[int] = mapped_column(default=0)  # attempts that were lost or failed, counted against budget.retries
    reason: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class WarmTrialRow(Base):
    """A complete trial of another study that teaches this one's sampler, as it was when this study was made.

    `values`: of the objectives, and of the metrics that this study's constraints bound.
    """

    __tablename__ = "warm_trial"
    __table_args__ = ({"sqlite_with_rowid": False},)

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]  # in its own study
    parameters: Mapped[dict[str, Any]]
    values: Mapped[dict[str, Any]]


class AttemptRow(Base):
    """One execution of a trial on one worker. At most one of a trial is open at any time."""

    __tablename__ = "attempt"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "number"], ["trial.study_id", "trial.number"], ondelete="CASCADE"),
        one_of("outcome", Outcome),
        CheckConstraint("(ended_at IS NULL) = (outcome IS NULL)", name="ended"),
        CheckConstraint("attempt >= 1", name="counts_from_one"),
        Index(
            "uq_attempt_open",
            "study_id",
            "number",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        {"sqlite_with_rowid": False},
    )

    study_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    worker: Mapped[str] = mapped_column(String(128))
    device: Mapped[str] = mapped_column(String(128))
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    reason: Mapped[str | None]
    device_seconds: Mapped[float | None]  # once it has ended: its time, times its devices


class CopyRow(Base):
    """A member of a population went on from another's checkpoint: from then on it has the parameters `after`.

    `turn` counts a trial's copies from 1; `step` and `value` are what it had come to itself, null for nothing.
    """

    __tablename__ = "copied"
    __table_args__ = (
        ForeignKeyConstraint(["study_id", "number"], ["trial.study_id", "trial.number"], ondelete="CASCADE"),
        ForeignKeyConstraint(
            ["study_id", "source", "source_attempt"],
            ["attempt.study_id", "attempt.number", "attempt.attempt"],
            ondelete="CASCADE",
        ),
        CheckConstraint("turn >= 1", name="counts_from_one"),
        {"sqlite_with_rowid": False},
    )

    study_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    turn: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]
    value: Mapped[float | None]
    source: Mapped[int]
    source_attempt: Mapped[int]
    source_step: Mapped[int]
    source_value: Mapped[float]
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class ReportRow(Base):
    """All metrics of one step of one attempt."""

    __tablename__ = "report"
    __table_args__ = (
        ForeignKeyConstraint(
            ["study_id", "number", "attempt"],
            ["attempt.study_id", "attempt.number", "attempt.attempt"],
            ondelete="CASCADE",
        ),
        {"sqlite_with_rowid": False},
    )

    study_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metrics: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class EventRow(Base):
    """A study's log in order: kind `study`, `trial` or `report`, and what the page needs to follow it."""

    __tablename__ = "event"
    __table_args__ = ({"sqlite_with_rowid": False},)

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(16))
    body: Mapped[dict[str, Any]]
    at: Mapped[datetime]


class TaskRow(Base):
    """A job that follows a study's trials: an ensemble of them, a prediction by one. `request` says what is wanted and
    `result` what came of it; what is large lies among the study's artifacts. `attempt` counts its executions.

    `number` is its key here, in messages and among the artifacts; `ordinal` is what people call an ensemble by.
    """

    __tablename__ = "task"
    __table_args__ = (
        one_of("state", TaskState),
        CheckConstraint("(ended_at IS NOT NULL) = (state IN ('COMPLETE', 'FAILED'))", name="ended"),
        CheckConstraint("state <> 'COMPLETE' OR result IS NOT NULL", name="complete_has_result"),
        CheckConstraint("state <> 'FAILED' OR reason IS NOT NULL", name="failed_has_reason"),
        Index("ix_task_study_id_ordinal", "study_id", "ordinal", unique=True),
        {"sqlite_with_rowid": False},
    )

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ordinal: Mapped[int | None]
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), index=True)
    request: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None]
    attempt: Mapped[int] = mapped_column(default=0)
    retries: Mapped[int] = mapped_column(default=0)  # attempts that were lost
    worker: Mapped[str | None] = mapped_column(String(128))
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class DatasetRow(Base):
    """A data set that somebody uploaded; its file lies among the artifacts, by its checksum."""

    __tablename__ = "dataset"
    __table_args__ = (CheckConstraint("bytes > 0", name="not_empty"),)

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    ending: Mapped[str] = mapped_column(String(16))
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]


class ApiKeyRow(Base):
    """A bearer key, as the SHA-256 of its text; the text is shown once, when it is made."""

    __tablename__ = "api_key"
    __table_args__ = (one_of("role", KeyRole),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16), server_default="user")
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class SchedulerLeaseRow(Base):
    """The one active scheduler. Every transaction of a scheduler raises `beat` under its own `fence`, or fails."""

    __tablename__ = "scheduler_lease"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[str] = mapped_column(String(255))
    fence: Mapped[int]
    beat: Mapped[int]


class IdempotencyKeyRow(Base):
    """The answer to a POST that carried an `Idempotency-Key`, so that a repeat gets the same one."""

    __tablename__ = "idempotency_key"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
