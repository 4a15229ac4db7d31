"""A worker's signs of life: a hash in Redis that says what it is and what it does, and expires without it."""

from __future__ import annotations

import os
import queue
import socket
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self

import redis
import structlog
from redis.exceptions import RedisError

from store.bus import worker_key
from store.messages import AttemptKey
from store.queue import Errand

WorkerState = Literal["idle", "busy", "leaving"]

GOODBYE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Beats:
    """Beats from a thread of its own, so that neither a training nor a slow Redis call stops them.

    What is shown may be changed from a signal handler: nothing here waits for a lock.
    """

    def __init__(
        self, client: redis.Redis, name: str, pool: str, device: str, gpu: bool, beat_seconds: float, ttl_seconds: float
    ) -> None:
        self._redis = client
        self._key = worker_key(name)
        self._beat_seconds = beat_seconds
        self._ttl_ms = int(ttl_seconds * 1000)
        self._beat = 0
        self._done = 0
        self._fields = {
            "name": name,
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
            "pool": pool,
            "device": device,
            "gpu": str(int(gpu)),
            "started_at": datetime.now(UTC).isoformat(),
            "state": "idle",
            "study": "",
            "trial": "",
            "attempt": "",
        }
        self._wake: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="beats", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Say goodbye, unless Redis is away: then the hash expires by itself."""
        self._wake.put(False)
        self._thread.join(GOODBYE_SECONDS)

    def idle(self) -> None:
        self._show(state="idle", study="", trial="", attempt="")

    def busy(self, errand: Errand) -> None:
        """A job is in hand; which trial it has become follows with `began`."""
        number = "" if errand.number is None or errand.kind == "task" else str(errand.number)
        self._show(state="busy", study=str(errand.study_id), trial=number, attempt="")

    def began(self, attempt: AttemptKey) -> None:
        """Shown with the next beat: short trials follow each other much faster than that."""
        shown = {"study": str(attempt.study_id), "trial": str(attempt.number), "attempt": str(attempt.attempt)}
        self._fields = {**self._fields, **shown}

    def ended(self) -> None:
        self._done += 1

    def leaving(self) -> None:
        self._show(state="leaving")

    def _show(self, **fields: str) -> None:
        if self._fields["state"] == "leaving":
            fields.pop("state", None)
        self._fields = {**self._fields, **fields}
        self._wake.put(True)

    def _run(self) -> None:
        living = True
        while living:
            self._send()
            try:
                living = self._wake.get(timeout=self._beat_seconds)
            except queue.Empty:
                continue
        try:
            self._redis.delete(self._key)
        except RedisError as error:
            log.warning("could not sign off", error=str(error))

    def _send(self) -> None:
        self._beat += 1
        fields: dict[Any, Any] = {**self._fields, "beat": str(self._beat), "done": str(self._done)}
        pipeline = self._redis.pipeline()
        pipeline.hset(self._key, mapping=fields)
        pipeline.pexpire(self._key, self._ttl_ms)
        try:
            pipeline.execute()
        except RedisError as error:
            log.warning("no beat: redis is away", error=str(error))
