"""Whether a scheduler has its Redis for itself: one that is of another database would take away what workers say.

Of two with the same database only the one that holds the lease is active. So who holds it, and hears another one speak
in Redis all the same, has found the scheduler of another service. Two services need two Redis, or two numbers of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import redis
import structlog
from redis.exceptions import RedisError

from search.lease import is_dead
from store.roster import SAID_SECONDS, read_scheduler, scheduler_heard_for

log = structlog.get_logger(__name__)


class Solitude:
    """Listens for another scheduler before this one takes its first message."""

    def __init__(
        self,
        client: redis.Redis,
        holder: str,
        silence_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`silence_seconds`: a word that was not renewed for so long is that of a scheduler that is gone."""
        self._redis = client
        self._holder = holder
        self._silence = silence_seconds
        self._monotonic = monotonic
        self._spoke_at: float | None = None  # when the other one spoke last, on our clock
        self._is_told = False

    def is_given(self) -> bool:
        """Ask once a second or so until it is. A Redis that is away is waited for elsewhere, and says nothing here."""
        try:
            other = read_scheduler(self._redis).get("holder", self._holder)
            left = scheduler_heard_for(self._redis)
        except RedisError:
            return True
        if other == self._holder or is_dead(other) or left is None:
            return self._found_alone()
        spoke_at = self._monotonic() - (SAID_SECONDS - left)
        if self._monotonic() - spoke_at > self._silence:
            return self._found_alone()
        if self._spoke_at is not None and spoke_at > self._spoke_at + _ROUNDING_SECONDS:
            self._tell(other)
        self._spoke_at = spoke_at
        return False

    def _found_alone(self) -> bool:
        self._spoke_at, self._is_told = None, False
        return True

    def _tell(self, other: str) -> None:
        if not self._is_told:
            self._is_told = True
            cure = "give each service a Redis of its own, or another number in TRIALYARD_REDIS_URL, as in redis://host:6379/1"
            log.error(f"a scheduler of another database serves this Redis; waiting for it to end: {cure}", other=other)


_ROUNDING_SECONDS = 0.5
