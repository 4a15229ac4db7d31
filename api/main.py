"""The server: REST API, event streams, pages and the documentation of it all."""

from __future__ import annotations

import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from importlib.metadata import version

import anyio.to_thread
import uvicorn
from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse

from api import auth, errors
from api.auth import Gate
from api.bell import Bell
from api.fanova import Fanova
from api.headers import SecurityHeaders
from api.heads import AnswerHead
from api.importances import Importances
from api.keyring import KeyRing, check_exposure
from api.metrics import ServiceCollector, TimeRequests
from api.openapi import PREFIX, describe
from api.pages import add_pages
from api.parts import Parts
from api.routes import (
    artifacts,
    control,
    datasets,
    docs,
    ensembles,
    events,
    external,
    joining,
    models,
    operations,
    report,
    rescores,
    results,
    studies,
    trials,
    workers,
)
from api.scheduler_line import SchedulerLine
from search.garbage import spare_the_living
from store.artifacts import Artifacts
from store.bus import open_redis
from store.errors import SettingsError
from store.migrate import upgrade
from store.session import connect, reads, writes
from store.settings import Settings

THREADS = 128  # requests at once; one that waits for the scheduler holds a thread and nothing else
SHUTDOWN_SECONDS = 3
COMPRESSED_FROM_BYTES = 20_000


def create_app(settings: Settings) -> FastAPI:
    """The application, wired. Opens connections at the first request that needs them.

    Raises:
        SettingsError: the settings cannot work.
    """
    parts = _wire(settings)
    app = FastAPI(
        title="Trialyard",
        version=version("trialyard"),
        description="Hyperparameter search as a service.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=partial(_lifespan, parts),
    )
    app.state.parts = parts
    app.state.metrics = CollectorRegistry()
    app.state.metrics.register(ServiceCollector(parts))
    errors.install(app)
    _add_routes(app)
    # The last one added is the first to see a request.
    app.add_middleware(AnswerHead)
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESSED_FROM_BYTES, compresslevel=3)
    app.add_middleware(Gate, settings=settings, keys=parts.keys)
    app.add_middleware(TimeRequests, registry=app.state.metrics)
    app.add_middleware(SecurityHeaders)
    return app


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: the settings cannot work, or would let anybody in.
    """
    upgrade(settings.database)
    app = create_app(settings)
    check_exposure(settings, app.state.parts.engine)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: None)  # uvicorn raises it once more when it has shut down in good order
    spare_the_living()
    if not settings.access_log:
        logging.getLogger("uvicorn.access").addFilter(_went_wrong)
    # Without a limit an open event stream would hold the shutdown up for ever.
    uvicorn.run(app, host=settings.host, port=settings.port, ws="none", timeout_graceful_shutdown=SHUTDOWN_SECONDS)
    return 0


def _went_wrong(record: logging.LogRecord) -> bool:
    """Of uvicorn's lines, one a request, those of requests that were refused or failed: scripts and open pages send
    millions of others.
    """
    status = record.args[-1] if isinstance(record.args, tuple) else None
    return not isinstance(status, int) or status >= HTTPStatus.BAD_REQUEST


def _wire(settings: Settings) -> Parts:
    if not settings.redis_url:
        raise SettingsError(
            "TRIALYARD_REDIS_URL is not set; name a running Redis, as in redis://127.0.0.1:6379, "
            "or use `trialyard up`, which starts one of its own"
        )
    engine = connect(settings.database)
    # Once more for a connection that Redis has closed meanwhile; then a request says at once that Redis is away.
    client = open_redis(settings.redis_url, retries=1)
    return Parts(
        settings=settings,
        engine=engine,
        reads=reads(engine),
        writes=writes(engine),
        redis=client,
        scheduler=SchedulerLine(client),
        bell=Bell(settings.redis_url),
        keys=KeyRing(settings, reads(engine)),
        artifacts=Artifacts(settings.artifacts),
        importances=Importances(),
        fanova=Fanova(),
        large_bodies=anyio.CapacityLimiter(1),
        clock=lambda: datetime.now(UTC),
    )


@contextlib.asynccontextmanager
async def _lifespan(parts: Parts, _app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    async with parts.bell.listening():
        yield
    parts.redis.close()
    parts.engine.dispose()


def _add_routes(app: FastAPI) -> None:
    api = APIRouter(prefix=PREFIX)
    of_studies = (studies, control, trials, results, models, artifacts, ensembles, rescores, report, events)
    for part in (*of_studies, external, workers, joining, datasets):
        api.include_router(part.router)
    for router in (api, operations.router, auth.router, docs.router):
        app.include_router(router)
    app.mount(docs.ASSETS, docs.assets())
    add_pages(app)
    app.add_route("/openapi.json", lambda _: JSONResponse(describe(app)), include_in_schema=False)
