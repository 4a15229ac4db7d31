"""Uploaded data sets: sent as they are, listed, deleted; a study names one as `dataset:NAME`."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi import Path as PathParameter
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.deps import Reading, Wired
from api.parts import Parts
from api.requests import StrictRoute
from api.shapes import Dataset, Page
from store.datasets import Datasets, described, ending_of, keep
from store.errors import Conflict, Problem, Unprocessable
from store.models import DatasetRow

router = APIRouter(prefix="/datasets", route_class=StrictRoute, tags=["datasets"])

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

DatasetName = Annotated[str, PathParameter(pattern=NAME, description="the data set's name")]


@router.post("", status_code=201, response_model=Dataset, openapi_extra=BODY)
async def upload_dataset(
    request: Request,
    parts: Wired,
    name: Annotated[str, Query(pattern=NAME, description="what studies will call it")],
    file: Annotated[str, Query(min_length=1, max_length=255, description="the file's name, for its ending")],
) -> Response:
    """Keep a file, sent as the body, under a name. The same file again is fine; another one under that name is not."""
    ending = ending_of(file)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "received"
        size, sha256 = await _receive(request, target, parts.settings.max_dataset_bytes)
        return await run_in_threadpool(_keep, parts, described(name, ending, size, sha256, parts.clock()), target)


@router.get("")
def list_datasets(session: Reading) -> Page[Dataset]:
    """By name."""
    return Page(items=[Dataset.of(row) for row in Datasets(session).all()])


@router.get("/{name}")
def read_dataset(session: Reading, name: DatasetName) -> Dataset:
    return Dataset.of(Datasets(session).get(name))


@router.delete("/{name}", status_code=204)
def delete_dataset(parts: Wired, name: DatasetName) -> None:
    """Forget a data set and its file; not while a study that has not ended trains on it."""
    with parts.writes.begin() as session:
        Datasets(session).delete(name)
    parts.artifacts.delete_dataset(name)


async def _receive(request: Request, target: Path, most: int) -> tuple[int, str]:
    """The bytes and the checksum of what was received."""
    declared = request.headers.get("content-length", "0")
    digest, size = hashlib.sha256(), int(declared) if declared.isdecimal() else 0
    if size <= most:
        size = 0
        with target.open("wb") as file:
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    break
                digest.update(piece)
                await run_in_threadpool(file.write, piece)
    if size > most:
        raise HTTPException(413, f"the file is larger than {most:,} bytes, which is the most this server takes")
    if not size:
        empty = Problem("body", "the file is empty", "send its bytes as the body")
        raise Unprocessable(str(empty), [empty])
    return size, digest.hexdigest()


def _keep(parts: Parts, row: DatasetRow, source: Path) -> Response:
    name = row.name
    taken = Conflict(f"there is another data set {name!r} already; delete it first, or take another name")
    with parts.reads() as session:
        known = Datasets(session).find(name)
        if known is not None:
            if (known.sha256, known.ending) != (row.sha256, row.ending):
                raise taken
            return JSONResponse(Dataset.of(known).model_dump(mode="json"), 200)
    answer = Dataset.of(row).model_dump(mode="json")
    try:
        with parts.writes.begin() as session:
            Datasets(session).add(row)
            keep(parts.artifacts, row, source)
    except IntegrityError:  # somebody else was faster
        raise taken from None
    return JSONResponse(answer, 201, {"Location": f"/api/v1/datasets/{name}"})
