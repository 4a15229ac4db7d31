"""Plausible studies written straight into a database, and a player that lets one of them go on: for the page's tests
and for looking at the page while working on it (`python -m tests.browser.seed HOME_DIR`).
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from store.artifacts import Artifacts
from store.bus import events_channel
from store.messages import AttemptKey
from store.migrate import upgrade
from store.models import (
    AttemptRow,
    EventRow,
    Outcome,
    ReportRow,
    SchedulerLeaseRow,
    StudyRow,
    StudyState,
    TrialRow,
    TrialState,
)
from store.session import connect, writes
from store.settings import Settings

RUNGS = (1, 3, 9, 27)
METRIC = "val/accuracy"

PARAMETERS: dict[str, Any] = {
    "optimizer.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer.name": {"values": ["adamw", "sgd", "rmsprop"]},
    "optimizer.momentum": {"low": 0.0, "high": 0.99, "when": {"optimizer.name": ["sgd", "rmsprop"]}},
    "model.hidden": {"values": [[64], [128, 64], [256, 128]]},
    "batch_size": {"values": [64, 128, 256]},
    "regularization.dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
}


def definition(name: str, source: str = "sklearn:digits", sampler: str = "tpe", trials: int = 60) -> dict[str, Any]:
    return {
        "name": name,
        "objective": {"metric": METRIC, "direction": "maximize"},
        "parameters": PARAMETERS,
        "sampler": {"name": sampler, "seed": 7},
        "pruner": {"name": "hyperband", "min_resource": 1, "max_resource": RUNGS[-1], "reduction_factor": 3},
        "budget": {"trials": trials, "parallel": 4, "retries": 2, "max_failed": 10},
        "trial": {
            "kind": "train",
            "data": {"source": source, "split": {"validation": 0.2, "test": 0.2}},
            "model": {"name": "mlp", "hidden": [128, 64], "norm": "batch"},
            "optimizer": {"name": "adamw", "lr": 1e-3},
            "schedule": {"name": "cosine", "warmup_epochs": 1},
            "epochs": RUNGS[-1],
            "batch_size": 128,
        },
        "resources": {"pool": "default", "gpus": 0},
    }


def seed_studies(engine: Engine, artifact_url: str) -> None:
    """Fill an empty database with one study of every kind that the page has to show well."""
    with writes(engine).begin() as session:
        session.add(SchedulerLeaseRow(id=1, holder="elsewhere/1/1", fence=1, beat=1))
        Author(session, definition("digits-random", sampler="random", trials=120), 3).finish(120, hours_ago=50)
        Author(session, definition("adult-mlp", "file:adult.csv", trials=300), 11).finish(300, hours_ago=26)
        Author(session, definition("digits-mlp", trials=60), 5).begin(44, running=4, hours_ago=0.3)
        preflight_failure(session)
        bare_study(session, "text-tfidf", StudyState.PREPARING, minutes_ago=4)
        bare_study(session, "covertype-wide", StudyState.RUNNING, minutes_ago=1)
        write_logs(session, Artifacts(artifact_url), "digits-mlp")


def write_logs(session: Session, artifacts: Artifacts, study: str) -> None:
    """A log of each attempt, a line an epoch."""
    of_study = select(ReportRow).join(StudyRow, StudyRow.id == ReportRow.study_id).where(StudyRow.name == study)
    lines: dict[AttemptKey, list[str]] = {}
    for row in session.scalars(of_study.order_by(ReportRow.number, ReportRow.attempt, ReportRow.step)):
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in row.metrics.items())
        key = AttemptKey(row.study_id, row.number, row.attempt)
        lines.setdefault(key, []).append(f"{row.at:%H:%M:%S}  epoch {row.step:2d}  {metrics}")
    for key, log in lines.items():
        artifacts.attempt(key).write("log.txt", "\n".join(log).encode() + b"\n")


def bare_study(session: Session, name: str, state: StudyState, minutes_ago: float, **columns: Any) -> StudyRow:
    """A study without trials."""
    created = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    columns.setdefault("definition", definition(name))
    columns.setdefault("started_at", created if state is StudyState.RUNNING else None)
    study = StudyRow(name=name, state=state, created_at=created, **columns)
    session.add(study)
    session.flush()
    return study


def preflight_failure(session: Session) -> StudyRow:
    return bare_study(
        session,
        "churn-wide",
        StudyState.FAILED,
        minutes_ago=90,
        definition=definition("churn-wide", "file:churn.csv"),
        ended_at=datetime.now(UTC) - timedelta(minutes=89),
        reason="the preflight found 2 problems",
        errors=[
            {
                "path": "trial.data.target",
                "message": "churn.csv has no column 'churned'",
                "hint": "its columns are customer_id, tenure, plan, monthly, total, churn",
            },
            {
                "path": "trial.data.split.stratify",
                "message": "the class 'unknown' of the target has 1 row",
                "hint": "drop the row, or set trial.data.split.stratify to false",
            },
        ],
    )


@dataclass
class Author:
    """Writes one study's history as a scheduler would have: proposals that get better, rungs that prune."""

    session: Session
    definition: dict[str, Any]
    seed: int
    rng: random.Random = field(init=False)
    now: datetime = field(init=False)
    study: StudyRow = field(init=False)
    reached: dict[int, list[float]] = field(default_factory=lambda: {rung: [] for rung in RUNGS})
    best: tuple[float, dict[str, Any]] | None = None
    trials: dict[int, TrialRow] = field(default_factory=dict)
    attempts: dict[int, AttemptRow] = field(default_factory=dict)  # the newest of each trial

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def finish(self, trials: int, hours_ago: float) -> StudyRow:
        """The whole study, COMPLETE."""
        self._open(hours_ago)
        for number in range(trials):
            self._settle(number)
        self.study.state = StudyState.COMPLETE
        self.study.ended_at = self.now + timedelta(minutes=1)
        return self.study

    def begin(self, trials: int, running: int, hours_ago: float) -> StudyRow:
        """The first `trials` settled, `running` more in the middle of their epochs, two queued."""
        self._open(hours_ago)
        for number in range(trials):
            self._settle(number)
        for number in range(trials, trials + running):
            self._start(number)
            for step, metrics in curve(self.rng, self.trials[number].parameters):
                if step > 4 * (number - trials) + 2:
                    break
                self._report(number, step, metrics)
        for number in range(trials + running, trials + running + 2):
            self._propose(number, TrialState.QUEUED)
        return self.study

    def _open(self, hours_ago: float) -> None:
        self.now = datetime.now(UTC) - timedelta(hours=hours_ago)
        self.study = bare_study(
            self.session,
            self.definition["name"],
            StudyState.RUNNING,
            60 * hours_ago,
            definition=self.definition,
            facts={"task": "classification", "rows": 1797, "features": 64, "classes": 10},
        )

    def _settle(self, number: int) -> None:
        self._start(number)
        trial = self.trials[number]
        if number % 37 == 5:
            self._end(trial, TrialState.FAILED, Outcome.FAILED, "diverged at epoch 1")
            return
        for step, metrics in curve(self.rng, trial.parameters):
            self._report(number, step, metrics)
            if step in self.reached and step < RUNGS[-1] and self._falls_behind(step, metrics[METRIC]):
                self._end(trial, TrialState.PRUNED, Outcome.PRUNED, f"behind the best third at epoch {step}")
                return
        trial.values = {METRIC: metrics[METRIC]}
        trial.metrics = {**metrics, "test/accuracy": round(metrics[METRIC] - 0.004, 4)}
        self._end(trial, TrialState.COMPLETE, Outcome.FINISHED, None)
        if self.best is None or metrics[METRIC] > self.best[0]:
            self.best = (metrics[METRIC], trial.parameters)

    def _falls_behind(self, rung: int, value: float) -> bool:
        values = self.reached[rung]
        values.append(value)
        return value < sorted(values, reverse=True)[max(0, len(values) // 3)] and len(values) > 3

    def _start(self, number: int) -> None:
        self._propose(number, TrialState.RUNNING)
        self.now += timedelta(seconds=self.rng.uniform(2, 9))
        trial = self.trials[number]
        trial.started_at = self.now
        slot = number % 4
        if number % 23 == 9:
            self._attempt(
                number, 1, slot, ended=self.now, outcome=Outcome.LOST, reason="the worker sent no beat for 8 s"
            )
            self._attempt(number, 2, (slot + 1) % 4)
        else:
            self._attempt(number, 1, slot)

    def _attempt(self, number: int, attempt: int, slot: int, ended: datetime | None = None, **end: Any) -> None:
        self.attempts[number] = AttemptRow(
            study_id=self.study.id,
            number=number,
            attempt=attempt,
            worker=f"atlas-gpu{slot}",
            device=f"cuda:{slot} NVIDIA A100-SXM4-40GB",
            started_at=self.now,
            ended_at=ended,
            **end,
        )
        self.session.add(self.attempts[number])
        self.session.flush()  # at most one open attempt a trial: the first has to be there, ended, before the next

    def _propose(self, number: int, state: TrialState) -> None:
        self.trials[number] = TrialRow(
            study_id=self.study.id,
            number=number,
            state=state,
            parameters=proposal(self.rng, self.best[1] if self.best and number > 15 else None),
            system_attrs={},
            created_at=self.now,
        )
        self.session.add(self.trials[number])
        self.session.flush()

    def _report(self, number: int, step: int, metrics: dict[str, float]) -> None:
        self.now += timedelta(seconds=0.35)
        trial = self.trials[number]
        trial.step, trial.metrics = step, metrics
        self.session.add(
            ReportRow(
                study_id=self.study.id,
                number=number,
                attempt=self.attempts[number].attempt,
                step=step,
                metrics=metrics,
                at=self.now,
            )
        )

    def _end(self, trial: TrialRow, state: TrialState, outcome: Outcome, reason: str | None) -> None:
        trial.state, trial.reason, trial.ended_at = state, reason, self.now
        attempt = self.attempts[trial.number]
        attempt.ended_at, attempt.outcome, attempt.reason = self.now, outcome, reason


class Player:
    """Lets a running study go on, one event or a few at each `step`, as the scheduler would write and publish them."""

    def __init__(self, engine: Engine, client: redis.Redis, study: str, seed: int = 1) -> None:
        self._sessions = writes(engine)
        self._redis = client
        self._name = study
        self._rng = random.Random(seed)
        self._curves: dict[int, Iterator[tuple[int, dict[str, float]]]] = {}

    def step(self) -> None:
        """One epoch of every running trial; a trial at its last epoch ends and the next one begins."""
        with self._sessions.begin() as session:
            study = self._study(session)
            for trial in self._running(session, study):
                self._advance(session, study, trial)
            sequence = study.last_event
        self._redis.publish(events_channel(study.id), sequence)

    def complete(self, number: int, value: float) -> None:
        """End a running trial with this value of the objective, and report it."""
        with self._sessions.begin() as session:
            study = self._study(session)
            self._finish(session, study, session.get_one(TrialRow, (study.id, number)), {METRIC: value})
        self._redis.publish(events_channel(study.id), study.last_event)

    def end_study(self, state: StudyState) -> None:
        with self._sessions.begin() as session:
            study = self._study(session)
            study.state, study.ended_at = state, datetime.now(UTC)
            self._event(session, study, "study", {"state": study.state, "reason": study.reason, "errors": study.errors})
        self._redis.publish(events_channel(study.id), study.last_event)

    def take_up(self, trials: int) -> None:
        """Give a study that has ended so many trials, and begin one."""
        with self._sessions.begin() as session:
            study = self._study(session)
            study.state, study.ended_at = str(StudyState.RUNNING), None
            study.definition = study.definition | {"budget": study.definition["budget"] | {"trials": trials}}
            self._event(session, study, "study", {"state": study.state, "reason": None, "errors": None})
            self._start_next(session, study)
        self._redis.publish(events_channel(study.id), study.last_event)

    def _study(self, session: Session) -> StudyRow:
        return session.scalars(select(StudyRow).where(StudyRow.name == self._name)).one()

    def _running(self, session: Session, study: StudyRow) -> list[TrialRow]:
        query = select(TrialRow).where(TrialRow.study_id == study.id, TrialRow.state == TrialState.RUNNING)
        return list(session.scalars(query.order_by(TrialRow.number)))

    def _advance(self, session: Session, study: StudyRow, trial: TrialRow) -> None:
        steps = self._curves.setdefault(trial.number, curve(self._rng, trial.parameters, after=trial.step or 0))
        step, metrics = next(steps, (0, {}))
        if not metrics:
            self._finish(session, study, trial, trial.metrics or {})
            self._start_next(session, study)
            return
        trial.step, trial.metrics = step, metrics
        attempt = open_attempt(session, study.id, trial.number)
        key = {"number": trial.number, "attempt": attempt.attempt, "step": step, "metrics": metrics}
        session.add(ReportRow(study_id=study.id, at=datetime.now(UTC), **key))
        self._event(session, study, "report", key)

    def _finish(self, session: Session, study: StudyRow, trial: TrialRow, metrics: dict[str, Any]) -> None:
        now = datetime.now(UTC)
        attempt = open_attempt(session, study.id, trial.number)
        attempt.ended_at, attempt.outcome = now, Outcome.FINISHED
        trial.metrics, trial.values = metrics, {METRIC: metrics[METRIC]}
        trial.state, trial.ended_at = TrialState.COMPLETE, now
        self._trial_event(session, study, trial, attempt)

    def _start_next(self, session: Session, study: StudyRow) -> None:
        now = datetime.now(UTC)
        of_study = select(TrialRow).where(TrialRow.study_id == study.id)
        trial = session.scalars(of_study.where(TrialRow.state == TrialState.QUEUED).order_by(TrialRow.number)).first()
        if trial is None:
            number = (session.scalar(select(func.max(TrialRow.number)).where(TrialRow.study_id == study.id)) or 0) + 1
            fresh = {"parameters": proposal(self._rng, None), "system_attrs": {}, "created_at": now}
            trial = TrialRow(study_id=study.id, number=number, state=TrialState.QUEUED, **fresh)
            session.add(trial)
        trial.state, trial.started_at = TrialState.RUNNING, now
        slot = trial.number % 4
        attempt = AttemptRow(
            study_id=study.id,
            number=trial.number,
            attempt=1,
            worker=f"atlas-gpu{slot}",
            device=f"cuda:{slot} NVIDIA A100-SXM4-40GB",
            started_at=now,
        )
        session.flush()
        session.add(attempt)
        self._trial_event(session, study, trial, attempt)

    def _trial_event(self, session: Session, study: StudyRow, trial: TrialRow, attempt: AttemptRow) -> None:
        body = {name: getattr(trial, name) for name in ("number", "state", "parameters", "values", "reason", "metrics")}
        ours = {"attempt": attempt.attempt, "worker": attempt.worker, "step": trial.step}
        self._event(session, study, "trial", body | ours)

    def _event(self, session: Session, study: StudyRow, kind: str, body: dict[str, Any]) -> None:
        study.last_event += 1
        session.add(EventRow(study_id=study.id, sequence=study.last_event, kind=kind, body=body, at=datetime.now(UTC)))


def open_attempt(session: Session, study_id: int, number: int) -> AttemptRow:
    session.flush()
    query = select(AttemptRow).where(AttemptRow.study_id == study_id, AttemptRow.number == number)
    return session.scalars(query.where(AttemptRow.ended_at.is_(None))).one()


def proposal(rng: random.Random, near: dict[str, Any] | None) -> dict[str, Any]:
    """Parameters drawn from the space, or around a good point as a model-based sampler would."""
    keep = near if near is not None and rng.random() < 0.75 else None
    rate = math.log10(keep["optimizer.lr"]) + rng.gauss(0, 0.3) if keep else rng.uniform(-4, -1)
    chosen: dict[str, Any] = {"optimizer.lr": 10 ** min(-1.0, max(-4.0, rate))}
    for path in ("optimizer.name", "model.hidden", "batch_size"):
        chosen[path] = keep[path] if keep and rng.random() < 0.8 else rng.choice(PARAMETERS[path]["values"])
    if chosen["optimizer.name"] != "adamw":
        chosen["optimizer.momentum"] = rng.uniform(0, 0.99)
    chosen["regularization.dropout"] = round(rng.randint(0, 6) / 10, 1)
    return chosen


def curve(rng: random.Random, parameters: dict[str, Any], after: int = 0) -> Iterator[tuple[int, dict[str, float]]]:
    """(epoch, metrics) of a training that saturates: higher and sooner the better its parameters suit the data."""
    off = abs(math.log10(parameters["optimizer.lr"]) + 2.4)
    optimizer = {"adamw": 0.0, "rmsprop": 0.008, "sgd": 0.02}[parameters["optimizer.name"]]
    small = {1: 0.018, 2: 0.0}[len(parameters["model.hidden"])]
    ceiling = 0.982 - 0.035 * off**1.6 - optimizer - small - 0.05 * abs(parameters["regularization.dropout"] - 0.2)
    speed = 0.55 / (1 + off)
    for epoch in range(after + 1, RUNGS[-1] + 1):
        accuracy = ceiling - (ceiling - 0.35) * math.exp(-speed * epoch) + rng.gauss(0, 0.003)
        loss = 2.3 * math.exp(-speed * epoch) + 1.1 - ceiling + rng.gauss(0, 0.006)
        yield (
            epoch,
            {
                "train/loss": round(0.8 * loss, 4),
                "val/loss": round(loss, 4),
                "val/accuracy": round(min(0.9999, accuracy), 4),
                "val/balanced_accuracy": round(min(0.9999, accuracy - 0.006), 4),
            },
        )


if __name__ == "__main__":
    settings = Settings(home_dir=Path(sys.argv[1]))
    upgrade(settings.database)
    seed_studies(connect(settings.database), settings.artifacts)
