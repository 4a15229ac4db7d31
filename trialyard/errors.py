"""What can go wrong between a program and the server, and what ends a command; each text is a sentence for a person."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict


class Problem(BaseModel):
    """One thing wrong with a study: where in the document, what, and what would be right."""

    model_config = ConfigDict(frozen=True)

    path: str = ""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return where + self.message + (f"; {self.hint}" if self.hint else "")


class ApiError(Exception):
    """The server refused a request, or did not answer it. Carries the answer's problem+json (RFC 9457)."""

    def __init__(
        self, detail: str, *, status: int | None = None, title: str = "", errors: Sequence[Problem] = ()
    ) -> None:
        super().__init__("\n".join(map(str, errors)) or detail)
        self.detail = detail
        self.status = status
        self.title = title
        self.errors = tuple(errors)


class Unreachable(ApiError):
    """There is no server at the address, or the connection broke before it answered."""


class InvalidRequest(ApiError):
    """The server understood the request and will not have it as it is (400, 413, 422); `errors` say where."""


class Unauthorized(ApiError):
    """The API key is missing, unknown or revoked (401, 403)."""


class NotFound(ApiError):
    """There is no such study, trial or page (404)."""


class Conflict(ApiError):
    """The request contradicts the present state: a name that is taken, a study or an attempt that has ended (409)."""


class ServerError(ApiError):
    """The server failed, or a part that it needs is away (5xx); asking again may work."""


class CommandError(Exception):
    """A command cannot go on; its text goes to standard error."""

    exit_code = 1


class BadInput(CommandError):
    """What a person gave to a command is wrong."""

    exit_code = 2
