"""What a study has found: its best trial, its curves, everything as a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from api.cursors import Cursor
from api.deps import CursorText, PathStudy, Reading, Wired
from api.exports.journal import as_journal
from api.exports.text import as_csv, as_json
from api.fronts import pareto
from api.lineages import lineage
from api.requests import StrictRoute
from api.result_shapes import Importance, Lineage, Pareto, Rungs, Storage
from api.routes.studies import shown
from api.rungs import rungs
from api.shapes import BestTrial, CurveShape, Page, Trial
from search.analysis import Method
from search.definition import parse
from store.curves import read_curves
from store.errors import Conflict, NotFound, Problem, Unprocessable
from store.messages import MAX_STEP, MetricName
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}", route_class=StrictRoute, tags=["results"])

MOST_NUMBERS = 500


@router.get("/best")
def best_trial(session: Reading, study: PathStudy, parts: Wired) -> BestTrial:
    """The complete and feasible trial with the best value of the objective; 404 while there is none.

    A study with several objectives has no best trial, and is answered with 409: its front is at `pareto`.
    """
    if len(study.objectives) > 1:
        message = f"the study {study.name!r} has several objectives, and no trial is the best by all of them"
        ways = f"`trialyard best {study.name}` and GET /api/v1/studies/{study.name}/pareto"
        raise Conflict(f"{message}; name one of those that no other beats, which {ways} have")
    trials = Trials(session, study)
    best = trials.best()
    if best is None:
        raise NotFound(f"no trial of the study {study.name!r} is complete yet")
    definition = parse(study.definition)
    # What trains an external trial keeps its files wherever it likes.
    attempt = None if definition.kind == "external" else trials.newest_attempt(best.number)
    return BestTrial(
        **dict(Trial.at(trials, best.number)),
        trial=definition.resolve(best.parameters),
        artifacts=parts.artifacts.url_of(attempt) if attempt else None,
    )


@router.get("/lineage")
def read_lineage(session: Reading, study: PathStudy) -> Lineage:
    """How a population's members came to what they are: the parameters of each over its steps. Empty for others."""
    return lineage(session, study)


@router.get("/pareto")
def read_front(
    session: Reading,
    study: PathStudy,
    reference: Annotated[
        str | None,
        Query(max_length=200, description="the hypervolume's reference point: a value an objective, with commas"),
    ] = None,
) -> Pareto:
    """The feasible complete trials that no other beats: none is as good by every objective and better by one.

    With the hypervolume that they cover before a reference point, after each trial that changed the front. If none is
    given, the point lies a tenth of each objective's range behind the worst complete trial.
    """
    return pareto(Trials(session, study), parse(study.definition), _numbers_of(reference))


@router.get("/importance")
def read_importance(
    session: Reading, study: PathStudy, parts: Wired, answer: Response, method: Annotated[Method, Query()] = "ped_anova"
) -> Importance:
    """The parameters' importance, the largest first; empty while fewer than two trials are complete.

    By PED-ANOVA: how much a parameter decides whether a trial is among the best tenth. By fANOVA: how much of the
    variance is its own; that takes seconds, and until it is there the answer is 202 with the state `computing`.
    """
    if method == "ped_anova":
        trials, by_objective = parts.importances.of(session, study)
    elif (found := parts.fanova.of(session, study)) is not None:
        trials, by_objective = found.trials, found.shares
    else:
        answer.status_code = 202
        return Importance(method=method, state="computing", trials=0, importance={}, by_objective={})
    first = next(iter(by_objective.values()), {})
    return Importance(method=method, state="done", trials=trials, importance=first, by_objective=by_objective)


@router.get("/rungs")
def read_rungs(session: Reading, study: PathStudy) -> Rungs:
    """How many trials came to each rung of the pruner, were stopped and wait there, by bracket. Empty for others."""
    return rungs(session, study)


@router.get("/storage")
def read_storage(study: PathStudy, parts: Wired) -> Storage:
    """How much room the study's files take: models, checkpoints, predictions, logs, ensembles and others."""
    kinds = parts.artifacts.usage(study.id)
    return Storage(bytes=sum(kinds.values()), kinds=kinds)


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
    format: Annotated[Literal["csv", "parquet", "json", "optuna"], Query()] = "csv",  # noqa: A002 - as in the contract
) -> StreamingResponse:
    """All trials of a study as a file. `optuna` is a journal that Optuna and its dashboard open."""
    content: Iterator[str | bytes]
    match format:
        case "csv":
            name, kind, content = "csv", "text/csv; charset=utf-8", as_csv(parts.reads, study)
        case "json":
            whole = shown(session, study)[0].model_dump(mode="json")
            name, kind, content = "json", "application/json", as_json(parts.reads, study, whole)
        case "parquet":
            from api.exports.parquet import as_parquet  # pyarrow takes a quarter of a second to import

            name, kind = "parquet", "application/vnd.apache.parquet"
            content = as_parquet(parts.reads, study)
        case "optuna":
            name, kind, content = "journal", "application/x-ndjson", as_journal(parts.reads, study)
    head = {"Content-Disposition": f'attachment; filename="{study.name}.{name}"'}
    return StreamingResponse(content, headers=head, media_type=kind)


def _numbers_of(text: str | None) -> list[float] | None:
    """Raises: Unprocessable: the text is no list of finite numbers."""
    try:
        numbers = None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        numbers = [math.nan]
    if numbers is not None and not all(map(math.isfinite, numbers)):
        wrong = Problem("reference", "must be numbers separated by commas", "as in 0.9,50000")
        raise Unprocessable(str(wrong), [wrong])
    return numbers


def _numbers(text: str | None) -> list[int] | None:
    """Raises: Unprocessable: the text is no list of trial numbers, or too long a one."""
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) > MOST_NUMBERS or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        wrong = Problem("numbers", "must be trial numbers separated by commas", f"as in 0,3,17; at most {MOST_NUMBERS}")
        raise Unprocessable(str(wrong), [wrong])
    return sorted({int(part) for part in parts})
