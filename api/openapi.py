"""The OpenAPI document: what FastAPI derives from the routes, with our errors and our key in it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import compile_path

from api.shapes import ProblemDocument

PREFIX = "/api/v1"

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {
    "description": "What is wrong, as problem+json (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Made at the first request and kept by the app."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of errors
            schemas.pop(unused, None)
        problem = ProblemDocument.model_json_schema(ref_template=_REFERENCE)
        schemas.update(problem.pop("$defs", {}))
        schemas["ProblemDocument"] = problem
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        for operation in _operations(document):
            operation["responses"].pop("422", None)
            operation["responses"] |= {"4XX": _PROBLEM, "5XX": _PROBLEM}
        app.openapi_schema = document
    return app.openapi_schema


def methods_at(app: FastAPI, path: str) -> str:
    """The methods that a path of the API takes, as in `GET, HEAD, POST`; "" where there is none."""
    paths = describe(app)["paths"]
    taken: dict[str, Any] = next((paths[each] for each in paths if compile_path(each)[0].match(path)), {})
    head = ("HEAD",) if "get" in taken else ()
    return ", ".join(sorted((*head, *(method.upper() for method in taken))))


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]
