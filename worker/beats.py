"""A worker's signs of life: a hash in Redis that says what it is and what it does, and expires without it."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Self

import redis
import structlog
from redis.exceptions import RedisError

from store.bus import worker_key
from store.messages import AttemptKey
from store.queue import Errand
from store.roster import drain_key

WorkerState = Literal["idle", "busy", "draining", "leaving"]

GOODBYE_SECONDS = 2.0

log = structlog.get_logger(__name__)


class Beats:
    """Beats from a thread of its own, so that neither a training nor a slow Redis call stops them.

    What is shown may be changed from a signal handler: nothing here waits for a lock.
    """

    def __init__(
        self,
        client: redis.Redis,
        about: Mapping[str, str],
        beat_seconds: float,
        ttl_seconds: float,
        on_drain: Callable[[], None],
        figures: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """
        Args:
            about: what it is; its `name`, and the `supervisor` by which it may be asked to leave, among it.
            on_drain: called once, from another thread, when somebody wants this worker to leave.
            figures: what it measures of itself, asked for with each beat.
        """
        self._redis = client
        self._key = worker_key(about["name"])
        self._drain_keys = [drain_key(about[name]) for name in ("name", "supervisor") if about.get(name)]
        self._beat_seconds = beat_seconds
        self._ttl_ms = int(ttl_seconds * 1000)
        self._on_drain = on_drain
        self._figures = figures
        self._beat = 0
        self._account = _Account()
        self._is_asked = False
        self._measured: Mapping[str, str] = {}
        self._measure_at = time.monotonic()
        self._fields = {
            **about,
            "host": socket.gethostname(),
            "pid": str(os.getpid()),
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

    def __exit__(self, *_: object) -> None:
        """Say goodbye, unless Redis is away: then the hash expires by itself."""
        self._wake.put(False)
        self._thread.join(GOODBYE_SECONDS)

    def idle(self) -> None:
        self._account.idle()
        self._show(state="idle", study="", trial="", attempt="")

    def busy(self, errand: Errand) -> None:
        """A job is in hand; which trial it has become follows with `began`."""
        self._account.busy()
        number = "" if errand.number is None or errand.kind == "task" else str(errand.number)
        self._show(state="busy", study=str(errand.study_id), trial=number, attempt="")

    def began(self, attempt: AttemptKey) -> None:
        """Shown with the next beat: short trials follow each other much faster than that."""
        shown = {"study": str(attempt.study_id), "trial": str(attempt.number), "attempt": str(attempt.attempt)}
        self._fields = {**self._fields, **shown}

    def ended(self, refused: int = 0) -> None:
        """A trial has ended; `refused`: how many of its messages came too late."""
        self._account.done += 1
        self._account.refused += refused

    def went(self, steps: int, rows: int, crowded: int) -> None:
        """So much has been done on top; shown with the next beat."""
        self._account.went(steps, rows, crowded)

    def draining(self) -> None:
        self._show(state="draining")

    def leaving(self) -> None:
        self._show(state="leaving")

    def _show(self, **fields: str) -> None:
        if self._fields["state"] in _LAST and fields.get("state") not in _LAST:
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
        fields: dict[Any, Any] = {**self._fields, **self._measure(), **self._account.told(), "beat": self._beat}
        pipeline = self._redis.pipeline()
        pipeline.hset(self._key, mapping=fields)
        pipeline.pexpire(self._key, self._ttl_ms)
        pipeline.exists(*self._drain_keys)
        try:
            is_asked = pipeline.execute()[2] > 0
        except RedisError as error:
            log.warning("no beat: redis is away", error=str(error))
            return
        if is_asked and not self._is_asked:
            self._is_asked = True
            self._on_drain()

    def _measure(self) -> Mapping[str, str]:
        """Once in `beat_seconds`: with short jobs there are many more beats than that."""
        if time.monotonic() >= self._measure_at:
            self._measure_at = time.monotonic() + self._beat_seconds
            self._measured = self._figures()
        return self._measured


class _Account:
    """What a worker has done since its start, and for which share of the time it had nothing to do."""

    def __init__(self) -> None:
        self.done = 0  # trials
        self.refused = 0  # of their messages
        self._went = {"steps": 0, "rows": 0, "crowded": 0}
        self._started = time.monotonic()
        self._busy_seconds = 0.0
        self._busy_since: float | None = None

    def busy(self) -> None:
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        if self._busy_since is not None:
            self._busy_seconds += time.monotonic() - self._busy_since
        self._busy_since = None

    def went(self, steps: int, rows: int, crowded: int) -> None:
        """So much has been done on top."""
        self._went = {
            "steps": self._went["steps"] + steps,
            "rows": self._went["rows"] + rows,
            "crowded": self._went["crowded"] + crowded,
        }

    def told(self) -> dict[str, int | str]:
        """All of it, as a beat shows it."""
        return {**self._went, "done": self.done, "refused": self.refused, "idle_share": self._idle_share()}

    def _idle_share(self) -> str:
        """Of the time since its start, to three digits."""
        now, since = time.monotonic(), self._busy_since
        busy = self._busy_seconds + (0.0 if since is None else now - since)
        return f"{1 - busy / max(now - self._started, 1e-9):.3f}"


_LAST: tuple[WorkerState, ...] = ("draining", "leaving")
