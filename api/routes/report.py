"""A study as one file that can be sent to a colleague: pictures in it, and nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from jinja2 import Environment
from markupsafe import Markup
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse

from api.charts import Line, Point, bars, figure
from api.deps import PathStudy, Reading, Wired
from api.fronts import pareto
from api.page_text import objectives, parameter
from api.parts import Parts
from api.requests import StrictRoute
from api.result_shapes import Ensemble, Rescore
from api.routes.studies import shown
from api.shapes import Trial
from search.definition import parse
from search.rescoring import RESCORE
from store.curves import read_curves
from store.models import AttemptRow, StudyRow, TaskState, TrialRow, TrialState
from store.tasks import ENSEMBLE, Tasks
from store.trials import Sort, Trials

router = APIRouter(prefix="/studies/{name}", route_class=StrictRoute, tags=["results"])

BEST_TRIALS = 10
MOST_LOOKED_AT = 500
CURVES = 40
SLICES = 4
MOST_POINTS = 5_000
JITTER = 0.28  # of the way to the next choice or step, to either side
MOST_STEPS = 24  # of a range whose points are strewn: more of them lie beside each other anyway


@router.get("/report", response_class=HTMLResponse)
def report(request: Request, session: Reading, row: PathStudy, parts: Wired) -> HTMLResponse:
    """One HTML file: what was searched, the best and what it is worth, the pictures, the ensembles, where it ran."""
    study = shown(session, row)[0].model_dump(mode="json")
    environment: Environment = request.app.state.templates
    trials = Trials(session, row)
    best = _best(trials, row)
    text = environment.get_template("report.html").render(
        study=study,
        best=best,
        figures=_figures(session, row, parts, study, best),
        rescored=_rescored(session, row, study),
        ensembles=_ensembles(session, row),
        surroundings=_surroundings(session, row),
        at=parts.clock(),
    )
    head = {"Content-Disposition": f'attachment; filename="{row.name}.html"'}
    return HTMLResponse(text, headers=head)


def _best(trials: Trials, row: StudyRow) -> list[dict[str, Any]]:
    """The best trials that break no constraint; of several objectives those that no other beats, by the first one."""
    definition = parse(row.definition)
    if len(definition.objectives) > 1:
        front = [each.number for each in pareto(trials, definition, None).front]
        found = {trial.number: trial for trial in trials.several(front)}
        return [Trial.of(found[number], []).model_dump(mode="json") for number in front]
    order = Sort("value", definition.objective.direction == "maximize")
    page = [trial for trial, _ in trials.page([TrialState.COMPLETE], order, None, MOST_LOOKED_AT)]
    kept = [trial for trial in page if (trial.violation or 0) <= 0][:BEST_TRIALS]
    return [Trial.of(trial, []).model_dump(mode="json") for trial in kept]


def _figures(
    session: Session, row: StudyRow, parts: Parts, study: dict[str, Any], best: Sequence[dict[str, Any]]
) -> list[tuple[str, Markup]]:
    """Titles and pictures, of what there is to see."""
    metric, direction = objectives(study)[0]["metric"], objectives(study)[0]["direction"]  # of several the first
    trials = _complete(session, row)
    complete = [(number, parameters, values[metric]) for number, parameters, values in trials]
    shares = parts.importances.of(session, row)[1].get(metric, {})
    found = [
        ("Pareto front", _front(trials, objectives(study), best)),
        ("Optimisation history", _history(complete, metric, direction)),
        (f"Learning curves of {metric}", _curves(session, row, metric, [trial["number"] for trial in best])),
        ("Importance of the parameters", bars(shares.items())),
    ]
    spaces = study["definition"]["parameters"]
    found += [(f"{metric} by {name}", _slice(complete, name, metric, spaces[name])) for name in list(shares)[:SLICES]]
    return [(title, picture) for title, picture in found if picture is not None]


def _complete(session: Session, row: StudyRow) -> list[Any]:
    same = (TrialRow.study_id == row.id, TrialRow.state == str(TrialState.COMPLETE))
    query = select(TrialRow.number, TrialRow.parameters, TrialRow.values).where(*same)
    return list(session.execute(query.order_by(TrialRow.number)))


def _front(
    complete: Sequence[Any], wanted: Sequence[Mapping[str, str]], best: Sequence[dict[str, Any]]
) -> Markup | None:
    """The second objective over the first, and the line below or above which nothing lies; of one objective nothing."""
    if len(wanted) < 2:
        return None
    x, y = wanted[0]["metric"], wanted[1]["metric"]
    points = [
        Point(values[x], values[y], f"trial {number}: {values[x]:.5g}, {values[y]:.5g}")
        for number, _, values in _thinned(complete)
    ]
    edge = sorted((trial["values"][x], trial["values"][y]) for trial in best)
    if wanted[0]["direction"] == "maximize":
        edge.reverse()  # from the best on, so that the line goes along before it becomes better in the other
    lines = [Line(edge, "best", stepped=True)] if len(wanted) == 2 else []  # of three a front is no line
    return figure(points, lines, x, y)


def _history(complete: Sequence[Any], metric: str, direction: str) -> Markup | None:
    better = max if direction == "maximize" else min
    so_far: list[tuple[float, float]] = []
    for number, _, value in complete:
        so_far.append((number, better(value, so_far[-1][1]) if so_far else value))
    points = [Point(number, value, f"trial {number}: {value:.5g}") for number, _, value in _thinned(complete)]
    return figure(points, [Line(so_far, "best", stepped=True)] if so_far else [], "trial", metric)


def _curves(session: Session, row: StudyRow, metric: str, best: Sequence[int]) -> Markup | None:
    curves = read_curves(session, row.id, metric, 0, CURVES).curves
    own = read_curves(session, row.id, metric, 0, 1, best[:1]).curves if best else []
    lines = [
        Line(list(zip(curve.steps, curve.values, strict=True)), f"curve is-{curve.state.lower()}") for curve in curves
    ]
    lines += [Line(list(zip(curve.steps, curve.values, strict=True)), "best") for curve in own]
    return figure([], lines, "step", metric)


def _slice(complete: Sequence[Any], name: str, metric: str, entry: Mapping[str, Any]) -> Markup | None:
    """The objective over one parameter; choices stand side by side, and what shares a place is strewn about it."""
    had = [(number, parameters[name], value) for number, parameters, value in _thinned(complete) if name in parameters]
    if "values" not in entry and all(isinstance(given, int | float) for _, given, _ in had):
        gap = _gap(entry)
        points = [
            Point(given + _strewn(number, gap), value, f"trial {number}: {given:.4g}") for number, given, value in had
        ]
        return figure(points, [], name, metric, log_x=bool(entry.get("log")))
    texts = [parameter(given) for given in (*entry.get("values", ()), *(given for _, given, _ in had))]
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    points = [
        Point(places[parameter(given)] + _strewn(number), value, f"trial {number}: {parameter(given)}")
        for number, given, value in had
    ]
    return figure(points, [], name, metric, names=list(places))


def _gap(entry: Mapping[str, Any]) -> float:
    """How far the few values of a range lie from each other; 0 where they are many."""
    low, high = entry.get("low", 0.0), entry.get("high", 0.0)
    step = entry.get("step") or int(isinstance(low, int) and isinstance(high, int))
    return 0.0 if entry.get("log") or high - low > MOST_STEPS * step else float(step)


def _strewn(number: int, gap: float = 1.0) -> float:
    """How far a trial's point lies beside its place."""
    return JITTER * gap * (number * 0.6180339887 % 1 * 2 - 1)


def _thinned(complete: Sequence[Any]) -> Sequence[Any]:
    return complete[:: 1 + len(complete) // MOST_POINTS]


def _ensembles(session: Session, row: StudyRow) -> list[dict[str, Any]]:
    tasks = Tasks(session, row).page(ENSEMBLE, None, 50)
    return [Ensemble.of(task).model_dump(mode="json") for task in tasks if task.state == TaskState.COMPLETE]


def _rescored(session: Session, row: StudyRow, study: dict[str, Any]) -> list[Rescore]:
    """Of each trial that was trained again its newest values; who came furthest in a race first, then the best."""
    sign = -1 if objectives(study)[0]["direction"] == "maximize" else 1
    found: dict[int, Rescore] = {}
    for task in Tasks(session, row).page(RESCORE, None, MOST_LOOKED_AT):
        if task.state == TaskState.COMPLETE:
            each = Rescore.of(task)
            found.setdefault(each.trial, each)
    return sorted(found.values(), key=lambda each: (-(each.heat or 0), sign * (each.rescored or 0.0)))


def _surroundings(session: Session, row: StudyRow) -> dict[str, Any]:
    """Where the trials ran, how long, and with which versions of what."""
    attempts = session.execute(
        select(AttemptRow.worker, AttemptRow.device, AttemptRow.device_seconds).where(AttemptRow.study_id == row.id)
    ).all()
    seconds = sum(each.device_seconds or 0.0 for each in attempts)
    return {
        "devices": sorted({each.device for each in attempts if each.device}),
        "workers": len({each.worker for each in attempts}),
        "attempts": len(attempts),
        "seconds": seconds,
        "versions": {name: version(name) for name in ("trialyard", "optuna")},
    }
