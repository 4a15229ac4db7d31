"""The live workers: what each says of itself in Redis, and the word that it shall leave."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from store.bus import worker_key

DRAIN_SECONDS = 24 * 3600  # how long the word waits for a worker that is cut off


SCHEDULER_KEY = "trialyard:scheduler"  # a hash: the version and protocol of the one that is active
SAID_SECONDS = 30


def drain_key(name: str) -> str:
    """Exists when a worker, or all workers of a supervisor, shall leave."""
    return f"trialyard:drain:{name}"


def crowds_key(supervisor: str) -> str:
    """Of a supervisor that finds out how many slots its devices should have: the pictures, by the slots' `crowd`."""
    return f"trialyard:crowds:{supervisor}"


def read_crowds(client: redis.Redis, workers: Iterable[dict[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The pictures of the workers' devices, by supervisor and `crowd`; see `worker.crowd`."""
    supervisors = sorted({each["supervisor"] for each in workers if each.get("crowd")})
    pipeline = client.pipeline(transaction=False)
    for supervisor in supervisors:
        pipeline.hgetall(crowds_key(supervisor))
    return {
        (supervisor, crowd.decode()): json.loads(picture)
        for supervisor, crowds in zip(supervisors, pipeline.execute(), strict=True)
        for crowd, picture in crowds.items()
    }


def read_workers(client: redis.Redis) -> list[dict[str, str]]:
    """The fields of every live worker, by name. One that has not shown itself for some seconds is not among them."""
    keys = sorted(client.scan_iter(worker_key("*"), count=1000))
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    hashes: list[dict[bytes, bytes]] = pipeline.execute()
    prefix = worker_key("")
    return [
        {"name": key.decode().removeprefix(prefix)} | {field.decode(): value.decode() for field, value in each.items()}
        for key, each in zip(keys, hashes, strict=True)
        if each  # it may have expired in between
    ]


def read_scheduler(client: redis.Redis) -> dict[str, str]:
    """The `version` and `protocol` of the active scheduler; nothing if none was active a moment ago."""
    pipeline = client.pipeline(transaction=False)
    pipeline.hgetall(SCHEDULER_KEY)
    [said] = pipeline.execute()
    return {field.decode(): value.decode() for field, value in said.items()}


def drain(client: redis.Redis, name: str, workers: Sequence[dict[str, str]]) -> list[str]:
    """Have a worker leave, or all those of a machine, when each has finished what it has in hand.

    Args:
        name: a worker's, or a machine's as `trialyard worker --name` gave it.
        workers: the live ones.

    Returns:
        The names of those that leave; none if nobody has that name.
    """
    if leaving := [each["name"] for each in workers if each["name"] == name]:
        _tell(client, leaving)
        return leaving
    of_machine = [each for each in workers if each.get("machine") == name]
    # The supervisor's own name reaches the slots that it is just about to start again, and no later supervisor.
    _tell(client, {each["supervisor"] for each in of_machine})
    return [each["name"] for each in of_machine]


def _tell(client: redis.Redis, names: Iterable[str]) -> None:
    pipeline = client.pipeline(transaction=False)
    for each in names:
        pipeline.set(drain_key(each), 1, ex=DRAIN_SECONDS)
    pipeline.execute()
