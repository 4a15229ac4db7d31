"""A study's log as server-sent events: from any point on, and then live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.auth import may_stay
from api.deps import StudyName, Wired
from api.parts import Parts
from api.requests import StrictRoute
from store.errors import BadRequest
from store.events import EventPage, read_events
from store.models import EventRow
from store.studies import Studies

router = APIRouter(prefix="/studies/{name}", route_class=StrictRoute, tags=["events"])

PAGE = 500
PING_SECONDS = 15
PACE_SECONDS = 0.05  # between two looks at SQL of one stream, however fast news come in

EventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=20, description="the last event that arrived")]
EventIdQuery = Annotated[
    str | None, Query(alias="last_event_id", max_length=20, description="the same, for a first connection")
]


@router.get("/events", response_class=EventSourceResponse, responses={204: {"description": "the study has ended"}})
async def follow_study(
    request: Request, name: StudyName, parts: Wired, last_event_id: EventId = None, first_event_id: EventIdQuery = None
) -> Response:
    """Events `study`, `trial` and `report` behind the given one (from the beginning, if none is given), then live ones.

    After the last event of an ended study comes one more, `end`, without an id. A client that connects again then gets
    204, on which an EventSource stops. If the study is taken up again, the log goes on behind that event. A stream
    whose key is revoked ends without one, within seconds.
    """
    after = _sequence(last_event_id if last_event_id is not None else first_event_id)
    study_id, last = await run_in_threadpool(_find, parts, name)
    if after > last:
        after = 0  # the number is of an earlier study of this name: this one's log is all new
    if after and (await run_in_threadpool(_read, parts, study_id, after)).is_end and after == last:
        return Response(status_code=204)
    return EventSourceResponse(_follow(request, parts, study_id, after), ping=PING_SECONDS, sep="\n")


async def _follow(request: Request, parts: Parts, study_id: int, after: int) -> AsyncIterator[ServerSentEvent]:
    with parts.bell.rope(study_id) as rope:
        while True:
            rope.reset()
            page = await run_in_threadpool(_read_on, request, parts, study_id, after)
            if page is None:
                return
            for event in page.events:
                yield _sent(event)
                after = event.sequence
            if page.is_end:
                yield ServerSentEvent("{}", event="end", sep="\n")
                return
            if page.is_last:
                await rope.wait()
            await asyncio.sleep(PACE_SECONDS)


def _sequence(text: str | None) -> int:
    """Raises: BadRequest: the text is no event's number."""
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and int(text) < 2**31):
        raise BadRequest(f"Last-Event-ID: {text!r} is no event's number; leave it out to begin with the first event")
    return int(text)


def _find(parts: Parts, name: str) -> tuple[int, int]:
    """A study's number and that of its newest event. Raises: NotFound."""
    with parts.reads() as session:
        study = Studies(session).get(name)
        return study.id, study.last_event


def _read(parts: Parts, study_id: int, after: int) -> EventPage:
    with parts.reads() as session:
        return read_events(session, study_id, after, PAGE)


def _read_on(request: Request, parts: Parts, study_id: int, after: int) -> EventPage | None:
    """None where the key that opened the stream has been revoked."""
    return _read(parts, study_id, after) if may_stay(request, parts.keys) else None


def _sent(event: EventRow) -> ServerSentEvent:
    data = orjson.dumps({**event.body, "at": event.at}, option=orjson.OPT_UTC_Z).decode()
    return ServerSentEvent(data, event=event.kind, id=str(event.sequence), sep="\n")
