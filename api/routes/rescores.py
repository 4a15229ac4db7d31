"""The best trials of a study, measured again from several seeds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api.cursors import Cursor
from api.deps import CursorText, Limit, PathStudy, Reading, StudyName, Wired
from api.once import OnceRoute
from api.requests import RequestModel
from api.result_shapes import Rescore, Rescores
from api.shapes import Page
from search.definition import parse
from search.rescoring import RESCORE, best_of, requests_of
from store.errors import Conflict
from store.studies import Studies
from store.tasks import Tasks

router = APIRouter(prefix="/studies/{name}/rescores", route_class=OnceRoute, tags=["results"])

MOST_SEEDS = 50


class RescoreBody(RequestModel):
    best: Annotated[int, Field(ge=1, le=100)] = 10
    seeds: Annotated[int, Field(ge=2, le=MOST_SEEDS)] = 5


@router.post("", status_code=201)
def rescore(name: StudyName, body: RescoreBody, parts: Wired) -> Rescores:
    """Have the best complete trials trained again by the workers of the study's pool, each from `seeds` seeds that the
    search has not used. With cross-validation the rows are divided so many times. Of trials with the same parameters
    only one is.
    """
    with parts.writes.begin() as session:
        study = Studies(session).get(name)
        definition = parse(study.definition)
        if definition.kind != "train":
            raise Conflict(f"the study {name!r} runs code of its own; only trials of our training have seeds to change")
        if definition.sampler.name == "pbt":
            message = f"the members of {name!r} were trained by schedules that no trial's parameters tell"
            raise Conflict(f"{message}; they cannot be trained again from other seeds")
        best = best_of(session, study, definition, body.best)
        if not best:
            raise Conflict(f"the study {name!r} has no complete trial yet")
        tasks = Tasks(session, study)
        requests = requests_of(session, definition, best, body.seeds)
        found = [Rescore.of(tasks.add(RESCORE, request, parts.clock())) for request in requests]
        study_id = study.id
    parts.scheduler.announce(study_id)
    return Rescores(items=found)


@router.get("")
def list_rescores(session: Reading, study: PathStudy, limit: Limit = 50, cursor: CursorText = None) -> Page[Rescore]:
    """The newest first."""
    cursors = Cursor(f"rescores {study.id}", int)
    found = Tasks(session, study).page(RESCORE, cursors.decode(cursor), limit + 1)
    more = cursors.encode(found[limit - 1].number) if len(found) > limit else None
    return Page(items=[Rescore.of(task) for task in found[:limit]], next_cursor=more)
