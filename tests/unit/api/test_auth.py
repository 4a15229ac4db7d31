"""Who may come in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from api.keyring import KeyRing, check_exposure
from store.errors import BadRequest, Conflict, NotFound, SettingsError
from store.keys import Keys, role_of
from store.models import KeyRole
from store.session import reads, writes
from store.settings import Settings
from tests.api_server import ApiServer, definition, on_sqlite, serving

JOIN = "/api/v1/workers/join"
KEY = "ty_a-key-of-some-length"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PATHS = ["/api/v1/studies", "/api/v1/workers", "/metrics", "/docs", "/openapi.json", "/", "/workers",
         "/static/page.css", "/static/plotly.min.js", "/docs/assets/swagger-ui.css", "/nothing"]  # fmt: skip


@pytest.fixture
def locked(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings.model_copy(update={"api_key": SecretStr(KEY)})) as server:
        yield server


@pytest.mark.parametrize(("host", "key", "is_refused"), [
    ("127.0.0.1", "secret", False),
    ("192.0.2.1", "secret", True),
    ("192.0.2.1", "s" * 16, False),
])  # fmt: skip
def test_a_key_that_can_be_guessed_opens_nothing_to_other_machines(
    settings: Settings, engine: Engine, host: str, key: str, is_refused: bool
) -> None:
    refusal = pytest.raises(SettingsError, match="TRIALYARD_API_KEY: 6 characters can be guessed")
    with refusal if is_refused else nullcontext():
        check_exposure(settings.model_copy(update={"host": host, "api_key": SecretStr(key)}), engine)


def make_key(engine: Engine, name: str, role: KeyRole = KeyRole.USER) -> str:
    with writes(engine).begin() as session:
        return Keys(session).create(name, NOW, role)


def test_keys_are_made_listed_and_revoked_and_only_their_digests_are_kept(engine: Engine) -> None:
    first, second, third = make_key(engine, "laptop"), make_key(engine, "ci"), make_key(engine, "gpu", KeyRole.WORKER)
    with writes(engine).begin() as session:
        Keys(session).revoke("laptop", NOW)
        Keys(session).revoke("laptop", NOW)

    with reads(engine)() as session:
        keys, valid = Keys(session).all(), Keys(session).valid()
    assert [(key.name, key.revoked_at) for key in keys] == [("laptop", NOW), ("ci", None), ("gpu", None)]
    roles = [role_of(text, valid) for text in (first, second, third, second + "x")]
    assert roles == [None, KeyRole.USER, KeyRole.WORKER, None]
    assert not any(text in (key.digest, key.name) for key in keys for text in (first, second, third))


def test_a_key_needs_a_new_name_and_one_that_reads_well(engine: Engine) -> None:
    make_key(engine, "ci")
    with pytest.raises(Conflict, match="there is, or was, a key named 'ci'"):
        make_key(engine, "ci")
    with pytest.raises(BadRequest, match="1 to 64 letters"):
        make_key(engine, "a\n")
    with pytest.raises(NotFound, match="keys list"), writes(engine).begin() as session:
        Keys(session).revoke("none", NOW)


@on_sqlite
@pytest.mark.parametrize(
    ("host", "is_open"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("192.168.1.4", False), ("::", False), ("10.0.0.7", False), ("example.org", False), ("", False)],
)  # fmt: skip
def test_only_this_machine_is_served_without_a_key(
    settings: Settings, engine: Engine, host: str, is_open: bool
) -> None:
    settings = settings.model_copy(update={"host": host})
    if is_open:
        check_exposure(settings, engine)
    else:
        with pytest.raises(SettingsError, match="no API key is configured"):
            check_exposure(settings, engine)
    make_key(engine, "any")
    check_exposure(settings, engine)


@on_sqlite
def test_with_a_key_every_path_but_the_probes_wants_it(locked: ApiServer) -> None:
    for probe, answer in (("/healthz", {"status": "ok"}), ("/readyz", {"ready": True})):
        assert (locked.http.get(probe).status_code, locked.http.get(probe).json()) == (200, answer)
    details = locked.http.get("/readyz", headers={"Authorization": f"Bearer {KEY}"}).json()
    assert details == {"ready": True, "database": "ok", "redis": "ok", "scheduler": "none"}
    for path in PATHS:
        answer = locked.http.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="trialyard"'), path
        assert answer.headers["content-type"] == "application/problem+json"
        assert locked.http.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert locked.http.get(path, headers={"Authorization": f"bearer {KEY}"}).status_code != 401
    assert locked.http.post("/api/v1/studies", json=definition()).status_code == 401


def test_keys_of_the_database_count_from_the_moment_they_are_made_until_they_are_revoked(
    settings: Settings, engine: Engine
) -> None:
    now = [0.0]
    ring = KeyRing(settings, reads(engine), lambda: now[0])
    assert ring.roles() == {}

    key = make_key(engine, "ci")
    now[0] += 2.5
    assert ring.role_of(key) is KeyRole.USER

    with writes(engine).begin() as session:
        Keys(session).revoke("ci", NOW)
    now[0] += 2.5
    assert ring.role_of(key) is None


@on_sqlite
def test_a_server_for_others_stays_shut_when_its_last_key_is_revoked(settings: Settings) -> None:
    with serving(settings.model_copy(update={"host": "0.0.0.0"})) as server:  # noqa: S104 - only told, not listened on
        answer = server.http.get("/api/v1/studies", headers={"Host": "localhost"})

    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]


@on_sqlite
def test_to_revoke_the_last_key_opens_nothing(settings: Settings, engine: Engine) -> None:
    """A proxy before it often asks for 127.0.0.1 on behalf of everybody."""
    key = make_key(engine, "ana")
    with writes(engine).begin() as session:
        Keys(session).revoke("ana", NOW)
    with serving(settings) as server:
        for headers in ({}, {"Authorization": f"Bearer {key}"}):
            answer = server.http.get("/api/v1/studies", headers=headers)
            assert (answer.status_code, "keys create" in answer.json()["detail"]) == (401, True)
        assert server.http.post(JOIN).status_code == 401
        assert server.http.get("/readyz").json() == {"ready": True}


@on_sqlite
def test_a_workers_key_lets_it_join_and_opens_nothing_else(locked: ApiServer) -> None:
    worker = {"Authorization": f"Bearer {make_key(locked.engine, 'gpu', KeyRole.WORKER)}"}
    user = {"Authorization": f"Bearer {make_key(locked.engine, 'ana')}"}

    told = locked.http.post(JOIN, headers=worker)
    assert (told.status_code, told.json()["redis_url"]) == (200, locked.settings.redis_url)
    assert told.headers["cache-control"] == "no-store"
    for path in PATHS:
        refused = locked.http.get(path, headers=worker)
        assert (refused.status_code, "this key is a worker's" in refused.text) == (403, True), path
    assert locked.http.get("/readyz", headers=worker).json() == {"ready": True}
    for headers in (user, {"Authorization": f"Bearer {KEY}"}):
        refused = locked.http.post(JOIN, headers=headers)
        assert (refused.status_code, "keys create NAME --role worker" in refused.text) == (403, True)
    assert locked.http.post(JOIN).status_code == 401
    signed_in = locked.http.post("/session", json={"key": worker["Authorization"].removeprefix("Bearer ")})
    assert (signed_in.status_code, "this key is a worker's" in signed_in.text) == (401, True)


@on_sqlite
def test_without_a_key_this_machines_workers_may_join_but_no_password_is_told(settings: Settings) -> None:
    with serving(settings) as server:
        assert server.http.post(JOIN).json()["redis_url"] == settings.redis_url
        assert server.http.post(JOIN, headers={"Host": "evil.example"}).status_code == 403
        assert server.http.post(JOIN, headers={"Origin": "http://evil.example"}).status_code == 403
    with serving(settings.model_copy(update={"worker_redis_url": "redis://:secret@127.0.0.1"})) as server:
        refused = server.http.post(JOIN)
    assert (refused.status_code, "secret" in refused.text) == (403, False)


@on_sqlite
def test_a_browser_signs_in_for_a_cookie(locked: ApiServer) -> None:
    page = locked.http.get("/workers?a=1", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 401
    assert 'value="/workers?a=1"' in page.text

    wrong = locked.http.post("/session", data={"key": "wrong", "next": "/workers"})
    assert (wrong.status_code, "no valid key" in wrong.text, wrong.cookies) == (401, True, httpx.Cookies())
    elsewhere = locked.http.post("/session", data={"key": KEY, "next": "//evil.example/"})
    assert elsewhere.headers["location"] == "/"

    right = locked.http.post("/session", data={"key": KEY, "next": "/workers?a=1"})
    assert (right.status_code, right.headers["location"]) == (303, "/workers?a=1")
    attributes = {part.strip().lower() for part in right.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert locked.http.get("/api/v1/studies").status_code == 200  # by the cookie that the client keeps


@on_sqlite
def test_a_program_may_sign_in_with_json(locked: ApiServer) -> None:
    assert locked.http.post("/session", json={"key": "wrong"}).status_code == 401
    assert locked.http.post("/session", json={"key": KEY}).status_code == 204
    assert locked.http.get("/api/v1/studies").status_code == 200


@on_sqlite
def test_without_a_key_only_names_of_this_machine_are_answered(server: ApiServer) -> None:
    def status(host: str) -> int:
        return server.http.get("/api/v1/studies", headers={"Host": host}).status_code

    assert [status(host) for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST")] == [200] * 4
    strange = ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.7", "[")
    assert [status(host) for host in strange] == [403] * 5


@on_sqlite
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_change_anything(server: ApiServer, headers: dict[str, str], status: int) -> None:
    assert server.http.post("/api/v1/studies", json=definition(), headers=headers).status_code == status


@on_sqlite
def test_the_servers_own_pages_can(server: ApiServer) -> None:
    own = {"Origin": server.url}
    assert server.http.post("/api/v1/studies", json=definition(), headers=own).status_code == 201
