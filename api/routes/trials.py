"""Trials: listed, read, with their reports and logs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import FiniteFloat
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from api.bundle import pieces
from api.cursors import Cursor
from api.deps import CursorText, Limit, Number, PathStudy, Reading, TrialStates, Wired
from api.requests import StrictRoute
from api.shapes import Page, StepReport, Trial
from search.suggestions import nearest
from store.errors import NotFound, Problem, Unprocessable
from store.logs import open_log, tail_of_log
from store.messages import MAX_STEP, AttemptKey
from store.trials import Place, Sort, SortColumn, Trials

router = APIRouter(prefix="/studies/{name}/trials", route_class=StrictRoute, tags=["trials"])

TAIL_BYTES = 64 * 1024

SORTS: dict[str, Sort] = {
    f"{sign}{column}": Sort(column, sign == "-")
    for column in ("number", "value", "duration", "started_at", "ended_at")
    for sign in ("", "-")
}
PLACES: dict[SortColumn, Any] = {
    "number": tuple[int | None, int],
    "value": tuple[FiniteFloat | None, int],
    "duration": tuple[FiniteFloat | None, int],
    "started_at": tuple[datetime | None, int],
    "ended_at": tuple[datetime | None, int],
}


@router.get("")
def list_trials(
    session: Reading,
    study: PathStudy,
    states: TrialStates,
    sort: Annotated[str, Query(max_length=20, description=f"one of {', '.join(SORTS)}")] = "number",
    limit: Limit = 50,
    cursor: CursorText = None,
) -> Page[Trial]:
    """`value` is the objective's. Trials without what is sorted by come last in either direction."""
    order = _sort(sort)
    cursors = Cursor(f"trials {study.id} {sort} {','.join(states)}", PLACES[order.column])
    place = cursors.decode(cursor)
    trials = Trials(session, study)
    found = trials.page(states, order, Place(*place) if place else None, limit + 1)
    shown = found[:limit]
    numbers = [trial.number for trial, _ in shown]
    attempts, copies = trials.attempts(numbers), trials.copies(numbers)
    last = shown[-1][1] if len(found) > limit else None
    return Page(
        items=[Trial.of(trial, attempts[trial.number], copies[trial.number]) for trial, _ in shown],
        next_cursor=cursors.encode((last.key, last.number)) if last else None,
    )


@router.get("/{number}")
def read_trial(session: Reading, study: PathStudy, number: Number) -> Trial:
    return Trial.at(Trials(session, study), number)


@router.get("/{number}/reports")
def list_reports(
    session: Reading, study: PathStudy, number: Number, limit: Limit = 50, cursor: CursorText = None
) -> Page[StepReport]:
    """By attempt and step."""
    cursors = Cursor(f"reports {study.id} {number}", tuple[int, int])
    trials = Trials(session, study)
    trials.get(number)
    found = trials.reports(number, cursors.decode(cursor), limit + 1)
    shown = found[:limit]
    more = cursors.encode((shown[-1].attempt, shown[-1].step)) if len(found) > limit else None
    return Page(items=[StepReport.of(report) for report in shown], next_cursor=more)


@router.get("/{number}/logs", response_class=PlainTextResponse)
def read_log(
    session: Reading,
    study: PathStudy,
    number: Number,
    parts: Wired,
    attempt: Annotated[int | None, Query(ge=1, le=MAX_STEP, description="the newest one if left out")] = None,
    whole: Annotated[bool, Query(description="from its beginning")] = False,
) -> Response:
    """The end of an attempt's log, as text, whole lines of at most 64 KiB; empty while it has written none."""
    trials = Trials(session, study)
    trials.get(number)
    newest = trials.newest_attempt(number)
    if newest is None or (attempt or newest.attempt) > newest.attempt:
        raise NotFound(f"trial {number} of the study {study.name!r} has no attempt {attempt or 1} yet")
    folder = parts.artifacts.attempt(AttemptKey(study.id, number, attempt or newest.attempt))
    try:
        if whole:
            return StreamingResponse(pieces(open_log(folder)), media_type="text/plain; charset=utf-8")
        tail = tail_of_log(folder, TAIL_BYTES)
    except FileNotFoundError:
        return PlainTextResponse("")
    text = tail.decode(errors="replace")
    return PlainTextResponse(text if len(tail) < TAIL_BYTES else text[text.find("\n") + 1 :])


def _sort(name: str) -> Sort:
    """Raises: Unprocessable: there is no such order."""
    if name not in SORTS:
        wrong = Problem("sort", f"there is no order {name!r}", nearest(name, SORTS))
        raise Unprocessable(str(wrong), [wrong])
    return SORTS[name]
