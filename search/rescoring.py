"""The best trials of a study, to be trained again from seeds that the search has not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from search.definition import Definition
from search.origins import find_origins
from store.models import StudyRow, TaskRow
from store.trials import Trials

RESCORE = "rescore"


class Scored(NamedTuple):
    """A complete trial, and what the search saw of it."""

    number: int
    value: float
    parameters: dict[str, Any]


def best_of(session: Session, study: StudyRow, definition: Definition, most: int) -> list[Scored]:
    """The complete trials that keep all constraints, the best first."""
    objective, trials = definition.objective, Trials(session, study)
    sign = 1 if objective.direction == "minimize" else -1
    ranked = sorted((sign * values[objective.metric], number) for number, values in trials.values())[:most]
    rows = {row.number: row for row in trials.several([number for _, number in ranked])}
    return [Scored(number, sign * value, rows[number].parameters) for value, number in ranked]


def requests_of(
    session: Session, definition: Definition, trials: Sequence[Scored], seeds: int, after: int = 0
) -> list[dict[str, Any]]:
    """What a worker is asked for each trial: trainings from so many seeds, those `after` so many further ones."""
    origins = {source: list(key) for source, key in find_origins(session, definition).items()}
    return [
        {
            "number": trial.number,
            "seeds": seeds,
            "searched": trial.value,
            "trial": _reseeded(definition.resolve(trial.parameters), seeds, after),
            "metric": definition.objective.metric,
            "direction": definition.objective.direction,
            "origins": origins,
        }
        for trial in trials
    ]


def scores_of(task: TaskRow) -> list[float]:
    """A trial's value from each seed so far, those of earlier heats first; none while its heat runs, or of folds."""
    metrics: Mapping[str, float] = (task.result or {}).get("metrics", {})
    quantity = task.request["metric"].removeprefix("val/")
    found = [metrics.get(f"seed/{place}/{quantity}") for place in range(1, task.request["seeds"] + 1)]
    scores = [score for score in found if score is not None]
    return [*task.request.get("known", ()), *scores] if len(scores) == len(found) else []


def _reseeded(trial: dict[str, Any], seeds: int, after: int) -> dict[str, Any]:
    """The same training from other seeds than the search used: those after its own. Folds are divided so many times
    instead.
    """
    folds = trial.get("cross_validation")
    used = after + (trial.get("seeds", 1) if folds is None else folds.get("repeats", 1))
    moved = {**trial, "seed": (trial.get("seed", 0) + used) % 2**32}
    if folds is None:
        return {**moved, "seeds": seeds}
    return {**moved, "cross_validation": folds if folds.get("time_ordered") else {**folds, "repeats": seeds}}
