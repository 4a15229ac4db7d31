"""What the API has a worker do while a request waits: as a task, deleted when it is done or nobody waits any more."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal

from api.parts import Parts
from api.requests import RequestModel
from search.definition import Resources
from search.placing import Offer
from store.errors import Problem as ProblemItem
from store.errors import TooLate, TrialyardError, Unavailable, Unprocessable
from store.models import StudyRow, TaskRow, TaskState
from store.roster import read_workers
from store.tasks import Tasks

FIRST_LOOK_SECONDS = 0.005
LOOK_SECONDS = 0.1


class ConvertBody(RequestModel):
    """The form that a model is to be put into."""

    form: Literal["onnx", "torch", "int8"]


def have_done(parts: Parts, study: StudyRow, kind: str, request: dict[str, Any]) -> Mapping[str, Any]:
    """The result of a task, waited for.

    Raises:
        Unavailable: no worker of the study's pool is there.
        TooLate: none came to it in `predict_seconds`.
        Unprocessable: what was asked for cannot be right; its problems say why.
    """
    workers = _workers_of(parts, study)
    if not workers:
        pool = study.definition["resources"]["pool"]
        raise Unavailable(f"no worker of the pool {pool!r} is there to do this; start one with `trialyard worker`")
    with parts.writes.begin() as session:
        number = Tasks(session, study).add(kind, request, parts.clock()).number
    try:
        parts.scheduler.announce(study.id)
        task = _await(parts, study, number)
    finally:
        with parts.writes.begin() as session:
            Tasks(session, study).delete(number)
        parts.artifacts.delete_task(study.id, number)
    if task is None:
        raise TooLate(_why_late(parts, study))
    if task.state == TaskState.FAILED:
        raise TrialyardError(f"the worker could not do it: {task.reason}")
    result = task.result or {}
    if result.get("problems"):
        raise Unprocessable(result["message"], [ProblemItem(**problem) for problem in result["problems"]])
    return result


def _await(parts: Parts, study: StudyRow, number: int) -> TaskRow | None:
    deadline = time.monotonic() + parts.settings.predict_seconds
    pause = FIRST_LOOK_SECONDS
    while time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(1.5 * pause, LOOK_SECONDS)
        with parts.reads() as session:
            task = session.get(TaskRow, (study.id, number))
        if task is None or TaskState(task.state).ended:
            return task
    return None


def _why_late(parts: Parts, study: StudyRow) -> str:
    workers = _workers_of(parts, study)
    busy = sum(worker.get("state") == "busy" for worker in workers)
    return (
        f"no worker came to it within {parts.settings.predict_seconds:g} s: {busy} of the pool's {len(workers)} are "
        "busy; ask again when a trial has ended, or add workers"
    )


def _workers_of(parts: Parts, study: StudyRow) -> list[dict[str, str]]:
    resources = Resources.model_validate(study.definition.get("resources", {}))
    return [each for each in read_workers(parts.redis) if Offer.of(each).serves(resources)]
