"""Which workers live, judged by the scheduler's own monotonic clock.

A worker keeps a hash alive in Redis and raises its `beat`. What counts is that the beat changes, not when the worker
says that it did; so no clock skew, no wipe of Redis and no restart of the scheduler expires a live worker early.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import version

import redis
from redis.exceptions import RedisError

from search.ledger import Ledger, LiveTrial
from search.live_study import LiveStudy
from search.live_tasks import LiveTasks
from search.placing import Offer
from store.bus import worker_key
from store.messages import PROTOCOL
from store.roster import SAID_SECONDS, SCHEDULER_KEY, read_workers
from store.settings import Settings
from store.wire import Wire

IDLE = b"idle"


class Liveness:
    """Last signs of life by worker. After a restart of the scheduler everybody gets a fresh period."""

    def __init__(self, client: redis.Redis, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = client
        self._wire = Wire(client)
        self._monotonic = monotonic
        self._beats: dict[str, bytes | None] = {}
        self._seen: dict[str, float] = {}
        self._idle: set[str] = set()  # of those that hold something

    def see(self, worker: str) -> None:
        """A message of the worker has arrived."""
        self._seen[worker] = self._monotonic()

    def silent(self, workers: Iterable[str], seconds: float) -> set[str]:
        """Those of the workers that have shown no sign of life for longer than `seconds`."""
        names = sorted(set(workers))
        now = self._monotonic()
        for name, (beat, state) in zip(names, self._read_beats(names), strict=True):
            if state == IDLE:
                self._idle.add(name)
            else:
                self._idle.discard(name)
            # One that lives and does nothing has lost what it holds, as when the end of that went to nobody.
            if name not in self._seen or (state != IDLE and beat is not None and beat != self._beats.get(name)):
                self._seen[name] = now
            self._beats[name] = beat if beat is not None else self._beats.get(name)
        return {name for name in names if now - self._seen[name] > seconds}

    def expire(self, studies: Collection[LiveStudy], tasks: LiveTasks, settings: Settings, ledger: Ledger) -> None:
        """Take from workers that have been silent for too long whatever they held, and forget who holds nothing."""
        ours = [study for study in studies if not study.is_external]
        external = [study for study in studies if study.is_external]
        self.lose_silent(ours, settings.lease_seconds, ledger)
        self.lose_silent(external, settings.external_lease_seconds, ledger)
        for worker in self.silent(tasks.workers(), settings.lease_seconds):
            tasks.lose_those_of(worker, self._why(worker, settings.lease_seconds), ledger)
        self.forget_all_but(workers_of([*ours, *external]) | tasks.workers())

    def lose_silent(self, studies: Sequence[LiveStudy], seconds: float, ledger: Ledger) -> None:
        """Take trials and preflights from the workers that have been silent for longer than `seconds`."""
        silent = self.silent(workers_of(studies), seconds)
        for study in studies:
            for trial in study.running():
                if sign_of_life(study, trial) in silent:
                    study.lose(trial, self._why(trial.worker, seconds), ledger)
            if study.preflight_worker in silent:
                study.lose_preflight(self._why(study.preflight_worker, seconds), ledger)

    def forget(self) -> None:
        """Everybody gets a fresh period: nobody could be heard for a while."""
        self._seen = {}

    def forget_all_but(self, workers: Iterable[str]) -> None:
        keep = set(workers)
        self._idle &= keep
        self._seen = {name: at for name, at in self._seen.items() if name in keep}
        self._beats = {name: beat for name, beat in self._beats.items() if name in keep}

    def offers(self) -> dict[str, Offer]:
        """What every live worker offers, by its name."""
        return {worker["name"]: Offer.of(worker) for worker in read_workers(self._redis)}

    def announce(self, holder: str, trouble: str) -> None:
        """Say which messages this scheduler exchanges, for workers that are about to start; who it is, for other
        schedulers; and why it can settle nothing at the moment, "" if it can, for those who run the service.
        """
        said = ("version", version("trialyard"), "protocol", PROTOCOL, "holder", holder, "trouble", trouble)
        self._wire.send(("HSET", SCHEDULER_KEY, *said), ("EXPIRE", SCHEDULER_KEY, SAID_SECONDS))

    def fall_silent(self, holder: str) -> None:
        """Take the word back, if it is this scheduler's: it has left in good order."""
        with suppress(RedisError):  # it runs out by itself
            if self._wire.send(("HGET", SCHEDULER_KEY, "holder"))[0] == holder.encode():
                self._wire.send(("DEL", SCHEDULER_KEY))

    def _why(self, worker: str, seconds: float) -> str:
        if worker in self._idle:
            return f"worker {worker} has been idle for {seconds:g} s, and did not say how it ended"
        return f"worker {worker} gave no sign of life for {seconds:g} s"

    def _read_beats(self, names: list[str]) -> list[tuple[bytes | None, bytes | None]]:
        """Of each its beat and its state."""
        asked = (("HMGET", worker_key(name), "beat", "state") for name in names)
        return [(beat, state) for beat, state in self._wire.send(*asked)] if names else []


def sign_of_life(study: LiveStudy, trial: LiveTrial) -> str:
    """By what name a trial's worker shows that it lives: an external one by its attempts' messages."""
    return trial.attempt_key.token if study.is_external else trial.worker


def workers_of(studies: Sequence[LiveStudy]) -> set[str]:
    """By these names the workers of all that runs."""
    held = {sign_of_life(study, trial) for study in studies for trial in study.running()}
    return held | {study.preflight_worker for study in studies if study.preflight_worker}
