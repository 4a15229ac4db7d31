"""Studies: made, listed, read, moved, deleted."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Body, Header
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from api.cursors import Cursor
from api.deps import CursorText, Limit, PathStudy, Reading, StudyName, StudyStates, Wired
from api.parts import Parts
from api.requests import StrictRoute
from api.shapes import Page, Study
from api.waiting import said_to_lack, with_waiting
from search.definition import Definition, submitted
from search.racing import stage
from search.refitting import standing
from search.warm_start import warm_trials
from store.answers import Answers
from store.errors import Conflict
from store.models import StudyRow, StudyState
from store.studies import CANCEL, PAUSE, RESUME, Move, Studies
from store.trials import Trials

router = APIRouter(prefix="/studies", route_class=StrictRoute, tags=["studies"])
log = structlog.get_logger(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="a repeat with the same key and body gets the same answer"),
]


@router.post("", status_code=201, response_model=Study)
def create_study(
    document: Annotated[Any, Body(description="the study definition")],
    parts: Wired,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a study. Its preflight, and then its trials, begin as soon as a worker of its pool is free."""
    definition = submitted(document)
    waiting_for = None if definition.kind == "external" else said_to_lack(parts, definition.resources)
    request_digest = hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()
    try:
        body, study_id = _create(definition, waiting_for, parts, idempotency_key, request_digest)
    except (IntegrityError, Conflict):
        # The name or the key was taken at this very moment, perhaps by this request's own first sending: look again.
        body, study_id = _create(definition, waiting_for, parts, idempotency_key, request_digest)
    if study_id is not None:
        parts.scheduler.announce(study_id)
    return JSONResponse(body, 201, {"Location": f"/api/v1/studies/{body['name']}"})


@router.get("")
def list_studies(
    session: Reading, parts: Wired, states: StudyStates, limit: Limit = 50, cursor: CursorText = None
) -> Page[Study]:
    """The newest first."""
    cursors = Cursor(f"studies {','.join(states)}", int)
    found = Studies(session).page(states, cursors.decode(cursor), limit + 1)
    studies = found[:limit]
    more = cursors.encode(studies[-1].id) if len(found) > limit else None
    return Page(items=with_waiting(parts, shown(session, *studies)), next_cursor=more)


@router.get("/{name}")
def read_study(session: Reading, parts: Wired, study: PathStudy) -> Study:
    return with_waiting(parts, shown(session, study))[0]


@router.post("/{name}/pause")
def pause_study(name: StudyName, parts: Wired) -> Study:
    """Let no further trial begin, and tell those that run to pause at their next report. They can be resumed."""
    return _move(name, PAUSE, parts)


@router.post("/{name}/resume")
def resume_study(name: StudyName, parts: Wired) -> Study:
    """Go on with a paused study; its paused trials go on from their checkpoints."""
    return _move(name, RESUME, parts)


@router.post("/{name}/cancel")
def cancel_study(name: StudyName, parts: Wired) -> Study:
    """End a study for good: its open trials are CANCELLED, those that run at their next report."""
    return _move(name, CANCEL, parts)


@router.delete("/{name}", status_code=204)
def delete_study(name: StudyName, parts: Wired) -> None:
    """Delete an ended or paused study with everything that belongs to it, its artifacts too."""
    with parts.writes.begin() as session:
        study_id = Studies(session).delete(name)
    parts.scheduler.announce(study_id, event=0)
    try:
        parts.artifacts.delete_study(study_id)
    except OSError as error:
        # The study is gone and its number is never given again, so what is left does no harm but fill the disk.
        log.error("artifacts of a deleted study are left behind", study=study_id, name=name, error=str(error))


def shown(session: Session, *studies: StudyRow) -> list[Study]:
    """Studies as the API shows them."""
    counts = Studies(session).counts([study.id for study in studies])
    return [
        Study.of(
            study,
            counts[study.id],
            Trials(session, study).best(),
            stage(session, study),
            standing(session, study),
        )
        for study in studies
    ]


def _create(
    definition: Definition, waiting_for: str | None, parts: Parts, key: str | None, request_digest: str
) -> tuple[dict[str, Any], int | None]:
    """Store a study.

    Returns:
        The answer's body, and the study's number unless the answer is that to an earlier request of the same key.
    """
    state = StudyState.RUNNING if definition.kind == "external" else StudyState.PREPARING
    at = parts.clock()
    with parts.writes.begin() as session:
        answers = Answers(session)
        if key is not None and (answered := answers.recall(key, request_digest)) is not None:
            return answered, None
        wanted = definition.warm_start
        warm = None if wanted is None else warm_trials(session, definition, wanted)
        begin = (None, ()) if warm is None else (warm.summary(), warm.rows)
        study = Studies(session).add(definition.name, definition.document(), state, at, *begin)
        body = shown(session, study)[0].model_copy(update={"waiting_for": waiting_for}).model_dump(mode="json")
        if key is not None:
            answers.remember(key, request_digest, 201, body, at)
    return body, study.id


def _move(name: str, move: Move, parts: Parts) -> Study:
    with parts.writes.begin() as session:
        study, moved = Studies(session).move(name, move, parts.clock())
        answer = shown(session, study)[0]
    if moved:
        parts.scheduler.announce(study.id, study.last_event)
    return answer
