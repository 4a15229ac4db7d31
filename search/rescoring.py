"""The best trials of a study, to be trained again from seeds that the search has not used."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from search.definition import Definition
from search.origins import find_origins
from search.twins import digest
from store.models import StudyRow, TaskRow
from store.trials import Trials

RESCORE = "rescore"
AT_ONCE = 500  # trials whose parameters are read together


class Scored(NamedTuple):
    """A complete trial, and what the search saw of it."""

    number: int
    value: float
    parameters: dict[str, Any]


def best_of(
    session: Session, study: StudyRow, definition: Definition, most: int, known: Collection[int] = ()
) -> list[Scored]:
    """The complete trials that keep all constraints, the best first. Of those that are the same training only one: it
    would come to the same from the same seeds.

    Args:
        known: trials that stand for those that are as they are; else it is the best of them, of equals the first.
    """
    objective, trials = definition.objective, Trials(session, study)
    sign = 1 if objective.direction == "minimize" else -1
    values = {number: found[objective.metric] for number, found in trials.values()}
    ranked = sorted(values, key=lambda number: (sign * values[number], number))
    of_known = trials.parameters(sorted(set(known) & values.keys()))
    stand = {digest(definition.resolve(parameters)): number for number, parameters in reversed(of_known.items())}
    best: dict[bytes, Scored] = {}
    for first in range(0, len(ranked), AT_ONCE):
        found = trials.parameters(ranked[first : first + AT_ONCE])
        for number in ranked[first : first + AT_ONCE]:
            training = digest(definition.resolve(found[number]))
            stands = stand.get(training, number)
            best.setdefault(training, Scored(stands, values[stands], found[number]))
            if len(best) == most:
                return list(best.values())
    return list(best.values())


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
