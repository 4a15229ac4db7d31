"""What the API returns, as typed models. A newer server may say more than is named here; it is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trialyard.errors import Problem

ENDED_STUDY = frozenset({"COMPLETE", "CANCELLED", "FAILED"})
ENDED_TRIAL = frozenset({"COMPLETE", "PRUNED", "FAILED", "CANCELLED"})

DecisionName = Literal["continue", "prune", "stop", "pause"]


class Resource(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Objective(Resource):
    metric: str
    direction: Literal["minimize", "maximize"] = "minimize"


class Counts(Resource):
    """How many trials a study has in each state."""

    waiting: int = 0
    queued: int = 0
    running: int = 0
    paused: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def ended(self) -> int:
        return self.complete + self.pruned + self.failed + self.cancelled


class Task(Resource):
    """What workers do with a study's trials, and where that stands."""

    state: str

    @property
    def ended(self) -> bool:
        return self.state in ("COMPLETE", "FAILED")


class Best(Resource):
    """A trial in short: the best of a study so far, or one of its front."""

    number: int
    values: dict[str, float]
    parameters: dict[str, Any]


class Refit(Task):
    """Where a study's own refit stands, and the number of its ensemble once it is ordered."""

    ensemble: int | None = None


class Study(Resource):
    """A study: what was sent, and where it stands. With several objectives it has a front and no `best`."""

    name: str
    state: str
    created_at: datetime
    definition: dict[str, Any]
    counts: Counts
    best: Best | None = None
    reason: str | None = None
    errors: list[Problem] | None = None
    rescoring: str | None = None
    refit: Refit | None = None
    waiting_for: str | None = None
    space_version: int = 1
    last_event: int = 0
    warm_start: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        return self.state in ENDED_STUDY

    @property
    def objectives(self) -> list[Objective]:
        section = self.definition["objective"]
        return [Objective.model_validate(each) for each in (section if isinstance(section, list) else [section])]

    @property
    def objective(self) -> Objective:
        """The objective; the first of several."""
        return self.objectives[0]

    @property
    def total(self) -> int | None:
        """How many trials its budget allows, or more where there are, as a grid's that failed come again; None where
        the budget names no number."""
        trials: int | None = self.definition.get("budget", {}).get("trials")
        return None if trials is None else max(trials, sum(self.counts.model_dump().values()))


class Attempt(Resource):
    """One execution of a trial on one worker."""

    attempt: int
    worker: str
    device: str
    started_at: datetime
    ended_at: datetime | None = None
    ended: str | None = None
    reason: str | None = None
    device_seconds: float | None = None


class Copied(Resource):
    """A member of a population gave up its own training at `step`, and went on from the checkpoint that the trial
    `source` had left at `source_step`, with the parameters `after` in the place of `before`."""

    step: int
    value: float | None = None
    source: int
    source_attempt: int
    source_step: int
    source_value: float
    before: dict[str, Any]
    after: dict[str, Any]


class Trial(Resource):
    """A trial. `values` are the objective's, once it is complete; `metrics` are the last ones reported, at `step`."""

    number: int
    state: str
    parameters: dict[str, Any]
    values: dict[str, float] | None = None
    feasible: bool | None = None
    metrics: dict[str, float] = {}
    step: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reason: str | None = None
    inherits: int | None = None
    device_seconds: float = 0.0
    attempts: list[Attempt] = []
    lineage: list[Copied] = []

    @property
    def ended(self) -> bool:
        return self.state in ENDED_TRIAL


class BestTrial(Trial):
    """The best trial, with the trial section that trains it again, and where its files lie."""

    trial: dict[str, Any]
    artifacts: str | None = None


class Volume(Resource):
    """The hypervolume that was covered when this trial had come."""

    number: int
    hypervolume: float


class Pareto(Resource):
    """Of so many complete trials those that no other beats, the best by the first objective first."""

    objectives: list[Objective]
    trials: int
    front: list[Best]
    reference: dict[str, float] | None = None
    volumes: list[Volume] = []


class StepReport(Resource):
    """All metrics of one step of one attempt."""

    attempt: int
    step: int
    metrics: dict[str, float]


class Handout(Resource):
    """A trial of an external study, handed out by `ask`; the token authorizes its reports and its end."""

    number: int
    attempt: int
    token: str
    parameters: dict[str, Any]


class Worker(Resource):
    """A worker that is alive, as it describes itself."""

    name: str
    pool: str | None = None
    device: str | None = None
    state: str | None = None
    machine: str | None = None
    done: int | None = None


class Event(Resource):
    """An entry of a study's log: `kind` is study, trial or report; `id` orders it."""

    id: int
    kind: str
    body: dict[str, Any]


class Dataset(Resource):
    """An uploaded data set, which a study names as `dataset:NAME`."""

    name: str
    ending: str
    bytes: int
    sha256: str
    created_at: datetime


class Rung(Resource):
    """A step at which trials are compared: how many have come to it, were stopped there, and wait there."""

    step: int
    reached: int
    stopped: int
    waiting: int


class Bracket(Resource):
    """The trials that are compared with each other, from their first rung on."""

    bracket: int
    trials: int
    rungs: list[Rung]


class Rungs(Resource):
    """The brackets of a study's pruner; none, if it has no rungs."""

    pruner: str
    brackets: list[Bracket]


class Artifact(Resource):
    """A file that a trial left, by what it is downloaded as."""

    id: str
    attempt: int
    bytes: int
    measured: dict[str, dict[str, float]] | None = None


class Member(Resource):
    """A model of an ensemble; `trial` is None for one that was trained for it alone."""

    trial: int | None
    weight: float


class BestMember(Resource):
    trial: int
    metrics: dict[str, float]


class Beside(Resource):
    """A cost of an ensemble, and of its best member alone."""

    ensemble: float
    best_member: float


class Ensemble(Task):
    """An ensemble and where it stands; what it came to is None until it is COMPLETE."""

    number: int
    method: str
    candidates: list[int] = []
    members: list[Member] | None = None
    metrics: dict[str, float] | None = None
    best_member: BestMember | None = None
    parameters: Beside | None = None
    latency_ms: Beside | None = None
    reason: str | None = None


class Rescore(Task):
    """A trial trained again from other seeds, and where that stands."""

    number: int
    trial: int
    seeds: int
    searched: float | None = None
    rescored: float | None = None
    standard_error: float | None = None
    reason: str | None = None
    heat: int | None = None


class Prediction(Resource):
    """A row's class, with its probability and those of all classes in their order; or its value."""

    class_: str | None = Field(default=None, alias="class")
    probability: float | None = None
    probabilities: list[float] = []
    value: float | None = None


class Predictions(Resource):
    """What a model says of rows, in their order; `notes` tell what of them it had to put up with."""

    trial: int | None = None
    ensemble: int | None = None
    task: Literal["classification", "regression"]
    target: str
    classes: list[str] = []
    predictions: list[Prediction]
    notes: list[str] = []
