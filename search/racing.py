"""`rescore` of a study file: when the search has ended, its best trials are trained again from other seeds, in heats.

A heat trains each trial that is left from a few further seeds, all from the same ones. Behind is, and is trained no
more, who in a paired t-test over all seeds so far is worse than the leader (successive racing: Maron and Moore 1994;
with paired differences, Birattari et al. 2002). SQL is where a race stands: its tasks say of which heat they are and
what earlier ones came to, so that a restart goes on with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from search.definition import Definition, parse
from search.rescoring import RESCORE, Scored, best_of, requests_of, scores_of
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
        self._over: set[int] = set()

    def look_round(self, session: Session, ledger: Ledger) -> None:
        """Order the next heat of each study whose search has ended and whose last heat, if it had one, is over."""
        wanted = StudyRow.definition["rescore"]["best"].as_integer().is_not(None)
        ended = select(StudyRow).where(StudyRow.state == str(StudyState.COMPLETE), wanted)
        for study in session.scalars(ended):
            if study.id in self._over:
                continue
            definition, tasks = parse(study.definition), race_of(session, study.id)
            requests = _next_heat(session, study, definition, tasks)
            for request in requests:
                ledger.add_task(study.id, RESCORE, request)
            if not requests and all(TaskState(task.state).ended for task in tasks):
                self._over.add(study.id)


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
    run = max((task.request["heat"] for task in tasks), default=0)
    if run == len(heats):
        return []
    if not run:
        return _of_heat(1, requests_of(session, definition, best_of(session, study, definition, rule.best), heats[0]))
    last = [task for task in tasks if task.request["heat"] == run]
    scores = {task.request["number"]: found for task in last if (found := scores_of(task))}
    best = {trial.number: trial for trial in best_of(session, study, definition, rule.best)}
    standing = [best[number] for number in left(scores, definition.objective.direction) if number in best]
    return _with_known(scores, _of_heat(run + 1, _requests(session, definition, standing, heats, run)))


def _requests(
    session: Session, definition: Definition, trials: Sequence[Scored], heats: Sequence[int], run: int
) -> list[dict[str, Any]]:
    return requests_of(session, definition, trials, heats[run], after=sum(heats[:run]))


def _of_heat(heat: int, requests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**request, "heat": heat} for request in requests]


def _with_known(scores: Mapping[int, Sequence[float]], requests: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**request, "known": list(scores[request["number"]])} for request in requests]
