"""The workers that are alive, as they describe themselves in Redis."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import ValidationError

from api.deps import Reading, Wired
from api.requests import StrictRoute
from api.shapes import CrowdShape, Draining, Page, Worker
from search.placing import Offer
from store.errors import NotFound
from store.roster import drain, read_crowds, read_workers, whole_number
from store.studies import Studies

MOST_STUDIES = 2**31 - 1  # the width of the column on PostgreSQL
# What a worker measures, by the names of its fields.
FIGURES = (
    "load",
    "memory_used",
    "gpu_use",
    "gpu_memory_used",
    "gpu_memory",
    "gpu_temperature",
    "gpu_power",
)

WorkerName = Annotated[str, Path(min_length=1, max_length=255, description="a worker's name, or a machine's")]

router = APIRouter(prefix="/workers", route_class=StrictRoute, tags=["workers"])


@router.get("")
def list_workers(parts: Wired, session: Reading) -> Page[Worker]:
    """By name. A worker that has not shown itself for some seconds is not among them."""
    found = read_workers(parts.redis)
    crowds = read_crowds(parts.redis, found)
    told = {whole_number(each, "study") for each in [*found, *crowds.values()]}
    names = Studies(session).names({study for study in told if study is not None and study <= MOST_STUDIES})
    return Page(items=[_shown(worker, names, crowds) for worker in found])


@router.post("/{name}/drain", status_code=202)
def drain_worker(name: WorkerName, parts: Wired) -> Draining:
    """Have a worker, or all of a machine, leave when the trials they have in hand are done; no other is begun."""
    leaving = drain(parts.redis, name, read_workers(parts.redis))
    if not leaving:
        raise NotFound(f"there is no live worker and no machine {name!r}; GET /api/v1/workers lists them")
    return Draining(workers=leaving)


def _shown(worker: dict[str, str], names: dict[int, str], crowds: dict[tuple[str, str], dict[str, Any]]) -> Worker:
    study = whole_number(worker, "study")
    gpus = whole_number(worker, "gpus") or 0
    return Worker(
        name=worker["name"],
        host=worker.get("host"),
        pid=whole_number(worker, "pid"),
        pool=worker.get("pool"),
        device=worker.get("device"),
        gpu=bool(gpus),
        gpus=gpus,
        state=worker.get("state"),
        study=names.get(study) if study is not None else None,
        trial=whole_number(worker, "trial"),
        attempt=whole_number(worker, "attempt"),
        started_at=_time(worker, "started_at"),
        done=whole_number(worker, "done"),
        refused=whole_number(worker, "refused"),
        machine=worker.get("machine") or None,
        version=worker.get("version"),
        understands=Offer.of(worker).understands,
        memory=whole_number(worker, "memory"),
        crowd=_crowd(worker, names, crowds),
        idle_share=_float(worker, "idle_share"),
        figures={name: figure for name in FIGURES if (figure := _float(worker, name)) is not None},
    )


def _crowd(
    worker: dict[str, str], names: dict[int, str], crowds: dict[tuple[str, str], dict[str, Any]]
) -> CrowdShape | None:
    picture = crowds.get((worker.get("supervisor", ""), worker.get("crowd", "")))
    if picture is None:
        return None
    study = whole_number(picture, "study")
    try:
        return CrowdShape.model_validate({**picture, "study": names.get(study or 0), "device": worker["crowd"]})
    except ValidationError:  # not a supervisor of ours has drawn it
        return None


def _time(worker: dict[str, str], field: str) -> datetime | None:
    try:
        return datetime.fromisoformat(worker.get(field, ""))
    except ValueError:
        return None


def _float(worker: dict[str, str], field: str) -> float | None:
    try:
        number = float(worker.get(field, ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
