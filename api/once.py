"""Requests that come again with the same `Idempotency-Key`: carried out once, and answered alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from api.errors import problem
from api.parts import Parts
from api.requests import PlainRequest, StrictRoute
from store.answers import LONGEST_KEY, Answers
from store.errors import Problem

KEYED = {"POST", "PATCH"}
HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    "description": "a repeat with the same key and body gets the same answer",
}


class OnceRoute(StrictRoute):
    """A route whose POST or PATCH may carry a key. What was refused, or came to nothing for now, is not remembered."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if KEYED & {*(options.get("methods") or ())}:
            options["openapi_extra"] = {**(options.get("openapi_extra") or {}), "parameters": [HEADER]}
        super().__init__(path, endpoint, **options)

    async def handled(self, request: PlainRequest, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        key = request.headers.get("idempotency-key")
        if key is None or request.method not in KEYED:
            return await handle(request)
        if not 1 <= len(key) <= LONGEST_KEY:
            wrong = Problem("Idempotency-Key", f"has {len(key)} characters", f"take 1 to {LONGEST_KEY}")
            return problem(422, str(wrong), [wrong])
        digest = hashlib.sha256(f"{request.url.path}\n".encode() + await request.body()).hexdigest()
        parts: Parts = request.app.state.parts
        answered = await run_in_threadpool(_begin, parts, key, digest)
        if answered is not None:
            return JSONResponse(answered["body"], answered["status"], answered["headers"])
        try:
            response = await handle(request)
        except Exception:
            await run_in_threadpool(_forget, parts, key)
            raise
        await run_in_threadpool(_settle, parts, key, response)
        return response


def _begin(parts: Parts, key: str, digest: str) -> dict[str, Any] | None:
    """What was answered to this request before; None if it is to be carried out now.

    Raises:
        Unprocessable: the key came with another request.
        Conflict: another one of these is being carried out.
    """
    try:
        with parts.writes.begin() as session:
            return Answers(session).begin(key, digest, parts.clock())
    except IntegrityError:  # the same request began at this very moment
        with parts.writes.begin() as session:
            return Answers(session).begin(key, digest, parts.clock())


def _settle(parts: Parts, key: str, response: Response) -> None:
    if response.status_code >= 300 or "retry-after" in response.headers:
        _forget(parts, key)
        return
    headers = {name: response.headers[name] for name in ("location",) if name in response.headers}
    answer = {"status": response.status_code, "headers": headers, "body": json.loads(bytes(response.body))}
    with parts.writes.begin() as session:
        Answers(session).settle(key, response.status_code, answer)


def _forget(parts: Parts, key: str) -> None:
    with parts.writes.begin() as session:
        Answers(session).forget(key)
