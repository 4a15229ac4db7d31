"""The devices of a machine whose number of slots is found out: looked at through the slots' signs of life."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import redis
import structlog
from redis.exceptions import RedisError

from store.bus import worker_key
from store.roster import crowds_key
from worker.crowd import Crowd

SHOWN_SECONDS = 60  # how long a picture stays that nobody draws anew

log = structlog.get_logger(__name__)


class Crowds:
    """Asks each crowd how many slots it wants, every `seconds`, and shows people why."""

    def __init__(self, client: redis.Redis, supervisor: str, crowds: Iterable[Crowd], seconds: float) -> None:
        self._redis = client
        self._key = crowds_key(supervisor)
        self._crowds = list(crowds)
        self._seconds = seconds
        self._look_at = 0.0

    def next_look(self) -> float | None:
        """Seconds until it is time to look; None if there is nothing to look at."""
        return max(0.0, self._look_at - time.monotonic()) if self._crowds else None

    def close(self, label: str) -> None:
        """Somebody took a slot of this place away: no other is added, and none taken."""
        for crowd in self._crowds:
            if crowd.place.label == label:
                crowd.is_closed = True

    def look(self, staying: Mapping[str, Sequence[str]], leaving: Counter[str]) -> list[tuple[Crowd, int]]:
        """Each crowd with the number of slots that it wants now; none if it is not time, or Redis is away.

        Args:
            staying: by the place's label, the names of the slots that run and are to stay.
            leaving: how many others there still are.
        """
        if self.next_look() != 0:
            return []
        self._look_at = time.monotonic() + self._seconds
        try:
            found = [
                (crowd, self._observe(crowd, staying.get(crowd.place.label, []), leaving[crowd.place.label]))
                for crowd in self._crowds
            ]
            self._show()
        except RedisError as error:
            log.warning("slots are not counted: redis is away", error=str(error))
            return []
        return found

    def _observe(self, crowd: Crowd, names: Sequence[str], leaving: int) -> int:
        pipeline = self._redis.pipeline(transaction=False)
        for name in names:
            pipeline.hgetall(worker_key(name))
        told = [
            {"name": name} | {field.decode(): value.decode() for field, value in fields.items()}
            for name, fields in zip(names, pipeline.execute(), strict=True)
        ]
        before = crowd.climb.wanted
        wanted = crowd.observe(told, time.monotonic(), leaving)
        if wanted != before:
            log.info("another number of slots", place=crowd.place.label, slots=wanted, why=crowd.climb.why)
        return wanted

    def _show(self) -> None:
        pipeline = self._redis.pipeline()
        for crowd in self._crowds:
            pipeline.hset(self._key, crowd.place.crowd, json.dumps(crowd.picture()))
        pipeline.expire(self._key, SHOWN_SECONDS)
        pipeline.execute()
