"""The live workers: what each says of itself in Redis, and the word that it shall leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import redis

from store.bus import worker_key

DRAIN_SECONDS = 24 * 3600  # how long the word waits for a worker that is cut off


def drain_key(name: str) -> str:
    """Exists when a worker, or all workers of a supervisor, shall leave."""
    return f"trialyard:drain:{name}"


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
