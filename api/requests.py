"""Requests read strictly: bodies that are plain JSON and not too large, and no key or parameter that nobody knows."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, NoReturn

import anyio.to_thread
from fastapi import Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException

from api.errors import problem
from search.findings import Finding, of_model, path_of
from search.plain import MOST_BYTES, NotPlain, check_plain
from search.suggestions import nearest
from store.errors import Problem
from trialyard.study_file import from_yaml

_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
_READ = ("application/json", *_YAML)
MOST_VALUES = 2**20  # of a body: ten thousand rows to predict, of a hundred columns


class RequestModel(BaseModel):
    """A body. Numbers are numbers and texts are texts: nothing is converted."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    # Keys that have a meaning and are not taken here, as sentences of what to do instead.
    fixed: ClassVar[Mapping[str, str]] = {}
    # What is told of keys that are missing, as sentences of what to send.
    missing: ClassVar[Mapping[str, str]] = {}


class PlainRequest(Request):
    """A request whose body is limited in size and, as JSON, holds only what every database can store."""

    _large = 50_000  # bytes that take a few milliseconds

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            most: int = self.app.state.parts.settings.max_body_bytes
            declared = self.headers.get("content-length", "0")
            if declared.isdecimal() and int(declared) > most:
                _too_large(most)
            self._body = await self._read(most)
        return self._body

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= self._large:
            return self._plain(body)
        # To read it takes seconds, in which the event loop would answer nobody, and many times its size in memory.
        limiter = self.app.state.parts.large_bodies if len(body) > MOST_BYTES else None
        return await anyio.to_thread.run_sync(self._plain, body, limiter=limiter)

    def _plain(self, body: bytes) -> Any:
        document = self._parsed(body)
        try:
            findings = check_plain(document, MOST_VALUES)
        except NotPlain as error:
            findings = [error.finding]
        if findings:
            raise WrongBody(findings)
        return document

    def _parsed(self, body: bytes) -> Any:
        try:
            return json.loads(body, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError) as error:
            why = str(error)
            if isinstance(error, RecursionError):
                why = "it is nested too deep"
            elif "integer string conversion" in why:
                why = f"it holds a number of more than {sys.get_int_max_str_digits():,} digits"
            raise HTTPException(400, f"the body is not valid JSON: {why}") from None

    async def _read(self, most: int) -> bytes:
        received = bytearray()
        async for chunk in self.stream():
            received += chunk
            if len(received) > most:
                _too_large(most)
        return bytes(received)


class YamlRequest(PlainRequest):
    """One whose body is a study file as people write it."""

    _large = 1000

    def _parsed(self, body: bytes) -> Any:
        try:
            return from_yaml(body.decode())
        except ValueError as error:
            raise HTTPException(400, f"the body is not valid YAML: {error}") from None


class WrongBody(HTTPException):
    """The body of a request says something that cannot be right. An HTTPException, as FastAPI hides all others here."""

    def __init__(self, findings: list[Finding]) -> None:
        self.problems = [Problem(path_of(each.at) if each.at else "body", each.message, each.hint) for each in findings]
        super().__init__(422, "; ".join(map(str, self.problems)))


class StrictRoute(APIRoute):
    """A route that reads its requests as `PlainRequest` and explains what is wrong with them."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            try:
                self._check_query(request)
                self._check_content_type(request)
                return await self.handled(_strictly(request), handle)
            except WrongBody as error:
                return problem(422, error.detail, error.problems)
            except RequestValidationError as error:
                if self.body_field is None or error.errors()[0]["loc"][0] != "body":
                    raise
                return self._explained(error)

        return strict

    async def handled(self, request: PlainRequest, handle: Callable[[Request], Awaitable[Response]]) -> Response:
        """Carry the request out."""
        return await handle(request)

    def _check_query(self, request: Request) -> None:
        parameters = get_flat_params(self.dependant)
        known = [each.alias for each in parameters if isinstance(each.field_info, Query)]
        for name in request.query_params:
            if name not in known:
                hint = nearest(name, known) if known else "this path takes none"
                raise HTTPException(400, f"there is no query parameter {name[:80]!r}; {hint}")
            if len(request.query_params.getlist(name)) > 1:
                raise HTTPException(400, f"the query parameter {name!r} stands twice; send it once")

    def _check_content_type(self, request: Request) -> None:
        kind = _kind(request)
        if self.body_field is None and kind.startswith("multipart/"):
            raise HTTPException(415, "no form is read here; send the file itself as the body: curl --data-binary @FILE")
        if self.body_field is not None and kind not in _READ and not kind.endswith("+json"):
            wanted = "Content-Type: application/json or application/yaml"
            raise HTTPException(415, f"the body must be JSON or YAML, sent with {wanted}")

    def _explained(self, error: RequestValidationError) -> Response:
        """FastAPI's error does not know the model any more: validate again, for a sentence about each finding."""
        model = self.body_field.field_info.annotation if self.body_field else None
        if isinstance(model, type) and issubclass(model, BaseModel):
            try:
                model.model_validate(error.body)
            except ValidationError as again:
                fixed = model.fixed if issubclass(model, RequestModel) else {}
                fixed = {key: hint for key, hint in fixed.items() if key not in model.model_fields}
                missing = model.missing if issubclass(model, RequestModel) else {}
                found = of_model(again, model, missing=missing)
                wrong = WrongBody([_of_fixed(finding, fixed) for finding in found])
                return problem(422, wrong.detail, wrong.problems)
        return problem(422, "the body is missing or no JSON object")


def _strictly(request: Request) -> PlainRequest:
    if _kind(request) not in _YAML:
        return PlainRequest(request.scope, request.receive)
    # FastAPI reads no body as a document that is not said to be JSON.
    others = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    headers = [*others, (b"content-type", b"application/json")]
    return YamlRequest({**request.scope, "headers": headers}, request.receive)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _of_fixed(finding: Finding, fixed: Mapping[str, str]) -> Finding:
    hint = fixed.get(str(finding.at[0])) if len(finding.at) == 1 else None
    return finding if hint is None else Finding(finding.at, "cannot be changed", hint)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twin[:80]!r} stands twice in one object")
    return document


def _too_large(most: int) -> NoReturn:
    raise HTTPException(413, f"the body is larger than {most:,} bytes, which is the most this server takes")
