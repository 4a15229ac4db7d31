"""What a study has found: its best trial, its curves, everything as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import StreamingResponse

from api.cursors import Cursor
from api.deps import CursorText, PathStudy, Reading, Wired
from api.requests import StrictRoute
from api.routes.studies import shown
from api.shapes import BestTrial, CurveShape, Importance, Page, Trial, trial_fields
from search.definition import parse
from store.curves import read_curves
from store.errors import NotFound, Problem, Unprocessable
from store.messages import MAX_STEP, MetricName
from store.models import StudyRow
from store.trials import Place, Sort, Trials

router = APIRouter(prefix="/studies/{name}", route_class=StrictRoute, tags=["results"])

EXPORT_PAGE = 500
MOST_NUMBERS = 500


@router.get("/best")
def best_trial(session: Reading, study: PathStudy, parts: Wired) -> BestTrial:
    """The complete trial with the best value of the objective; 404 while there is none."""
    trials = Trials(session, study)
    best = trials.best()
    if best is None:
        raise NotFound(f"no trial of the study {study.name!r} is complete yet")
    attempt = trials.newest_attempt(best.number)
    return BestTrial(
        **trial_fields(best, trials.attempts([best.number])[best.number]),
        trial=parse(study.definition).resolve(best.parameters),
        artifacts=parts.artifacts.url_of(attempt) if attempt else None,
    )


@router.get("/importance")
def read_importance(session: Reading, study: PathStudy, parts: Wired) -> Importance:
    """The parameters' importance by PED-ANOVA, the largest first; empty while fewer than two trials are complete."""
    trials, shares = parts.importances.of(session, study)
    return Importance(trials=trials, importance=shares)


@router.get("/curves")
def read_study_curves(
    session: Reading,
    study: PathStudy,
    metric: Annotated[MetricName, Query(description="as it is reported, such as val/loss")],
    first: Annotated[int, Query(alias="from", ge=0, le=MAX_STEP, description="the trial number to begin with")] = 0,
    numbers: Annotated[str | None, Query(max_length=6000, description="only these trials, separated by commas")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="the most curves of a page")] = 500,
    cursor: CursorText = None,
) -> Page[CurveShape]:
    """The learning curves of a metric, for drawing; without trials that have not reported it."""
    only = _numbers(numbers)
    cursors = Cursor(f"curves {study.id} {metric} {only}", int)
    begin = cursors.decode(cursor)
    page = read_curves(session, study.id, metric, first if begin is None else begin, limit, only)
    more = None if page.next_number is None else cursors.encode(page.next_number)
    return Page(items=[CurveShape.of(curve) for curve in page.curves], next_cursor=more)


@router.get("/export", response_class=StreamingResponse)
def export_study(
    session: Reading,
    study: PathStudy,
    parts: Wired,
    format: Annotated[Literal["csv", "json"], Query()],  # noqa: A002 - its name in the contract
) -> StreamingResponse:
    """All trials of a study as a file."""
    head = {"Content-Disposition": f'attachment; filename="{study.name}.{format}"'}
    if format == "csv":
        return StreamingResponse(_csv(parts.reads, study), headers=head, media_type="text/csv; charset=utf-8")
    whole = shown(session, study)[0].model_dump(mode="json")
    return StreamingResponse(_json(parts.reads, study, whole), headers=head, media_type="application/json")


def _numbers(text: str | None) -> list[int] | None:
    """Raises: Unprocessable: the text is no list of trial numbers, or too long a one."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) > MOST_NUMBERS or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        wrong = Problem("numbers", "must be trial numbers separated by commas", f"as in 0,3,17; at most {MOST_NUMBERS}")
        raise Unprocessable(str(wrong), [wrong])
    return sorted({int(part) for part in parts})


def _pages(sessions: sessionmaker[Session], study: StudyRow) -> Iterator[list[Trial]]:
    """All trials by number; no session is open while the reader is slow."""
    place: Place | None = None
    while True:
        with sessions() as session:
            trials = Trials(session, study)
            page = trials.page((), Sort(), place, EXPORT_PAGE)
            attempts = trials.attempts([trial.number for trial, _ in page])
        if not page:
            return
        yield [Trial.of(trial, attempts[trial.number]) for trial, _ in page]
        place = page[-1][1]


def _json(sessions: sessionmaker[Session], study: StudyRow, whole: dict[str, Any]) -> Iterator[bytes]:
    yield b'{"study":' + orjson.dumps(whole) + b',"trials":[\n'
    separator = b""
    for page in _pages(sessions, study):
        yield separator + b",\n".join(trial.model_dump_json().encode() for trial in page)
        separator = b",\n"
    yield b"\n]}\n"


def _csv(sessions: sessionmaker[Session], study: StudyRow) -> Iterator[str]:
    """One row a trial. Lists, mappings and truth values are written as JSON."""
    metric = study.definition["objective"]["metric"]
    parameters = list(study.definition["parameters"])
    yield _lines([["number", "state", metric, *parameters, "started_at", "ended_at", "attempts", "reason"]])
    for page in _pages(sessions, study):
        yield _lines([_row(trial, metric, parameters) for trial in page])


def _row(trial: Trial, metric: str, parameters: list[str]) -> list[Any]:
    value = (trial.values or {}).get(metric)
    times = [None if at is None else at.isoformat() for at in (trial.started_at, trial.ended_at)]
    given = [_cell(trial.parameters.get(name)) for name in parameters]
    return [trial.number, trial.state, value, *given, *times, len(trial.attempts), trial.reason]


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool) else value


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
