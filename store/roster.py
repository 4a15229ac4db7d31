"""The live workers: what each says of itself in Redis, and the word that it shall leave.

Anybody who reaches Redis can write there, and an odd word of one must not hide the others: what cannot be read is
passed over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import redis

from store.bus import worker_key
from store.messages import without_controls

DRAIN_SECONDS = 24 * 3600  # how long the word waits for a worker that is cut off


SCHEDULER_KEY = "trialyard:scheduler"  # a hash: the version and protocol of the one that is active, and its trouble
SAID_SECONDS = 30
WITHOUT_END = -1  # as Redis says it of a key that does not expire
_LONGEST_NUMBER = 18  # digits, which any database takes


def drain_key(name: str) -> str:
    """Exists when a worker, or all workers of a supervisor, shall leave."""
    return f"trialyard:drain:{name}"


def crowds_key(supervisor: str) -> str:
    """Of a supervisor that finds out how many slots its devices should have: the pictures, by the slots' `crowd`."""
    return f"trialyard:crowds:{supervisor}"


def read_crowds(client: redis.Redis, workers: Iterable[dict[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """The pictures of the workers' devices, by supervisor and `crowd`; see `worker.crowd`."""
    supervisors = sorted({each.get("supervisor", "") for each in workers if each.get("crowd")})
    crowds = _read_hashes(client, [crowds_key(supervisor) for supervisor in supervisors])
    pictures = {
        (supervisor, crowd): _picture(text)
        for supervisor, each in zip(supervisors, crowds, strict=True)
        for crowd, text in each.items()
    }
    return {key: picture for key, picture in pictures.items() if picture is not None}


def read_workers(client: redis.Redis) -> list[dict[str, str]]:
    """The fields of every live worker, by name. One that has not shown itself for some seconds is not among them."""
    keys = sorted(client.scan_iter(worker_key("*"), count=1000))
    prefix = worker_key("")
    return [
        {**fields, "name": _text(key).removeprefix(prefix)}
        for key, fields in zip(keys, _read_hashes(client, keys), strict=True)
        if fields  # it may have expired in between
    ]


def read_scheduler(client: redis.Redis) -> dict[str, str]:
    """The `version` and `protocol` of the active scheduler, and its `trouble`; nothing if none was active just now."""
    [said] = _read_hashes(client, [SCHEDULER_KEY])
    return said


def scheduler_heard_for(client: redis.Redis) -> float | None:
    """For how many seconds yet the scheduler's word stands if it does not renew it; None if it stands without end.

    Of a word that has run out it is a negative number.
    """
    left = client.pttl(SCHEDULER_KEY)
    return None if left == WITHOUT_END else left / 1000


def whole_number(fields: Mapping[str, Any], name: str) -> int | None:
    """What a worker says in a field, if it is a whole number."""
    text = fields.get(name)
    is_one = isinstance(text, str) and text.isdecimal() and len(text) <= _LONGEST_NUMBER
    return int(text) if text is not None and is_one else None


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


def _read_hashes(client: redis.Redis, keys: Sequence[str | bytes]) -> list[dict[str, str]]:
    """Nothing of a key that holds something else."""
    pipeline = client.pipeline(transaction=False)
    for key in keys:
        pipeline.hgetall(key)
    found = pipeline.execute(raise_on_error=False)
    return [
        {_text(field): _text(value) for field, value in each.items()} if isinstance(each, dict) else {}
        for each in found
    ]


def _text(said: bytes) -> str:
    return without_controls(said.decode(errors="replace"))


def _picture(text: str) -> dict[str, Any] | None:
    try:
        picture = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return picture if isinstance(picture, dict) else None


def _tell(client: redis.Redis, names: Iterable[str]) -> None:
    pipeline = client.pipeline(transaction=False)
    for each in names:
        pipeline.set(drain_key(each), 1, ex=DRAIN_SECONDS)
    pipeline.execute()
