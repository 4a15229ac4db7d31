"""`rescore` of a study file: when the search has ended, its best trials are trained again from other seeds, in heats.

A heat trains each trial that is left from a few further seeds, all from the same ones. Behind is, and is trained no
more, who in a paired t-test over all seeds so far is worse than the leader (successive racing: Maron and Moore 1994;
with paired differences, Birattari et al. 2002). SQL is where a race stands: its tasks say of which heat they are and
what earlier ones came to, so that a restart goes on with it; and a search that is taken up again races once more, with
what is known of the trials that have raced before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from search.definition import Definition, parse
from search.rescoring import RESCORE, best_of, requests_of, scores_of
from store.models import StudyRow, StudyState, TaskRow, TaskState

if TYPE_CHECKING:
    from search.ledger import Ledger

FIRST_HEAT, HEAT = 3, 2  # seeds of the first heat, and of each further one
# Student's t by degrees of freedom, from 1 on: 95 of 100 differences without a cause lie below.
T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)

Stage = Literal["WAITING", "RUNNING", "COMPLETE"]


class Races:
    """Orders the heats that are due. What it remembers only saves looking again."""

    def __init__(self) -> None:
        self._over: set[tuple[int, datetime | None]] = set()  # studies, and when their searches ended

    def look_round(self, session: Session, ledger: Ledger) -> None:
        """Order the next heat of each study whose search has ended and whose last heat, if it had one, is over."""
        wanted = StudyRow.definition["rescore"]["best"].as_integer().is_not(None)
        ended = select(StudyRow).where(StudyRow.state == str(StudyState.COMPLETE), wanted)
        for study in session.scalars(ended):
            if (study.id, study.ended_at) in self._over:
                continue
            definition, tasks = parse(study.definition), race_of(session, study.id)
            requests = _next_heat(session, study, definition, tasks)
            for request in requests:
                ledger.add_task(study.id, RESCORE, request)
            if not requests and all(TaskState(task.state).ended for task in tasks):
                self._over.add((study.id, study.ended_at))


def stage(session: Session, study: StudyRow) -> Stage | None:
    """Where the race of a study stands; None if it has none, or its search came to no good end."""
    state = StudyState(study.state)
    if "rescore" not in study.definition or (state.ended and state is not StudyState.COMPLETE):
        return None
    if not state.ended:
        return "WAITING"
    definition, tasks = parse(study.definition), race_of(session, study.id)
    is_open = any(not TaskState(task.state).ended for task in tasks)
    return "RUNNING" if is_open or _next_heat(session, study, definition, tasks) else "COMPLETE"


def race_of(session: Session, study_id: int) -> list[TaskRow]:
    """The tasks of a study's race, in order; not those that a person has ordered."""
    query = select(TaskRow).where(TaskRow.study_id == study_id, TaskRow.kind == RESCORE).order_by(TaskRow.number)
    return [task for task in session.scalars(query) if "heat" in task.request]


def heats_of(seeds: int) -> list[int]:
    """How many seeds each heat has; never one alone, whose best epoch would be its own and not that of a mean."""
    if seeds <= FIRST_HEAT + 1:
        return [seeds]
    further, rest = divmod(seeds - FIRST_HEAT, HEAT)
    return [FIRST_HEAT, *[HEAT] * (further - rest), *[HEAT + 1] * rest]


def left(scores: Mapping[int, Sequence[float]], direction: str) -> list[int]:
    """The trials that are not clearly behind the best one, the best first. All have as many scores."""
    sign = 1 if direction == "minimize" else -1
    ranked = sorted(scores, key=lambda number: (sign * fmean(scores[number]), number))
    return [
        number
        for number in ranked
        if not _is_behind([sign * (a - b) for a, b in zip(scores[number], scores[ranked[0]], strict=True)])
    ]


def _is_behind(differences: Sequence[float]) -> bool:
    """Whether paired losses over the leader are above zero by more than chance."""
    if len(differences) < 2:
        return False
    error = stdev(differences) / math.sqrt(len(differences))
    return fmean(differences) > T95[min(len(differences) - 1, len(T95)) - 1] * error


def _next_heat(
    session: Session, study: StudyRow, definition: Definition, tasks: Sequence[TaskRow]
) -> list[dict[str, Any]]:
    """What is to be trained now; nothing while a heat runs, or when the race is over."""
    rule = definition.rescore
    if rule is None or any(not TaskState(task.state).ended for task in tasks):
        return []
    in_folds = definition.trial.get("cross_validation") is not None
    heats = [rule.seeds] if in_folds else heats_of(rule.seeds)
    raced = {task.request["number"] for task in tasks}
    best = {trial.number: trial for trial in best_of(session, study, definition, rule.best, raced)}
    standing, scores = list(best), dict[int, list[float]]()
    for heat, seeds in enumerate(heats, start=1):
        run = {task.request["number"]: task for task in tasks if task.request["heat"] == heat}
        if missing := [best[number] for number in standing if number not in run]:
            requests = requests_of(session, definition, missing, seeds, after=sum(heats[: heat - 1]))
            return [_of_heat(heat, request, scores) for request in requests]
        scores = {number: found for number in standing if (found := scores_of(run[number]))}
        standing = left(scores, definition.objective.direction)
    return []


def _of_heat(heat: int, request: dict[str, Any], scores: Mapping[int, Sequence[float]]) -> dict[str, Any]:
    known = {"known": list(scores[request["number"]])} if request["number"] in scores else {}
    return {**request, "heat": heat} | known
