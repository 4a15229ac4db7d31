"""How a worker on a machine of its own learns where Redis and the artifacts are."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Request

from api.auth import Visitor
from api.deps import Wired
from api.errors import Forbidden
from api.parts import Parts
from api.requests import StrictRoute
from store.addresses import without_password
from store.errors import Unavailable
from store.joining import Joining, leave_mark
from store.messages import PROTOCOL
from store.models import KeyRole

router = APIRouter(prefix="/workers", route_class=StrictRoute, tags=["workers"])


@router.post("/join")
def join(request: Request, parts: Wired) -> Joining:
    """Tell a worker where Redis and the artifacts are. The answer holds Redis' password: the key must be a worker's.

    Where no key is configured, this machine's workers are told as long as no password is in it.
    """
    redis_url = parts.settings.worker_redis_url or parts.settings.redis_url
    _check_visitor(request.state.visitor, redis_url)
    return Joining(
        version=version("trialyard"),
        protocol=PROTOCOL,
        mark=_mark(parts),
        redis_url=redis_url,
        artifact_url=parts.settings.artifacts,
        lease_seconds=parts.settings.lease_seconds,
        beat_seconds=parts.settings.beat_seconds,
    )


def _check_visitor(visitor: Visitor, redis_url: str) -> None:
    """Raises: Forbidden."""
    if visitor == "machine" and redis_url != without_password(redis_url):
        raise Forbidden(
            "Redis' password is given to keys of workers alone, and this server has no key; "
            "`trialyard keys create NAME --role worker` makes one"
        )
    if visitor not in (KeyRole.WORKER, "machine"):
        raise Forbidden("workers alone may join")


def _mark(parts: Parts) -> str:
    """Raises: Unavailable."""
    try:
        return leave_mark(parts.redis, parts.artifacts)
    except OSError as error:
        where = without_password(parts.settings.artifacts)
        raise Unavailable(f"the server cannot write its artifacts at {where}: {error}") from error
