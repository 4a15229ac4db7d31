"""The workers that are alive, as they describe themselves in Redis."""

from __future__ import annotations

from typing import Any

import redis
from fastapi import APIRouter

from api.deps import Reading, Wired
from api.requests import StrictRoute
from api.shapes import Page, Worker
from store.bus import worker_key
from store.studies import Studies

router = APIRouter(prefix="/workers", route_class=StrictRoute, tags=["workers"])


@router.get("")
def list_workers(parts: Wired, session: Reading) -> Page[Worker]:
    """By name. A worker that has not shown itself for some seconds is not among them."""
    found = read_workers(parts.redis)
    ids = {int(worker["study"]) for worker in found if worker.get("study", "").isdecimal()}
    names = Studies(session).names(ids)
    return Page(items=[_shown(worker, names) for worker in found])


def read_workers(client: redis.Redis) -> list[dict[str, str]]:
    """The hash of every live worker, by name."""
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


def _shown(worker: dict[str, str], names: dict[int, str]) -> Worker:
    study = _number(worker, "study")
    return Worker(
        name=worker["name"],
        host=worker.get("host"),
        pid=_number(worker, "pid"),
        pool=worker.get("pool"),
        device=worker.get("device"),
        gpu=worker.get("gpu") == "1",
        state=worker.get("state"),
        study=names.get(study) if study is not None else None,
        trial=_number(worker, "trial"),
        attempt=_number(worker, "attempt"),
        started_at=worker.get("started_at"),
        done=_number(worker, "done"),
    )


def _number(worker: dict[str, Any], field: str) -> int | None:
    text = worker.get(field, "")
    return int(text) if text.isdecimal() else None
