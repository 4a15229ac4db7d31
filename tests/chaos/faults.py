"""The faults: each does its harm, waits, and mends what would not mend itself (a power button, a cable, a disk)."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable

from tests.chaos.service import LEASE_SECONDS, Service

Fault = Callable[[Service, random.Random], None]

PAST_LEASE_SECONDS = LEASE_SECONDS + 1.0


def kill_runner(service: Service, chance: random.Random) -> None:
    _signal_one(service.runners(), signal.SIGKILL, chance)


def kill_slot(service: Service, chance: random.Random) -> None:
    _signal_one(service.slots(), signal.SIGKILL, chance)


def kill_supervisor(service: Service, chance: random.Random) -> None:
    _kill_part(service, "worker", chance)


def kill_scheduler(service: Service, chance: random.Random) -> None:
    _kill_part(service, "scheduler", chance)


def kill_server(service: Service, chance: random.Random) -> None:
    _kill_part(service, "server", chance)


def kill_redis(service: Service, chance: random.Random) -> None:
    """Its memory goes with it. Away for a moment, or for longer than the lease."""
    service.redis.kill()
    time.sleep(chance.choice([0.0, 1.0, PAST_LEASE_SECONDS]))
    service.redis.start()


def kill_database(service: Service, chance: random.Random) -> None:
    if service.postgres is not None:
        service.postgres.kill()
        time.sleep(chance.choice([0.0, 1.0, PAST_LEASE_SECONDS]))
        service.postgres.start()


def wipe_redis(service: Service, _chance: random.Random) -> None:
    service.redis.wipe()


def stop_runner(service: Service, chance: random.Random) -> None:
    _pause(service.runners(), chance)


def stop_slot(service: Service, chance: random.Random) -> None:
    """The slot and its runner: a machine that hangs, and comes back to trials that are somebody else's."""
    _pause(service.slots(), chance)


def stop_scheduler(service: Service, chance: random.Random) -> None:
    schedulers = [process.pid for name, process in service.parts.items() if name.startswith("scheduler")]
    _pause(schedulers, chance)


def cut_connections(service: Service, chance: random.Random) -> None:
    chance.choice(list(service.proxies.values())).cut()


def delay_connections(service: Service, chance: random.Random) -> None:
    proxy = chance.choice(list(service.proxies.values()))
    proxy.delay = chance.choice([0.05, 0.3])
    time.sleep(2.0)
    proxy.delay = 0.0


def fall_silent(service: Service, chance: random.Random) -> None:
    """A half-open connection, for longer than the lease; what hung is cut afterwards, or goes on."""
    proxy = chance.choice(list(service.proxies.values()))
    proxy.is_silent = True
    time.sleep(PAST_LEASE_SECONDS)
    proxy.is_silent = False
    if chance.random() < 0.5:
        proxy.cut()


def fill_disk(service: Service, chance: random.Random) -> None:
    """For a slot and its runner no file grows any more, for two seconds."""
    victims = [chance.choice(found) for found in (service.slots(), service.runners()) if found]
    for pid in victims:
        _limit_files(pid, 0)
    time.sleep(2.0)
    for pid in victims:
        _limit_files(pid, resource.RLIM_INFINITY)


FAULTS: dict[str, Fault] = {
    "kill runner": kill_runner,
    "kill slot": kill_slot,
    "kill supervisor": kill_supervisor,
    "kill scheduler": kill_scheduler,
    "kill server": kill_server,
    "kill Redis": kill_redis,
    "kill database": kill_database,
    "FLUSHALL": wipe_redis,
    "stop runner": stop_runner,
    "stop slot": stop_slot,
    "stop scheduler": stop_scheduler,
    "cut connections": cut_connections,
    "delay connections": delay_connections,
    "half-open connections": fall_silent,
    "full disk": fill_disk,
}


def _signal_one(processes: list[int], number: signal.Signals, chance: random.Random) -> int | None:
    if not processes:
        return None
    pid = chance.choice(sorted(processes))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid


def _kill_part(service: Service, kind: str, chance: random.Random) -> None:
    names = sorted(name for name in service.parts if name.startswith(kind))
    if names:
        process = service.parts[chance.choice(names)]
        process.kill()
        process.wait()
        service.revive()


def _pause(processes: list[int], chance: random.Random) -> None:
    pid = _signal_one(processes, signal.SIGSTOP, chance)
    time.sleep(chance.choice([0.5, PAST_LEASE_SECONDS]))
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _limit_files(pid: int, most: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most == resource.RLIM_INFINITY else most, hard))
