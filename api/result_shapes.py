"""The JSON of what a study has come to: its front and importances, ensembles, scores and predictions."""

from __future__ import annotations

from datetime import datetime
from statistics import fmean, stdev
from typing import Any, Self

from pydantic import ConfigDict, Field

from api.shapes import Best, Shape
from search.rescoring import scores_of
from store.models import TaskRow


class Importance(Shape):
    """How much each parameter decides what a trial comes to, as shares; from so many complete trials.

    `importance` is that of the first objective; `by_objective` has each by its metric. Both are empty in the state
    `computing`.
    """

    method: str
    state: str
    trials: int
    importance: dict[str, float]
    by_objective: dict[str, dict[str, float]]


class ObjectiveShape(Shape):
    """A metric that the search looks at, and which way is better."""

    metric: str
    direction: str


class Volume(Shape):
    """The hypervolume that was covered when this trial had come."""

    number: int
    hypervolume: float


class Pareto(Shape):
    """Of so many complete trials those that no other beats, the best by the first objective first.

    `reference` is null, and `volumes` are none, while no trial is complete.
    """

    objectives: list[ObjectiveShape]
    trials: int
    front: list[Best]
    reference: dict[str, float] | None
    volumes: list[Volume]


class Stretch(Shape):
    """Steps that a member trained with the same parameters: those after `begin` up to `end`. Before, its weights were
    those of the trial `source` at `begin`; null where it began itself.
    """

    begin: int
    end: int
    parameters: dict[str, Any]
    source: int | None


class MemberLine(Shape):
    """A member of a population, from its beginning to where it stands."""

    number: int
    state: str
    stretches: list[Stretch]


class Lineage(Shape):
    """The members of a population by number."""

    members: list[MemberLine]


class Rung(Shape):
    """A step at which trials are compared: how many have come to it, were stopped there, and wait there."""

    step: int
    reached: int
    stopped: int
    waiting: int


class Bracket(Shape):
    """The trials that are compared with each other, from their first rung on."""

    bracket: int
    trials: int
    rungs: list[Rung]


class Rungs(Shape):
    """The brackets of a pruner that has rungs: one, or of hyperband several."""

    pruner: str
    brackets: list[Bracket]


class Artifact(Shape):
    """A file that a trial left, by what it is downloaded as. `measured`: of a model in eight bits that was just made,
    its metrics and costs as `int8` beside those of the `original`.
    """

    id: str
    attempt: int
    bytes: int
    measured: dict[str, dict[str, float]] | None = None


class Storage(Shape):
    """The bytes of a study's files, by what they are."""

    bytes: int
    kinds: dict[str, int]


class Member(Shape):
    """A model of an ensemble; `trial` is null for one that was trained for it alone."""

    trial: int | None
    weight: float


class BestMember(Shape):
    """The best of the trials that an ensemble could be made of, alone."""

    trial: int
    metrics: dict[str, float]


class Beside(Shape):
    """A cost of an ensemble, and of its best member alone."""

    ensemble: float
    best_member: float


class Ensemble(Shape):
    """An ensemble of a study's trials and where it stands; what it came to is null until it is COMPLETE."""

    number: int
    method: str
    state: str
    candidates: list[int]
    rounds: int
    seed: int
    members: list[Member] | None
    metrics: dict[str, float] | None
    best_member: BestMember | None
    parameters: Beside | None
    latency_ms: Beside | None
    reason: str | None
    worker: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, task: TaskRow) -> Self:
        result = task.result or {}
        return cls(
            number=task.ordinal,
            method=task.request["method"],
            state=task.state,
            candidates=[member["trial"] for member in task.request["members"]],
            rounds=task.request["rounds"],
            seed=task.request["seed"],
            **{name: result.get(name) for name in ("members", "metrics", "best_member", "parameters", "latency_ms")},
            reason=task.reason,
            worker=task.worker or None,
            created_at=task.created_at,
            started_at=task.started_at,
            ended_at=task.ended_at,
        )


class Rescore(Shape):
    """A trial trained again from other seeds: what the search saw, and the mean of the objective and its standard error
    now; null until it is COMPLETE. `metrics` are all of its best epoch. `heat`: of a study's own race, in which a trial
    has one of these for each heat that it came to, and the newest tells of all `seeds` so far.
    """

    number: int
    trial: int
    seeds: int
    state: str
    searched: float | None
    rescored: float | None
    standard_error: float | None
    metrics: dict[str, float] | None
    reason: str | None
    created_at: datetime
    ended_at: datetime | None
    heat: int | None = None

    @classmethod
    def of(cls, task: TaskRow) -> Self:
        request, metrics = task.request, (task.result or {}).get("metrics")
        mean, error = (metrics or {}).get(request["metric"]), (metrics or {}).get(f"{request['metric']}_se")
        if metrics and request.get("known") and (scores := scores_of(task)):
            mean, error = fmean(scores), stdev(scores) / len(scores) ** 0.5
        return cls(
            number=task.number,
            trial=request["number"],
            seeds=len(request.get("known", ())) + request["seeds"],
            state=task.state,
            searched=request["searched"],
            rescored=mean,
            standard_error=error,
            metrics=metrics,
            reason=task.reason,
            created_at=task.created_at,
            ended_at=task.ended_at,
            heat=request.get("heat"),
        )


class Rescores(Shape):
    """Those that one request has ordered, the best trial first."""

    items: list[Rescore]


class Prediction(Shape):
    """A row's class, with its probability and those of all classes in the order of `classes`; or its value."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    class_: str | None = Field(default=None, alias="class")
    probability: float | None = None
    probabilities: list[float] | None = None
    value: float | None = None


class Predictions(Shape):
    """What a model says of rows, in their order. `notes` tell what of them it had to put up with."""

    trial: int | None
    ensemble: int | None
    task: str
    target: str
    classes: list[str]
    predictions: list[Prediction]
    notes: list[str]
