"""Who may do what: every route and page, asked by every kind of visitor.

A route that stands in none of the lists below fails the test: whoever adds one decides for whom it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from api.main import create_app
from store.keys import Keys
from store.models import KeyRole
from store.session import connect, writes
from store.settings import Settings
from tests.api_server import ApiServer, on_sqlite, serving

Answer = Literal["lets in", "wants a key", "wants another key"]

PROBES = {"GET /healthz", "GET /readyz"}  # a kubelet has no key
SIGN_IN = {"POST /session"}
OF_WORKERS = {"POST /api/v1/workers/join"}  # its answer holds Redis' password
PAGES = {"GET /", "GET /studies", "GET /studies/{name}", "GET /studies/{name}/trials/{number}", "GET /workers",
         "GET /compare", "GET /docs", "GET /docs/show.js", "GET /openapi.json",
         "GET /static/page.css", "GET /docs/assets/swagger-ui.css"}  # fmt: skip
OF_PEOPLE = {
    *("GET /metrics", "GET /api/v1/studies", "POST /api/v1/studies"),
    *("GET /api/v1/workers", "POST /api/v1/workers/{name}/drain"),
    *("GET /api/v1/datasets", "POST /api/v1/datasets"),
    *("GET /api/v1/datasets/{name}", "DELETE /api/v1/datasets/{name}"),
    *(f"{method} /api/v1/studies/{{name}}" for method in ("GET", "PATCH", "DELETE")),
    *(f"POST /api/v1/studies/{{name}}/{what}" for what in (
        "ask", "cancel", "ensembles", "pause", "predict", "rescores", "resume", "trials",
        "ensembles/{ensemble}/artifacts", "trials/{number}/artifacts", "trials/{number}/cancel",
        "trials/{number}/report", "trials/{number}/retry", "trials/{number}/tell")),
    *(f"GET /api/v1/studies/{{name}}/{what}" for what in (
        "best", "curves", "ensembles", "events", "export", "importance", "lineage", "pareto", "report", "rescores",
        "rungs", "storage", "trials", "ensembles/{ensemble}", "ensembles/{ensemble}/model", "trials/{number}",
        "trials/{number}/artifacts", "trials/{number}/artifacts/{id}", "trials/{number}/logs",
        "trials/{number}/reports")),
    "DELETE /api/v1/studies/{name}/ensembles/{ensemble}",
}  # fmt: skip
EVERYTHING = PROBES | SIGN_IN | OF_WORKERS | PAGES | OF_PEOPLE
NAMES = {"name": "no-such-one", "number": "7", "ensemble": "7", "id": "model"}


@dataclass(frozen=True)
class Visitor:
    """What somebody sends with every request, and what may be done with it."""

    headers: Mapping[str, str]
    allowed: set[str] = field(default_factory=set)
    otherwise: Answer = "wants a key"

    def expected(self, route: str) -> Answer:
        return "lets in" if route in self.allowed | PROBES | SIGN_IN else self.otherwise


@pytest.fixture(scope="module")
def locked(
    tmp_path_factory: pytest.TempPathFactory, redis_service: str, sqlite_template: Any
) -> Iterator[tuple[ApiServer, dict[str, Visitor]]]:
    """A server with keys of every kind, and those who hold them."""
    home = tmp_path_factory.mktemp("home")
    (home / "trialyard.db").write_bytes(sqlite_template.read_bytes())
    settings = Settings(home_dir=home, redis_url=redis_service, api_key=SecretStr("ty_of-the-settings"))
    engine = connect(settings.database)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with writes(engine).begin() as session:
        keys = Keys(session)
        made = {"user": keys.create("ana", at), "worker": keys.create("gpus", at, KeyRole.WORKER)}
        made |= {"left": keys.create("bob", at), "sold": keys.create("old gpus", at, KeyRole.WORKER)}
        for gone in ("bob", "old gpus"):
            keys.revoke(gone, at)
    engine.dispose()
    of_people = {"allowed": PAGES | OF_PEOPLE, "otherwise": "wants another key"}
    of_workers = {"allowed": OF_WORKERS, "otherwise": "wants another key"}
    visitors = {
        "nobody": Visitor({}),
        "guesses": Visitor(bearer("ty_a-guess")),
        "empty key": Visitor(bearer("")),
        "digest": Visitor(bearer("0" * 64)),
        "other scheme": Visitor({"Authorization": f"Basic {made['user']}"}),
        "settings": Visitor(bearer("ty_of-the-settings"), **of_people),
        "user": Visitor(bearer(made["user"]), **of_people),
        "signed in": Visitor({"Cookie": f"trialyard_key={made['user']}"}, **of_people),
        "worker": Visitor(bearer(made["worker"]), **of_workers),
        "worker's cookie": Visitor({"Cookie": f"trialyard_key={made['worker']}"}, **of_workers),
        "revoked": Visitor(bearer(made["left"])),
        "revoked cookie": Visitor({"Cookie": f"trialyard_key={made['left']}"}),
        "revoked worker": Visitor(bearer(made["sold"])),
        "a wrong bearer and a right cookie": Visitor({**bearer("x"), "Cookie": f"trialyard_key={made['user']}"}),
        "Host that names another path": Visitor({"Host": "localhost/session?"}),
        "another path in front": Visitor({"X-Forwarded-Prefix": "/session", "X-Original-URL": "/healthz"}),
    }
    with serving(settings) as server:
        yield server, visitors


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}".strip()}


def routes_of(app: FastAPI) -> set[str]:
    """All that the app serves but files, as in `GET /healthz`."""
    found = set()
    for part in app.routes:
        contexts = part.effective_route_contexts() if hasattr(part, "effective_route_contexts") else [part]
        for each in contexts:
            found |= {f"{method} {each.path}" for method in getattr(each, "methods", None) or () if method != "HEAD"}
    return found


def asked(server: ApiServer, route: str, headers: Mapping[str, str]) -> Answer:
    method, path = route.split()
    with httpx.Client(base_url=server.url, timeout=30, verify=False) as http:  # noqa: S501 - plain HTTP
        body = {"content": "{", "headers": {**headers, "Content-Type": "application/json"}} if route in SIGN_IN else {}
        answer = http.request(method, path.format(**NAMES), **({"headers": dict(headers)} | body))
    assert answer.status_code < 500 or path == "/readyz", f"{route}: {answer.text}"
    if route in SIGN_IN:
        return "lets in" if answer.status_code == 400 else "wants a key"  # it is sent no JSON
    return {401: "wants a key", 403: "wants another key"}.get(answer.status_code, "lets in")  # type: ignore[return-value]


def test_for_every_route_somebody_has_decided_who_may_use_it() -> None:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1"))
    files = {"GET /static/page.css", "GET /docs/assets/swagger-ui.css"}

    assert routes_of(app) == EVERYTHING - files


WHO = ["nobody", "guesses", "empty key", "digest", "other scheme", "settings", "user", "signed in", "worker",
       "worker's cookie", "revoked", "revoked cookie", "revoked worker", "a wrong bearer and a right cookie",
       "Host that names another path", "another path in front"]  # fmt: skip


@pytest.mark.parametrize("who", WHO)
def test_every_route_lets_in_whom_it_is_for(locked: tuple[ApiServer, dict[str, Visitor]], who: str) -> None:
    server, visitors = locked
    visitor = visitors[who]

    answers = {route: asked(server, route, visitor.headers) for route in sorted(EVERYTHING)}

    assert answers == {route: visitor.expected(route) for route in sorted(EVERYTHING)}


@on_sqlite
def test_no_answer_goes_without_the_headers_that_hold_browsers_to_our_pages(settings: Settings) -> None:
    with serving(settings) as server:
        for route in sorted(EVERYTHING):
            method, path = route.split()
            answer = server.http.request(method, path.format(**NAMES), headers={"Accept": "text/html"})
            kept = {name: answer.headers.get(name) for name in ("x-frame-options", "x-content-type-options")}
            assert kept == {"x-frame-options": "DENY", "x-content-type-options": "nosniff"}, route
            policy = answer.headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy, route
            assert "script-src 'self'" in policy, route
            assert "script-src 'self' 'unsafe" not in policy, route
