"""Who may come in: a gate before every route, and the session that a browser signs in to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, parse_qs, urlsplit

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, select_autoescape
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.deps import Wired
from api.errors import Forbidden, Unauthorized, problem_of
from api.keyring import KeyRing
from api.requests import StrictRoute
from store.addresses import is_loopback
from store.errors import BadRequest, TrialyardError, Unavailable
from store.keys import role_of
from store.models import KeyRole
from store.outage import Outage
from store.settings import Settings

COOKIE = "trialyard_key"
COOKIE_SECONDS = 30 * 86_400
READING = {"GET", "HEAD", "OPTIONS"}
JOIN = "/api/v1/workers/join"

Visitor = KeyRole | Literal["outsider", "machine"]

_NONE_VALID = "every API key of this server has been revoked; make one with `trialyard keys create`"
_OTHER_ROLE = {
    KeyRole.WORKER: f"this key is a worker's: it opens POST {JOIN} and nothing else; "
    "`trialyard keys create NAME` makes one for people and their programs",
    KeyRole.USER: "this key is not a worker's; `trialyard keys create NAME --role worker` makes one that is",
}

router = APIRouter(route_class=StrictRoute, include_in_schema=False)


class Gate:
    """Lets a request through to the app, or answers it.

    Once there was a key every path but those of probes wants one, as a bearer key or as the cookie that
    `POST /session` sets. Until then the server is for this machine alone, and only requests that name it as such are
    let in: a page of another site may otherwise reach it under a name of its own (DNS rebinding).

    Whom it lets in is the request's `state.visitor`, from the least trusted on: "outsider", "machine" where no key is
    wanted, or the role of the key.
    """

    def __init__(self, app: ASGIApp, settings: Settings, keys: KeyRing) -> None:
        self._app = app
        self._settings = settings
        self._keys = keys
        self._database_away = Outage("the database failed; nobody is let in", "the database is back")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            request.state.visitor = await self._admit(request)
        except TrialyardError as error:
            if scope["path"] == "/readyz":  # a kubelet and a load balancer have no key
                request.state.visitor = "outsider"
                await self._app(scope, receive, send)
                return
            wants_page = isinstance(error, Unauthorized) and _is_for_a_person(request)
            response = sign_in_page(_next_of(request), 401) if wants_page else problem_of(error)
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admit(self, request: Request) -> Visitor:
        """Raises: Unauthorized, Forbidden, Unavailable."""
        try:
            roles = await run_in_threadpool(self._keys.roles_once_wanted)
            self._database_away.is_over()
        except SQLAlchemyError as error:
            self._database_away.goes_on(str(getattr(error, "orig", error))[:500])
            raise Unavailable(
                "the database does not answer, so no key can be checked; try again in a moment"
            ) from error
        bearer = _bearer(request.headers)
        if bearer is None:
            _refuse_other_sites(request)
        if roles is None:
            self._admit_without_key(request)
            return "machine"
        if not roles:
            raise Unauthorized(_NONE_VALID)
        if request.scope["path"] == "/session":
            return "outsider"
        role = role_of(bearer or _cookie(request), roles)
        if role is None:
            raise Unauthorized("this server wants an API key: send `Authorization: Bearer <key>`")
        if (role is KeyRole.WORKER) != (request.scope["path"] == JOIN):
            raise Forbidden(_OTHER_ROLE[role])
        return role

    def _admit_without_key(self, request: Request) -> None:
        if not is_loopback(self._settings.host):
            raise Unauthorized(_NONE_VALID)
        host = request.headers.get("host", "")
        if not is_loopback(_split(f"//{host}").hostname or ""):
            raise Forbidden(
                f"Host: {host[:80]!r} is not this machine; without an API key the server answers only to 127.0.0.1, "
                "::1 and localhost"
            )


def may_stay(request: Request, keys: KeyRing) -> bool:
    """Whether who was let in may still be answered: no key is wanted, or the one that was sent is valid still."""
    roles = keys.roles_once_wanted()
    return roles is None or role_of(_bearer(request.headers) or _cookie(request), roles) is not None


@router.post("/session")
async def sign_in(request: Request, parts: Wired) -> Response:
    """Set the cookie for a browser. The cookie is the key itself, so what revokes the key also ends the session."""
    form = _credentials(request.headers.get("content-type", ""), await request.body())
    is_form = "next" in form
    role = await run_in_threadpool(parts.keys.role_of, form.get("key", ""))
    if role is not KeyRole.USER:
        why = "this is no valid key" if role is None else _OTHER_ROLE[role]
        if is_form:
            return sign_in_page(_local(form["next"]), 401, f"{why[0].upper()}{why[1:]}.")
        raise Unauthorized(why)
    response = RedirectResponse(_local(form["next"]), 303) if is_form else Response(status_code=204)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, form["key"], COOKIE_SECONDS, httponly=True, secure=secure, samesite="strict")
    return response


def sign_in_page(to: str, status: int, error: str = "") -> Response:
    """The page that asks a person for the key, and then leads to where they wanted to go."""
    folder = Path(__file__).parent / "templates"
    environment = Environment(loader=FileSystemLoader(folder), autoescape=select_autoescape())
    page = environment.get_template("sign_in.html").render(next=to, error=error)
    return HTMLResponse(page, status, {"WWW-Authenticate": 'Bearer realm="trialyard"'})


def _cookie(request: Request) -> str:
    return request.cookies.get(COOKIE) or ""


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def _refuse_other_sites(request: Request) -> None:
    """A browser sends cookies, and reaches this machine, on behalf of any page: what such a page sends is refused.

    Raises:
        Forbidden: the request changes something and comes from a page of another site.
    """
    if request.method in READING:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if site not in ("same-origin", "none") if site else origin and _split(origin).netloc != host:
        raise Forbidden("a page of another site may not change anything here; use a bearer key for that")


def _split(address: str) -> SplitResult:
    """The parts of an address; none of any, where it is no address."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _is_for_a_person(request: Request) -> bool:
    return request.method == "GET" and "text/html" in request.headers.get("accept", "")


def _next_of(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _local(path: str) -> str:
    """A path of this server, wherever the form said to go."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_local else "/"


def _credentials(content_type: str, body: bytes) -> dict[str, str]:
    """Raises: BadRequest: neither a form nor a JSON object with the key."""
    try:
        if content_type.startswith("application/json"):
            return {"key": str(json.loads(body)["key"])}
        return {name: values[0] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadRequest('the body must be {"key": "…"} as JSON, or a form with the field key') from None
