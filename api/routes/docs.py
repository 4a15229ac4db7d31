"""The page of the API's operations: Swagger UI with its assets from a wheel, so that it works without internet."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

router = APIRouter(include_in_schema=False)

ASSETS = "/docs/assets"

PAGE = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>API · Trialyard</title>
<link rel="icon" href="{ASSETS}/favicon-32x32.png">
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
</head>
<body>
<div id="operations"></div>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script src="/docs/show.js"></script>
</body>
</html>
"""

# The bundled Swagger UI renders OpenAPI 3.1 in all that this API uses, but refuses to by its number.
SHOW = """fetch("/openapi.json")
  .then((response) => response.json())
  .then((spec) => SwaggerUIBundle({
    spec: { ...spec, openapi: "3.0.3" },
    dom_id: "#operations",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
  }));
"""


@router.get("/docs")
def docs() -> HTMLResponse:
    return HTMLResponse(PAGE)


@router.get("/docs/show.js")
def show() -> Response:
    return Response(SHOW, media_type="text/javascript")


def assets() -> StaticFiles:
    """The files of Swagger UI, to be mounted at ASSETS."""
    return StaticFiles(directory=swagger_ui_path)
