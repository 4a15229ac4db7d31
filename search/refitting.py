"""`refit` of a study file: when the search has ended, its best trial is trained again on training and validation rows.

The model is an ensemble of the method `refit`, of one member or of several seeds, and is listed, asked and taken along
like any other. The one that the study itself orders says so, and is ordered once of a trial: a search that was taken up
again and has another best trial orders one more.
"""

from __future__ import annotations

from datetime import datetime
from statistics import fmean
from typing import Any, Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from search.definition import Definition, parse
from search.ledger import Ledger
from search.origins import find_origins
from search.racing import race_of
from search.racing import stage as stage_of_race
from search.rescoring import scores_of
from store.errors import Conflict
from store.messages import AttemptKey
from store.models import StudyRow, StudyState, TaskRow, TaskState, TrialRow
from store.tasks import ENSEMBLE
from store.trials import Trials

METHOD = "refit"

Stage = Literal["WAITING", "QUEUED", "RUNNING", "COMPLETE", "FAILED"]

STAGES: dict[TaskState, Stage] = {
    TaskState.QUEUED: "QUEUED",
    TaskState.RUNNING: "RUNNING",
    TaskState.COMPLETE: "COMPLETE",
    TaskState.FAILED: "FAILED",
}


class Standing(NamedTuple):
    """Where a study's own refit stands, and the number of its ensemble once it is ordered."""

    stage: Stage
    ensemble: int | None


def request_of(
    session: Session, definition: Definition, trial: TrialRow, attempt: AttemptKey, seeds: int
) -> dict[str, Any]:
    """What a worker is asked for: the trial from its own seeds on, without what looks at validation rows.

    Raises:
        Conflict: it cannot be trained so.
    """
    section = definition.resolve(trial.parameters)
    if (section.get("schedule") or {}).get("name") == "plateau":
        raise Conflict(f"trial {trial.number} lowers its rate by its validation rows (plateau): a refit has none")
    if definition.sampler.name == "pbt":
        raise Conflict("the members of a population were trained by schedules that no trial's parameters tell")
    seeds = max(seeds, section.get("seeds", 1))
    return {
        "method": METHOD,
        "rounds": seeds,
        "seed": section.get("seed", 0),
        "members": [{"trial": trial.number, "attempt": attempt.attempt}],
        "metric": definition.objective.metric,
        "direction": definition.objective.direction,
        "trial": {**section, "early_stopping": None},
        "origins": {source: list(key) for source, key in find_origins(session, definition).items()},
    }


class Refits:
    """Orders those that are due. What it remembers only saves looking again."""

    def __init__(self) -> None:
        self._over: set[tuple[int, datetime | None]] = set()  # studies, and when their searches ended

    def look_round(self, session: Session, ledger: Ledger) -> None:
        """Order those of studies whose search, and race if they have one, has come to its end."""
        wanted = StudyRow.definition["refit"]["seeds"].as_integer().is_not(None)
        ended = select(StudyRow.id, StudyRow.ended_at).where(StudyRow.state == str(StudyState.COMPLETE), wanted)
        for study_id, ended_at in session.execute(ended).all():
            if (study_id, ended_at) in self._over:
                continue
            study = session.get_one(StudyRow, study_id)
            if stage_of_race(session, study) in (None, "COMPLETE"):
                _order(session, study, ledger)
                self._over.add((study_id, ended_at))


def _order(session: Session, study: StudyRow, ledger: Ledger) -> None:
    definition = parse(study.definition)
    if definition.refit and (found := _best(session, study, definition)) and own_refit(session, study) is None:
        request = request_of(session, definition, *found, definition.refit.seeds)
        ledger.add_task(study.id, ENSEMBLE, {**request, "own": True})


def standing(session: Session, study: StudyRow) -> Standing | None:
    """None if the study has no refit of its own, or its search came to no good end."""
    state = StudyState(study.state)
    if "refit" not in study.definition or (state.ended and state is not StudyState.COMPLETE):
        return None
    is_over = state.ended and stage_of_race(session, study) in (None, "COMPLETE")
    task = own_refit(session, study) if is_over else None
    return Standing("WAITING", None) if task is None else Standing(STAGES[TaskState(task.state)], task.ordinal)


def own_refit(session: Session, study: StudyRow) -> TaskRow | None:
    """The study's own of the trial that has won by now."""
    query = select(TaskRow).where(TaskRow.study_id == study.id, TaskRow.kind == ENSEMBLE).order_by(TaskRow.number)
    tasks = {task.request["members"][0]["trial"]: task for task in session.scalars(query) if task.request.get("own")}
    if not tasks:
        return None
    found = _best(session, study, parse(study.definition))
    return tasks.get(found[0].number) if found else None


def _best(session: Session, study: StudyRow, definition: Definition) -> tuple[TrialRow, AttemptKey] | None:
    """Who has won the race, or is the best by the search."""
    trials = Trials(session, study)
    number = _winner(session, study, definition)
    trial = trials.best() if number is None else trials.get(number)
    attempt = trials.newest_attempt(trial.number) if trial else None
    return None if trial is None or attempt is None else (trial, attempt)


def _winner(session: Session, study: StudyRow, definition: Definition) -> int | None:
    """The best of the last heat, over all its seeds."""
    tasks = race_of(session, study.id)
    furthest = max((task.request["heat"] for task in tasks), default=0)
    last = [task for task in tasks if task.request["heat"] == furthest]
    objective = definition.objective
    sign = 1 if objective.direction == "minimize" else -1
    scored = [
        (sign * (fmean(scores_of(task) or [task.result["metrics"][objective.metric]])), task.request["number"])
        for task in last
        if task.result
    ]
    return min(scored)[1] if scored else None
