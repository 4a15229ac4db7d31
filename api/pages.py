"""The web page: five addresses, rendered from the same reads as the REST API, which the browser then goes on with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from redis.exceptions import RedisError
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

from api import shapes
from api.deps import Number, PathStudy, Reading, Wired
from api.errors import told
from api.openapi import PREFIX
from api.page_text import FILTERS, aims_text
from api.routes.studies import shown
from api.routes.workers import list_workers
from api.waiting import with_waiting
from store.errors import NotFound
from store.models import StudyRow
from store.studies import Studies
from store.trials import Trials

STUDIES_SHOWN = 50
STUDIES_COMPARED = 8


class PageRoute(APIRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def with_pages(request: Request) -> Response:
            try:
                return await handle(request)
            except NotFound as error:
                return _missing(request, str(error))
            except RequestValidationError:
                return _missing(request, f"there is nothing at {request.url.path}")

        return with_pages


router = APIRouter(route_class=PageRoute, include_in_schema=False)


def add_pages(app: FastAPI) -> None:
    """Serve the page, its own files, and Plotly out of its wheel, so that nothing comes from elsewhere."""
    folder = Path(__file__).parent
    app.state.templates = _environment(folder / "templates")
    app.mount("/static", StaticFiles(directory=folder / "static", packages=[("plotly", "package_data")]))
    app.include_router(router)
    app.add_exception_handler(404, _nothing_there)


@router.get("/")
def list_studies(request: Request, parts: Wired, session: Reading) -> Response:
    parts.importances.warm_up()  # the page of a study will ask for them, and who comes from here need not wait
    rows = Studies(session).page([], None, STUDIES_SHOWN)
    return _page(request, "studies.html", here="studies", studies=_studies(session, rows))


@router.get("/studies")
def lead_to_studies() -> Response:
    return RedirectResponse("/", 308)


@router.get("/studies/{name}")
def show_study(request: Request, row: PathStudy, parts: Wired, session: Reading) -> Response:
    parts.importances.warm_up()
    [study] = with_waiting(parts, shown(session, row))
    return _page(request, "study.html", here="studies", study=study.model_dump(mode="json"))


@router.get("/studies/{name}/trials/{number}")
def show_trial(request: Request, row: PathStudy, number: Number, session: Reading) -> Response:
    [study] = _studies(session, [row])
    found = shapes.Trial.at(Trials(session, row), number)
    return _page(request, "trial.html", here="studies", study=study, trial=found.model_dump(mode="json"))


@router.get("/workers")
def show_workers(request: Request, parts: Wired, session: Reading) -> Response:
    try:
        workers = [worker.model_dump(mode="json") for worker in list_workers(parts, session).items]
    except RedisError:
        workers = None  # nobody knows of any; that Redis is away the page's first line says
    return _page(request, "workers.html", here="workers", workers=workers)


@router.get("/compare")
def compare(request: Request, session: Reading, studies: Annotated[str, Query(max_length=8000)] = "") -> Response:
    """`studies`: names, separated by commas."""
    names = list(dict.fromkeys(filter(None, studies.split(","))))
    rows, unknown = _named(Studies(session), names[:STUDIES_COMPARED])
    found = _studies(session, rows)
    paths = dict.fromkeys(path for study in found for path in (study["best"] or {}).get("parameters", {}))
    mixed = len(set(map(aims_text, found))) > 1
    told: dict[str, Any] = {
        "paths": list(paths),
        "mixed": mixed,
        "unknown": unknown,
        "left_out": names[STUDIES_COMPARED:],
    }
    return _page(request, "compare.html", here="studies", studies=found, **told)


def _named(studies: Studies, names: Sequence[str]) -> tuple[list[StudyRow], list[str]]:
    """The studies of these names, and the names of those that do not exist."""
    rows, unknown = [], []
    for name in names:
        try:
            rows.append(studies.get(name))
        except NotFound:
            unknown.append(name)
    return rows, unknown


def _studies(session: Session, rows: Sequence[StudyRow]) -> list[dict[str, Any]]:
    """Studies as the REST API gives them."""
    return [study.model_dump(mode="json") for study in shown(session, *rows)]


def _page(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    environment: Environment = request.app.state.templates
    server_url = str(request.base_url).rstrip("/")
    wants_key = request.state.visitor != "machine"
    page = environment.get_template(template).render(context, server_url=server_url, wants_key=wants_key)
    return HTMLResponse(page, status)


def _nothing_there(request: Request, error: Exception) -> Response:
    """Of what is no address at all: a page for people, and for programs what every error is."""
    if request.url.path.startswith(f"{PREFIX}/") or "text/html" not in request.headers.get("accept", ""):
        return told(request, error)
    return _missing(request, f"there is nothing at {request.url.path}")


def _missing(request: Request, message: str) -> Response:
    return _page(request, "missing.html", 404, here="", message=f"{message[:1].upper()}{message[1:]}")


def _environment(folder: Path) -> Environment:
    loader = FileSystemLoader(folder)
    environment = Environment(loader=loader, autoescape=select_autoescape(), undefined=StrictUndefined)
    environment.filters.update(FILTERS)
    environment.globals["plotly"] = f"/static/plotly.min.js?v={version('plotly')}"
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.policies["json.dumps_kwargs"] = {}  # parameters stay in the order of the definition
    return environment
