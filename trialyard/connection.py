"""How the SDK's requests travel: retries, pages, streams, and what an answer that is an error becomes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Self

import httpx
from pydantic import TypeAdapter, ValidationError

from trialyard.errors import (
    ApiError,
    Conflict,
    InvalidRequest,
    NotFound,
    Problem,
    ServerError,
    Unauthorized,
    Unreachable,
)
from trialyard.events import parse_events
from trialyard.json_body import json_body
from trialyard.resources import Event

DEFAULT_SERVER_URL = "http://127.0.0.1:8080"
RETRY_SECONDS = (0.2, 0.6, 1.8)  # pauses before a request that cannot do harm twice is sent again
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 45.0  # the server pings an event stream every 15 s: one that is silent for longer is dead

_PROBLEMS = TypeAdapter(list[Problem])


class Connection:
    """The way to one server. Every request raises `ApiError` or one of its kinds.

    Args:
        server_url: where the server listens; the API is below it at /api/v1. TRIALYARD_SERVER_URL, or this machine's,
            if left out.
        api_key: the bearer key, where the server wants one; TRIALYARD_API_KEY if left out.
        timeout: seconds to wait for an answer.
        transport: how requests travel; for tests.
    """

    def __init__(
        self,
        server_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 45.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.server_url = (server_url or os.environ.get("TRIALYARD_SERVER_URL") or DEFAULT_SERVER_URL).rstrip("/")
        self._api_key = api_key or os.environ.get("TRIALYARD_API_KEY")
        self._transport = transport
        self._http = self._connect(httpx.Timeout(timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _connect(self, timeout: httpx.Timeout) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
        base_url = httpx.URL(f"{self.server_url}/api/v1")
        # Over plain HTTP there is nothing to verify, and loading the certificates takes longer than asking.
        verify = base_url.scheme != "http"
        return httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, transport=self._transport, verify=verify
        )

    def _follow(self, path: str, after: int) -> Iterator[Event]:
        """Events from behind `after` on; a broken connection is made anew."""
        pauses = iter(RETRY_SECONDS)
        with self._connect(httpx.Timeout(CONNECT_SECONDS, read=SILENCE_SECONDS)) as http:
            while True:
                try:
                    with _stream_events(http, path, after) as response:
                        if response.status_code == httpx.codes.NO_CONTENT:
                            return
                        for event in parse_events(response.iter_lines()):
                            after = event.id
                            pauses = iter(RETRY_SECONDS)
                            yield event
                except (httpx.TransportError, ServerError):
                    pass  # the server restarts, or the connection broke: what was missed is replayed
                time.sleep(next(pauses, RETRY_SECONDS[-1]))

    def _pages(self, path: str, **parameters: str | None) -> Iterator[dict[str, Any]]:
        query = {name: value for name, value in parameters.items() if value is not None}
        while True:
            page = self._ask("GET", path, query=query)
            yield from page["items"]
            if page.get("next_cursor") is None:
                return
            query["cursor"] = page["next_cursor"]

    def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        sent = None if body is None else json_body(body)
        response = self._answer(self._http.build_request(method, path, json=sent, params=query, headers=headers))
        return response.json() if response.content else None

    def _answer(self, request: httpx.Request) -> httpx.Response:
        harmless_twice = request.method == "GET" or "Idempotency-Key" in request.headers
        pauses = iter(RETRY_SECONDS if harmless_twice else ())
        while True:
            try:
                response = self._http.send(request)
                break
            except httpx.TransportError as error:
                pause = None if isinstance(error, httpx.TimeoutException) else next(pauses, None)
                if pause is None:
                    raise Unreachable(self._unreachable(error)) from error
                time.sleep(pause)
        _check(response)
        return response

    def _send(self, path: str, query: dict[str, str], content: BinaryIO) -> Any:
        """Post a file piece by piece."""
        try:
            response = self._http.post(path, params=query, content=content)
        except httpx.TransportError as error:
            raise Unreachable(self._unreachable(error)) from error
        _check(response)
        return response.json()

    def _stream(self, path: str, query: dict[str, str] | None = None) -> Iterator[bytes]:
        try:
            with self._http.stream("GET", path, params=query) as response:
                _check_stream(response)
                yield from response.iter_bytes()
        except httpx.TransportError as error:
            raise Unreachable(self._unreachable(error)) from error

    def _unreachable(self, error: httpx.TransportError) -> str:
        if isinstance(error, httpx.TimeoutException):
            return f"the server at {self.server_url} did not answer in time"
        return (
            f"no server answers at {self.server_url} ({error}); start one with `trialyard up`, "
            "or name another with --server or TRIALYARD_SERVER_URL"
        )


@contextmanager
def _stream_events(http: httpx.Client, path: str, after: int) -> Iterator[httpx.Response]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    with http.stream("GET", path, headers=headers) as response:
        _check_stream(response)
        yield response


def _check(response: httpx.Response) -> None:
    """Raises: ApiError: the answer is not a success."""
    if response.is_success:
        return
    status = response.status_code
    document = _problem_document(response)
    detail = str(document.get("detail") or document.get("title") or f"the server answered {status}")
    raise _error_kind(status)(
        detail, status=status, title=str(document.get("title", "")), errors=_problems(document.get("errors"))
    )


def _check_stream(response: httpx.Response) -> None:
    """The same for an answer that is read piece by piece: one that is an error is read at once."""
    if not response.is_success:
        response.read()
    _check(response)


def _problem_document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}  # not from our server: a proxy's page of HTML
    return document if isinstance(document, dict) else {}


def _problems(errors: Any) -> list[Problem]:
    try:
        return _PROBLEMS.validate_python(errors or [])
    except ValidationError:
        return []


def _error_kind(status: int) -> type[ApiError]:
    match status:
        case 401 | 403:
            return Unauthorized
        case 404:
            return NotFound
        case 409:
            return Conflict
        case _ if 400 <= status < 500:
            return InvalidRequest
        case _:
            return ServerError
