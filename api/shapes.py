"""What the API answers: the public shapes, made from rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict

from search.refitting import Standing
from store.curves import Curve
from store.messages import DecisionName
from store.models import AttemptRow, CopyRow, DatasetRow, ReportRow, StudyRow, TrialRow, TrialState
from store.trials import Trials

T = TypeVar("T")


class Shape(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProblemItem(Shape):
    """One thing wrong with a request: where, what, and what would be right."""

    path: str
    message: str
    hint: str


class ProblemDocument(Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemItem] | None = None


class Page(Shape, Generic[T]):
    """A page of a list. `next_cursor` leads to the next one; null on the last."""

    items: list[T]
    next_cursor: str | None = None


class Best(Shape):
    """A study's best trial in short."""

    number: int
    values: dict[str, float]
    parameters: dict[str, Any]

    @classmethod
    def of(cls, trial: TrialRow | None) -> Self | None:
        if trial is None or trial.values is None:
            return None
        return cls(number=trial.number, values=trial.values, parameters=trial.parameters)


class Refit(Shape):
    """Where a study's own refit stands: WAITING for the search (and its race), then as its ensemble does."""

    state: str
    ensemble: int | None


class PastSpace(Shape):
    """A search space that another one has taken the place of."""

    version: int
    parameters: dict[str, Any]
    parameter_constraints: list[str] = []
    until: datetime


class Study(Shape):
    """A study and where it stands. `counts` are its trials by state; `last_event` is the newest number of its log.

    `space_version` is that of the definition's parameters, `past_spaces` are those before it, each with the time until
    which it held. `warm_start` says what was taken over from another study, and why the rest was not. `rested_seconds`
    are those from the ends of a study to when it was taken up again.
    """

    name: str
    state: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    rested_seconds: float
    reason: str | None
    errors: list[ProblemItem] | None
    facts: dict[str, Any] | None
    definition: dict[str, Any]
    counts: dict[str, int]
    best: Best | None
    last_event: int
    space_version: int
    past_spaces: list[PastSpace]
    warm_start: dict[str, Any] | None
    rescoring: str | None = None  # where the definition has `rescore`: WAITING for the search, RUNNING or COMPLETE
    refit: Refit | None = None  # where the definition has `refit`
    waiting_for: str | None = None  # the worker that the study needs, when none that is live can ever serve it

    @classmethod
    def of(
        cls,
        study: StudyRow,
        counts: Counter[TrialState],
        best: TrialRow | None,
        rescoring: str | None = None,
        refit: Standing | None = None,
    ) -> Self:
        errors = None if study.errors is None else [_problem_item(each) for each in study.errors]
        return cls(
            name=study.name,
            state=study.state,
            created_at=study.created_at,
            started_at=study.started_at,
            ended_at=study.ended_at,
            rested_seconds=study.rested_seconds,
            reason=study.reason,
            errors=errors,
            facts=study.facts,
            definition=study.definition,
            counts={state.lower(): counts[state] for state in TrialState},
            best=Best.of(best),
            last_event=study.last_event,
            space_version=len(study.past_spaces) + 1,
            past_spaces=[PastSpace.model_validate(each) for each in study.past_spaces],
            warm_start=study.warm_start,
            rescoring=rescoring,
            refit=None if refit is None else Refit(state=refit.stage, ensemble=refit.ensemble),
        )


class Attempt(Shape):
    """One execution of a trial. `ended` says how, once it has."""

    attempt: int
    worker: str
    device: str
    started_at: datetime
    ended_at: datetime | None
    ended: str | None
    reason: str | None
    device_seconds: float | None  # for which it has held its devices, each counted; null while it runs

    @classmethod
    def of(cls, attempt: AttemptRow) -> Self:
        return cls(
            device_seconds=attempt.device_seconds,
            attempt=attempt.attempt,
            worker=attempt.worker,
            device=attempt.device,
            started_at=attempt.started_at,
            ended_at=attempt.ended_at,
            ended=attempt.outcome,
            reason=attempt.reason,
        )


class Copied(Shape):
    """A member of a population gave up its own training at `step`, and went on from the checkpoint that an attempt of
    the trial `source` had left at `source_step`; with the parameters `after` in the place of `before`.
    """

    step: int
    value: float | None
    source: int
    source_attempt: int
    source_step: int
    source_value: float
    before: dict[str, Any]
    after: dict[str, Any]
    at: datetime

    @classmethod
    def of(cls, copy: CopyRow) -> Self:
        return cls(**{name: getattr(copy, name) for name in cls.model_fields})


class Trial(Shape):
    """A trial. `values` are the objective's, once it is complete; `metrics` are the last ones reported, at `step`: none
    before the first report.

    `feasible`: whether it keeps the study's constraints and fits into memory; null while that is not known. `lineage`:
    in a population, what it went on from, in order; `parameters` are those of now.
    """

    number: int
    state: str
    parameters: dict[str, Any]
    values: dict[str, float] | None
    feasible: bool | None
    metrics: dict[str, float]
    step: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    reason: str | None
    space_version: int
    inherits: int | None  # the trial whose weights it began with
    device_seconds: float  # of its ended attempts together
    attempts: list[Attempt]
    lineage: list[Copied]

    @classmethod
    def of(cls, trial: TrialRow, attempts: Sequence[AttemptRow], copies: Sequence[CopyRow] = ()) -> Self:
        return cls(
            number=trial.number,
            state=trial.state,
            parameters=trial.parameters,
            values=trial.values,
            feasible=None if trial.violation is None else trial.violation <= 0,
            metrics=trial.metrics or {},
            step=trial.step,
            created_at=trial.created_at,
            started_at=trial.started_at,
            ended_at=trial.ended_at,
            reason=trial.reason,
            space_version=trial.space_version,
            inherits=trial.inherits,
            device_seconds=sum(attempt.device_seconds or 0.0 for attempt in attempts),
            attempts=[Attempt.of(attempt) for attempt in attempts],
            lineage=[Copied.of(copy) for copy in copies],
        )

    @classmethod
    def at(cls, trials: Trials, number: int) -> Self:
        """Raises: NotFound."""
        return cls.of(trials.get(number), trials.attempts([number])[number], trials.copies([number])[number])


class BestTrial(Trial):
    """The best trial, with the trial section that trains it again, and where its files lie."""

    trial: dict[str, Any]
    artifacts: str | None


class Dataset(Shape):
    """An uploaded data set, which a study names as `dataset:NAME`."""

    name: str
    ending: str
    bytes: int
    sha256: str
    created_at: datetime

    @classmethod
    def of(cls, row: DatasetRow) -> Dataset:
        return cls(name=row.name, ending=row.ending, bytes=row.bytes, sha256=row.sha256, created_at=row.created_at)


class StepReport(Shape):
    """All metrics of one step of one attempt."""

    attempt: int
    step: int
    metrics: dict[str, float]
    at: datetime

    @classmethod
    def of(cls, report: ReportRow) -> Self:
        return cls(attempt=report.attempt, step=report.step, metrics=report.metrics, at=report.at)


class CurveShape(Shape):
    """One metric of one trial by step, to six digits; over several attempts, the newest value of each step."""

    number: int
    state: str
    steps: list[int]
    values: list[float]

    @classmethod
    def of(cls, curve: Curve) -> Self:
        return cls(number=curve.number, state=curve.state, steps=curve.steps, values=curve.values)


class Measured(Shape):
    """What a device did with so many slots, all of them busy with one study."""

    slots: int
    rate: float  # rows a second; where their number is not known, steps


class CrowdShape(Shape):
    """Why a device has as many slots as it has, where that is found out (`auto`)."""

    device: str
    study: str | None
    wanted: int
    rates: list[Measured]
    why: str | None  # None while it is being measured


class Worker(Shape):
    """A worker as it describes itself in its last sign of life; `study`, `trial` and `attempt` are what it works at."""

    name: str
    host: str | None
    pid: int | None
    pool: str | None
    device: str | None
    gpu: bool
    gpus: int  # of each trial
    state: str | None
    study: str | None
    trial: int | None
    attempt: int | None
    started_at: datetime | None
    done: int | None
    refused: int | None  # messages that came too late
    machine: str | None
    version: str | None
    understands: bool  # the scheduler's messages: it is given trials
    memory: int | None  # bytes of the host's that a trial may count on
    idle_share: float | None  # of the time since its start
    crowd: CrowdShape | None
    figures: dict[str, float]  # bytes, shares of 1, °C, W; those of the GPU are of all of it


class Draining(Shape):
    """The workers that leave when what they have in hand is done."""

    workers: list[str]


class Handout(Shape):
    """A trial to run. The token authorizes the attempt's reports and its end."""

    number: int
    attempt: int
    token: str
    parameters: dict[str, Any]


class Handouts(Shape):
    """What `ask` hands out. Empty: nothing to do now, or, when the study has `ended`, ever again."""

    items: list[Handout]
    ended: bool


class DecisionShape(Shape):
    """What an attempt shall do after a report."""

    decision: DecisionName


def _problem_item(error: dict[str, Any]) -> ProblemItem:
    return ProblemItem(path=error.get("path", ""), message=error.get("message", ""), hint=error.get("hint", ""))
