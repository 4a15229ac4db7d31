"""The API's line to the scheduler."""

from __future__ import annotations

import uuid

import redis
import structlog
from redis.exceptions import RedisError

from store.bus import Caller, events_channel
from store.messages import Answer, Request, Wake

PATIENCE_SECONDS = 10.0

log = structlog.get_logger(__name__)


class SchedulerLine:
    """Asks the scheduler, and tells it what has changed in SQL."""

    def __init__(self, client: redis.Redis, patience: float = PATIENCE_SECONDS) -> None:
        self._redis = client
        self._patience = patience

    def ask(self, request: Request) -> Answer:
        """Send a request and wait for the answer.

        Raises:
            Unavailable: no answer came in time.
        """
        # A sender of its own for every request: an answer can then never be taken for that of another one.
        return Caller(self._redis, f"api-{uuid.uuid4().hex}").call(request, self._patience)

    def announce(self, study_id: int, event: int | None = None) -> None:
        """A study was made or moved. Word of it may get lost: the scheduler and the open streams look by themselves."""
        try:
            Caller(self._redis, "").send(Wake(study_id=study_id))
            if event is not None:
                self._redis.publish(events_channel(study_id), event)
        except RedisError as error:
            log.warning("redis is away; the scheduler will see the change at its next round", error=str(error))
