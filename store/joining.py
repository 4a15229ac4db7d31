"""What a worker must know to join, and a mark by which it sees that an address leads where the server's does.

An address may mean something else on another machine: 127.0.0.1 another Redis, a folder's path another disk. So the
server leaves the same mark in its Redis and among its artifacts, and a worker looks for it at both.
"""

from __future__ import annotations

import uuid

import redis
from pydantic import BaseModel, ConfigDict, Field

from store.artifacts import Artifacts

MARK_KEY = "trialyard:mark"
MARK_FILE = "mark"


class Joining(BaseModel):
    """What a server tells a worker that joins. Holds secrets: the addresses have their passwords in them."""

    model_config = ConfigDict(frozen=True)

    version: str = Field(description="the server's")
    protocol: int = Field(description="the version of the messages that workers and scheduler exchange")
    mark: str = Field(description="what the worker finds in Redis and among the artifacts, if they are the server's")
    redis_url: str
    artifact_url: str
    lease_seconds: float
    beat_seconds: float


def leave_mark(client: redis.Redis, artifacts: Artifacts) -> str:
    """Leave the service's mark in Redis and among the artifacts, where it stays.

    Raises:
        OSError, RedisError: one of them cannot be written.
    """
    folder = artifacts.service()
    if MARK_FILE not in folder.names():
        folder.write(MARK_FILE, uuid.uuid4().hex.encode())
    mark = folder.read(MARK_FILE).decode()
    client.set(MARK_KEY, mark)
    return mark
