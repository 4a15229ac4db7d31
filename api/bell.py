"""Wakes the open event streams when their study has news: one subscription for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from store.bus import events_channel
from store.outage import Outage

LONGEST_WAIT_SECONDS = 15.0  # between two looks at SQL, in case word got lost
WAIT_WHILE_DEAF_SECONDS = 2.0  # the same while Redis is away
RETRY_SECONDS = 1.0

_LONGEST_ID = 18  # digits; anybody who reaches Redis can publish
_CHANNELS = events_channel(0).removesuffix("0")


class Rope:
    """One stream's end of the bell."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._rung = asyncio.Event()

    def pull(self) -> None:
        self._rung.set()

    def reset(self) -> None:
        """To be called before a look at SQL: news that come during the look make the next `wait` return at once."""
        self._rung.clear()

    async def wait(self) -> None:
        """Until there may be news."""
        seconds = LONGEST_WAIT_SECONDS if self._bell.hears else WAIT_WHILE_DEAF_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), seconds)


class Bell:
    """Listens to Redis for all streams of this process. Word may get lost, so nobody relies on it alone."""

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._ropes: dict[int, set[Rope]] = defaultdict(set)
        self.hears = False
        self._closing = False
        self._redis_away = Outage("redis is away; event streams look at the database instead", "redis is back")

    @contextlib.contextmanager
    def rope(self, study_id: int) -> Iterator[Rope]:
        rope = Rope(self)
        self._ropes[study_id].add(rope)
        try:
            yield rope
        finally:
            self._ropes[study_id].discard(rope)
            if not self._ropes[study_id]:
                del self._ropes[study_id]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listens as long as the context lasts."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            self._closing = True  # the client may take a cancellation during its connect for a timeout, and swallow it
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        # No retries inside the client: it would subscribe again without telling us that messages were missed.
        client = Redis.from_url(self._url, protocol=2, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0))
        try:
            while not self._closing:
                try:
                    await self._hear(client)
                except (RedisError, OSError) as error:
                    self._redis_away.goes_on(str(error))
                self.hears = False
                self._ring_all()  # whoever waits shall wait for a shorter time now
                if not self._closing:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            await client.aclose()

    async def _hear(self, client: Redis) -> None:
        async with client.pubsub() as subscription:
            await subscription.psubscribe(f"{_CHANNELS}*")
            async for message in subscription.listen():
                if message["type"] == "psubscribe":
                    self.hears = True
                    self._redis_away.is_over()
                    self._ring_all()  # there may be news from before
                elif message["type"] == "pmessage":
                    study_id = message["channel"].decode(errors="replace").removeprefix(_CHANNELS)
                    self._ring(int(study_id) if study_id.isdecimal() and len(study_id) <= _LONGEST_ID else 0)

    def _ring_all(self) -> None:
        for study_id in list(self._ropes):
            self._ring(study_id)

    def _ring(self, study_id: int) -> None:
        for rope in self._ropes.get(study_id, ()):
            rope.pull()
