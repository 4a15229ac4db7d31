"""For those who run the service: does it live, is it ready, what is it doing."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.deps import Wired
from api.parts import Parts
from api.requests import StrictRoute
from search.lease import is_dead
from store.bus import takes_nothing
from store.migrate import is_current
from store.models import SchedulerLeaseRow
from store.roster import read_scheduler
from store.session import takes_writes

READY_KEY, READY_SECONDS = "trialyard:ready", 60
KEYLESS: dict[str, Any] = {"security": []}

router = APIRouter(route_class=StrictRoute, tags=["operations"])


class Readiness(BaseModel):
    """Whether requests can be served; with a key also why. The scheduler is information: without one studies wait."""

    ready: bool
    database: Literal["ok", "away", "takes nothing", "not migrated"] | None = None
    redis: Literal["ok", "away", "takes nothing"] | None = None
    scheduler: Literal["active", "failing", "none", "unknown"] | None = None
    trouble: str | None = None  # why the scheduler fails


@router.get("/healthz", openapi_extra=KEYLESS)
def healthz() -> dict[str, str]:
    """The process lives. Wants no key."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Readiness, openapi_extra=KEYLESS)
def readyz(request: Request, parts: Wired) -> Response:
    """The parts that requests need are there; 503 with the same document if one is not.

    Wants no key: a kubelet and a load balancer have none. With one it says which part is away.
    """
    database = _database(parts)
    redis = _redis(parts)
    ready = database == redis == "ok"
    state = Readiness(ready=ready)
    if request.state.visitor != "outsider":
        scheduler, trouble = _scheduler(parts) if database in ("ok", "takes nothing") else ("unknown", None)
        state = Readiness(ready=ready, database=database, redis=redis, scheduler=scheduler, trouble=trouble)
    return JSONResponse(state.model_dump(exclude_none=True), 200 if ready else 503)


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    return Response(generate_latest(request.app.state.metrics), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _database(parts: Parts) -> Literal["ok", "away", "takes nothing", "not migrated"]:
    try:
        with parts.reads() as session:
            connection = session.connection()
            if not is_current(connection):
                return "not migrated"
            return "ok" if takes_writes(connection) else "takes nothing"
    except SQLAlchemyError:
        return "away"


def _redis(parts: Parts) -> Literal["ok", "away", "takes nothing"]:
    """By writing: one without memory or a disk, and one that has become a replica, still answers a ping."""
    try:
        parts.redis.set(READY_KEY, 1, ex=READY_SECONDS)
    except (RedisError, OSError) as error:
        return "takes nothing" if takes_nothing(error) else "away"
    return "ok"


def _scheduler(parts: Parts) -> tuple[Literal["active", "failing", "none"], str | None]:
    """By the lease's row: none if nobody ever held it, or its last holder left, or is known to have died. Why an active
    one can store nothing, as on a full disk that still takes our little, is its own word in Redis.
    """
    with parts.reads() as session:
        holder = session.scalar(select(SchedulerLeaseRow.holder))
    if not holder or is_dead(holder):
        return "none", None
    try:
        trouble = read_scheduler(parts.redis).get("trouble")
    except (RedisError, OSError):
        trouble = None
    return ("failing", trouble) if trouble else ("active", None)
