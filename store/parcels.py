"""What one process hands to another through Redis and nobody misses later: rows to predict for, and the answers."""

from __future__ import annotations

import uuid

import redis


class Parcels:
    """Bytes by name, which vanish by themselves after `seconds`."""

    def __init__(self, client: redis.Redis, seconds: float) -> None:
        self._redis = client
        self._seconds = seconds

    def new(self) -> str:
        """A name that nobody else has."""
        return uuid.uuid4().hex

    def put(self, name: str, data: bytes) -> None:
        self._redis.set(_key(name), data, px=int(1000 * self._seconds))

    def get(self, name: str) -> bytes | None:
        """None: nobody has put it yet, or it has vanished."""
        data = self._redis.get(_key(name))
        return data if isinstance(data, bytes) else None

    def drop(self, *names: str) -> None:
        self._redis.delete(*map(_key, names))


def _key(name: str) -> str:
    return f"trialyard:parcel:{name}"
