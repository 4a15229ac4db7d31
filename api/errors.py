"""Every error as problem+json (RFC 9457): the one place where our errors meet HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from sqlalchemy.exc import InterfaceError, InternalError, NotSupportedError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.openapi import methods_at
from search.findings import of_text
from store.bus import takes_nothing
from store.errors import (
    BadRequest,
    Conflict,
    DefinitionError,
    NotFound,
    Problem,
    StaleAttempt,
    TooLate,
    TrialyardError,
    Unavailable,
    Unprocessable,
)

RETRY_AFTER_SECONDS = 2

log = structlog.get_logger(__name__)


class Unauthorized(TrialyardError):
    """The request carries no valid key, and the server wants one."""


class Forbidden(TrialyardError):
    """The request came by a way that a browser may have been tricked into, or with a key that opens something else."""


_STATUS: dict[type[TrialyardError], int] = {
    BadRequest: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    StaleAttempt: 409,
    DefinitionError: 422,
    Unprocessable: 422,
    Unavailable: 503,
    TooLate: 504,
}


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"


def problem(
    status: int, detail: str, errors: Sequence[Problem] = (), headers: Mapping[str, str] | None = None
) -> ProblemResponse:
    """The answer that says what is wrong."""
    phrase = HTTPStatus(status).phrase
    content: dict[str, Any] = {"type": "about:blank", "title": phrase, "status": status, "detail": detail or phrase}
    if errors:
        content["errors"] = [error.as_dict() for error in errors]
    return ProblemResponse(content, status, headers)


def problem_of(error: TrialyardError) -> ProblemResponse:
    """One of our own errors as an answer."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    headers = {401: {"WWW-Authenticate": 'Bearer realm="trialyard"'}, 503: {"Retry-After": str(RETRY_AFTER_SECONDS)}}
    problems = error.problems if isinstance(error, DefinitionError | Unprocessable) else ()
    detail = "the study definition is not valid" if isinstance(error, DefinitionError) else str(error)
    return problem(status, detail, problems, headers.get(status))


def install(app: FastAPI) -> None:
    """Answer every error of the app as problem+json."""
    app.add_exception_handler(TrialyardError, _ours)
    app.add_exception_handler(HTTPException, told)
    app.add_exception_handler(RequestValidationError, _parameters)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _database_away)
    app.add_exception_handler(InternalError, _database_refuses)
    app.add_exception_handler(NotSupportedError, _database_refuses)
    app.add_exception_handler(RedisError, _redis_away)
    app.add_exception_handler(Exception, _unforeseen)


def _ours(_request: Request, error: Exception) -> Response:
    if not isinstance(error, TrialyardError):
        raise error
    return problem_of(error)


def told(request: Request, error: Exception) -> Response:
    """What a route or the router itself refused."""
    if not isinstance(error, HTTPException):
        raise error
    detail, path = error.detail, request.url.path
    if error.status_code == 404 and detail == HTTPStatus(404).phrase:
        there_is = path.endswith("/") and methods_at(request.app, path.rstrip("/"))
        where = "there is something without the slash at its end" if there_is else "/docs lists what there is"
        detail = f"there is nothing at {path}; {where}"
    elif error.status_code == 405:
        allowed = methods_at(request.app, path) or (error.headers or {}).get("Allow", "")
        return problem(405, f"{request.method} is not possible here; {allowed} is", headers={"Allow": allowed})
    return problem(error.status_code, detail, headers=error.headers)


def _parameters(request: Request, error: Exception) -> Response:
    """A parameter of the path or the query is wrong; bodies are told in `api.requests`."""
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if any(each["loc"][0] == "path" for each in found):
        return problem(404, f"there is nothing at {request.url.path}: no name or number of ours looks like that")
    problems = [Problem(".".join(map(str, each["loc"][1:])), *of_text(each)) for each in found]
    return problem(422, "; ".join(map(str, problems)), problems)


# As SQLite and PostgreSQL word it.
_DISK_FULL = re.compile(r"database or disk is full|No space left on device")


_READ_ONLY = re.compile(r"read-only transaction|mode during recovery|readonly database")


def _database_refuses(request: Request, error: Exception) -> Response:
    """PostgreSQL's word for what it does not take as a replica, and for much that nobody foresaw."""
    if _READ_ONLY.search(str(error)):
        return _database_away(request, error)
    raise error


def _database_away(_request: Request, error: Exception) -> Response:
    reason = str(getattr(error, "orig", error))[:500]
    log.error("the database failed", error=reason)
    if _DISK_FULL.search(reason):
        return problem_of(Unavailable("the disk of the database is full; nothing can be stored until there is room"))
    if _READ_ONLY.search(reason):
        cure = "has it become a replica? TRIALYARD_DATABASE_URL must name the one that takes writes"
        return problem_of(Unavailable(f"the database can only be read at the moment; {cure}"))
    return problem_of(Unavailable("the database does not answer; try again in a moment"))


def _redis_away(_request: Request, error: Exception) -> Response:
    log.warning("redis is away", error=str(error))
    if takes_nothing(error):
        return problem_of(Unavailable("Redis takes nothing at the moment; its memory or its disk may be full"))
    return problem_of(Unavailable("Redis does not answer; try again in a moment"))


def _unforeseen(_request: Request, _error: Exception) -> Response:
    return problem(500, "the server failed in a way that nobody foresaw; its log has the details")
