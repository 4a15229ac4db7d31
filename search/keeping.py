"""Which of a study's files are kept, and when the rest is collected.

What is kept: the models and predictions of as many of the best trials as the study says, of several objectives those of
the whole front, those of the members of its ensembles, and all that an open trial may go on from. Logs are kept as long
as the study. The collection is a task: a worker deletes what it is told when it takes the task, and may do so twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from search.definition import Definition, parse
from search.fronts import best_first, front, losses_of
from search.ledger import Ledger
from search.live_study import LiveStudy
from search.live_tasks import COLLECT
from search.racing import Races
from search.refitting import Refits
from store.messages import Nothing, TaskAssignment
from store.models import AttemptRow, StudyRow, StudyState, TaskRow, TaskState, TrialRow, TrialState

GROWTH = 50  # so many further complete trials of a running study, and as many as it keeps, are worth a collection
ABANDONED = timedelta(hours=1)  # what a request waited for is of no use after so long
WAITED_FOR = ("predict", "convert")


class Housekeeping:
    """Orders collections; what it remembers may be lost, as a collection that is ordered twice does no harm."""

    def __init__(self) -> None:
        self._races, self._refits = Races(), Refits()
        self._complete: dict[int, int] = {}  # trials of running studies at their last collections
        self._ended: set[tuple[int, datetime | None]] = set()  # ordered for; the clock may have been set back since

    def look_round(self, session: Session, studies: Iterable[LiveStudy], ledger: Ledger) -> None:
        """Order the collections, heats and refits that are due, and drop what requests waited for in vain."""
        self._races.look_round(session, ledger)
        self._refits.look_round(session, ledger)
        for study_id, ended_at in _uncollected(session):
            if (study_id, ended_at) not in self._ended:
                self._ended.add((study_id, ended_at))
                ledger.add_task(study_id, COLLECT)
        for study in studies:
            complete = study.counts[TrialState.COMPLETE]
            if _has_grown(study.definition, complete - self._complete.setdefault(study.id, 0)):
                self._complete[study.id] = complete
                ledger.add_task(study.id, COLLECT)
        ledger.drop_tasks(_abandoned(session, ledger.at))


def with_surplus(session: Session, task: TaskAssignment | Nothing) -> TaskAssignment | Nothing:
    """A collection with what there is to collect now; any other task as it is."""
    if not isinstance(task, TaskAssignment) or task.task != COLLECT:
        return task
    found = surplus(session, task.attempt.study_id)
    return Nothing() if found is None else task.model_copy(update={"request": found})


def with_models(session: Session, study: StudyRow, definition: Definition, complete: Iterable[int]) -> set[int]:
    """The complete trials whose models were not collected when the study had ended, if it has before."""
    if not study.rested_seconds:
        return set(complete)
    ranked, _ = _ranked(session, study.id, definition)
    return set(ranked[: definition.keep.models])


def surplus(session: Session, study_id: int) -> dict[str, Any] | None:
    """What a worker may delete now: attempts without whose `models` (and checkpoints) or `predictions` nothing is lost
    that was to be kept; None if there is no such study any more.
    """
    study = session.get(StudyRow, study_id)
    if study is None:
        return None
    definition = parse(study.definition)
    if _takes_over(definition) and not StudyState(study.state).ended:
        return {"models": [], "predictions": []}  # it was taken up again since this was ordered
    ranked, in_front = _ranked(session, study_id, definition)
    members = _members(session, study_id)
    closed = [*ranked, *_unsuccessful(session, study_id)] if StudyState(study.state).ended else ranked
    attempts = _attempts(session, study_id)

    def beyond(most: int | None) -> list[list[int]]:
        kept = {*ranked[:most], *in_front, *members}
        return [[number, attempt] for number in closed if number not in kept for attempt in attempts.get(number, ())]

    found = {"models": beyond(definition.keep.models), "predictions": beyond(definition.keep.predictions)}
    if definition.sampler.name == "pbt":
        # While it ran, each member's last ones stayed for the others.
        found["checkpoints"] = [[number, attempt] for number in closed for attempt in attempts.get(number, ())]
    return found


def _uncollected(session: Session) -> list[tuple[int, datetime | None]]:
    """Ended studies of the built-in training whose files have not been collected since, and when they ended."""
    ended = [str(state) for state in StudyState if state.ended]
    collected = exists().where(
        TaskRow.study_id == StudyRow.id, TaskRow.kind == COLLECT, TaskRow.created_at >= StudyRow.ended_at
    )
    trained = StudyRow.definition["trial"]["kind"].as_string() == "train"
    query = select(StudyRow.id, StudyRow.ended_at).where(StudyRow.state.in_(ended), trained, ~collected)
    return [(study_id, ended_at) for study_id, ended_at in session.execute(query)]


def _has_grown(definition: Definition, trials: int) -> bool:
    """Whether a running study has enough new trials for a collection. Not one whose trials take over each other's
    weights, a population's among them."""
    if definition.kind != "train" or _takes_over(definition) or definition.keep.models is None:
        return False
    return trials >= max(GROWTH, definition.keep.models)


def _takes_over(definition: Definition) -> bool:
    return definition.sampler.name == "pbt" or definition.may_inherit


def _abandoned(session: Session, at: datetime) -> list[tuple[int, int]]:
    query = select(TaskRow.study_id, TaskRow.number)
    rows = session.execute(query.where(TaskRow.kind.in_(WAITED_FOR), TaskRow.created_at < at - ABANDONED))
    return [(study_id, number) for study_id, number in rows]


def _ranked(session: Session, study_id: int, definition: Definition) -> tuple[list[int], set[int]]:
    """The complete trials, the best first, those that break a constraint last; and of several objectives the front,
    which is the study's result however large it is.
    """
    objectives = definition.objectives
    query = select(TrialRow.number, TrialRow.values, TrialRow.violation).where(
        TrialRow.study_id == study_id, TrialRow.state == str(TrialState.COMPLETE)
    )
    rows: list[Any] = list(session.execute(query.order_by(TrialRow.number)))
    feasible = [(number, values) for number, values, violation in rows if (violation or 0) <= 0]
    others = [number for number, _, violation in rows if (violation or 0) > 0]
    numbers = [number for number, _ in feasible]
    losses = losses_of(objectives, [[values[each.metric] for each in objectives] for _, values in feasible])
    if len(objectives) == 1:
        return [numbers[place] for place in np.argsort(losses[:, 0], kind="stable")] + others, set()
    most = max(definition.keep.models or 0, definition.keep.predictions or 0)
    first = [numbers[place] for place in best_first(losses, min(most, len(numbers)))]
    behind = sorted(set(numbers) - set(first))
    return [*first, *behind, *others], {numbers[place] for place in np.flatnonzero(front(losses))}


def _unsuccessful(session: Session, study_id: int) -> list[int]:
    states = [str(state) for state in TrialState if state.ended and state is not TrialState.COMPLETE]
    query = select(TrialRow.number).where(TrialRow.study_id == study_id, TrialRow.state.in_(states))
    return list(session.scalars(query.order_by(TrialRow.number)))


def _members(session: Session, study_id: int) -> set[int]:
    """Trials that an ensemble is made of, or may be once it is built."""
    query = select(TaskRow.request, TaskRow.result).where(
        TaskRow.study_id == study_id, TaskRow.kind == "ensemble", TaskRow.state != str(TaskState.FAILED)
    )
    found: set[int] = set()
    for request, result in session.execute(query):
        found |= {member["trial"] for member in (result or request)["members"] if member["trial"] is not None}
    return found


def _attempts(session: Session, study_id: int) -> dict[int, range]:
    query = select(AttemptRow.number, func.max(AttemptRow.attempt)).where(AttemptRow.study_id == study_id)
    return {number: range(1, newest + 1) for number, newest in session.execute(query.group_by(AttemptRow.number))}
