"""Speaks for the slots of a machine that died: delivers what they had spooled, then says that they are gone."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path
from typing import Self

import redis
import structlog
from redis.exceptions import RedisError

from store.bus import Caller
from store.errors import Unavailable
from store.messages import Finish, Gone, Report
from worker.spool import ENDING, left_behind

LOOK_SECONDS = 1.0  # between two looks for spools that nobody holds
PATIENCE_SECONDS = 5.0
DEATH_SECONDS = 3.0  # a runner that dies with its slot has let go of its spool by then

log = structlog.get_logger(__name__)


class Courier:
    """Works on a thread of its own, and waits for a Redis that is away."""

    def __init__(self, client: redis.Redis, name: str, spools: Path) -> None:
        """`spools`: the folder that has one folder for each slot."""
        self._caller = Caller(client, f"{name}.courier")
        self._spools = spools
        self._gone: list[Gone] = []
        self._wake: queue.SimpleQueue[Gone | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is not delivered within a moment is left to this machine's next supervisor."""
        self._wake.put(None)
        self._thread.join(DEATH_SECONDS)

    def tell(self, gone: Gone) -> None:
        """A slot's process has died."""
        self._wake.put(gone)

    def _run(self) -> None:
        is_ending = False
        while not is_ending:
            try:
                gone = self._wake.get(timeout=LOOK_SECONDS)
                is_ending = gone is None
                if gone is not None:
                    self._gone.append(gone)
            except queue.Empty:
                pass
            try:
                self._bring()
            except (Unavailable, RedisError, OSError) as error:
                log.warning("could not deliver what slots left behind; trying again", error=str(error))

    def _bring(self) -> None:
        while self._gone:
            gone = self._gone[0]
            # What it had said comes before the word that it is gone: a trial that had ended has ended.
            self._empty(self._spools / gone.worker, DEATH_SECONDS)
            self._caller.send(gone)
            self._gone.pop(0)
        for folder in self._spools.glob("*"):
            self._empty(folder, 0.0)

    def _empty(self, folder: Path, patience: float) -> None:
        """Deliver a slot's spools; those that a process still holds stay, after so many seconds."""
        deadline = time.monotonic() + patience
        for path in sorted(folder.glob(f"*{ENDING}")):
            while not self._deliver(path) and time.monotonic() < deadline:
                time.sleep(0.02)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def _deliver(self, path: Path) -> bool:
        """Whether nobody holds the spool, which is delivered then."""
        with left_behind(path) as requests:
            if requests is None:
                return not path.exists()
            for request in requests:
                self._send(request)
            path.unlink()
            log.info("delivered what a slot had left behind", spool=path.name, messages=len(requests))
            return True

    def _send(self, request: Report | Finish) -> None:
        if isinstance(request, Finish):
            request = request.model_copy(update={"pull": False})
        self._caller.call(request, PATIENCE_SECONDS)
