"""What those who run the service look at."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
import redis
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import DBAPIError, InternalError, NotSupportedError, OperationalError

from api.errors import install
from store.bus import open_redis, worker_key
from store.messages import PROTOCOL
from store.models import StudyRow, TrialState
from store.queue import TrialQueue
from store.roster import SCHEDULER_KEY, crowds_key, drain_key
from store.session import connect, writes
from store.settings import Settings
from tests.api_server import ApiServer, definition, on_sqlite, serving
from tests.services import RedisServer


def test_a_server_with_all_its_parts_is_ready(server: ApiServer) -> None:
    before = server.http.get("/readyz")
    with server.scheduling():
        server.create("s")
        server.post("s/ask", {"worker": "w"}).raise_for_status()
        during = server.http.get("/readyz")

    ready = {"ready": True, "database": "ok", "redis": "ok"}
    assert (before.status_code, before.json()) == (200, ready | {"scheduler": "none"})
    assert (during.status_code, during.json()) == (200, ready | {"scheduler": "active"})


@on_sqlite
def test_a_scheduler_that_can_settle_nothing_says_why(server: ApiServer, settings: Settings) -> None:
    """The disk of a database may be full for it, and take the little that a server writes."""
    with server.scheduling(), open_redis(settings.redis_url) as client:
        server.create("s")
        server.post("s/ask", {"worker": "w"}).raise_for_status()
        client.hset(SCHEDULER_KEY, "trouble", "No space left on device")
        readiness = server.http.get("/readyz").json()

    assert (readiness["ready"], readiness["scheduler"], readiness["trouble"]) == (
        True,
        "failing",
        "No space left on device",
    )


@on_sqlite
@pytest.mark.parametrize("why", ["memory", "replica", "disk"])
def test_a_redis_that_takes_nothing_is_told_from_one_that_is_away(settings: Settings, tmp_path: Path, why: str) -> None:
    with RedisServer(tmp_path) as own, serving(settings.model_copy(update={"redis_url": own.url})) as server:
        server.create("s")
        with own.refusing(why):
            readiness = server.http.get("/readyz")
            (drained, asked) = server.http.post("/api/v1/workers/join"), server.http.get("/api/v1/workers")
        again = server.http.get("/readyz")

    assert (readiness.status_code, readiness.json()["redis"]) == (503, "takes nothing")
    assert (drained.status_code, asked.status_code, again.status_code) == (503, 200, 200)
    assert "Redis takes nothing at the moment" in drained.json()["detail"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_database_that_takes_nothing_is_told_from_one_that_is_away(server: ApiServer) -> None:
    with read_only(server.engine):
        readiness = server.http.get("/readyz")
        listed = server.http.get("/api/v1/studies")
    again = server.http.get("/readyz")

    assert (readiness.status_code, readiness.json()["database"]) == (503, "takes nothing")
    assert (listed.status_code, again.status_code) == (200, 200)


@contextmanager
def read_only(engine: Engine) -> Iterator[None]:
    """As a replica is, for those who connect to it now."""
    name = engine.url.database
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for setting in ("on", "off"):
            connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {setting}'))
            connection.execute(others, {"name": name})
            if setting == "on":
                connection.execute(text("SET default_transaction_read_only = off"))
                yield


ODD = {  # what anybody who reaches Redis may write where workers describe themselves
    "bytes": {"pool": b"\xff\xfe", "state": b"\x00"},
    "numbers": {"pool": "default", "gpus": "9" * 5000, "memory": "\u00b2", "pid": "-1", "study": "9" * 17, "done": "x"},
    "times": {"pool": "default", "started_at": "yesterday", "load": "nan", "idle_share": "inf"},
    "crowd": {"pool": "default", "crowd": "cpu", "supervisor": "odd"},
    "crowd of nobody": {"pool": "default", "crowd": "cpu"},
    "other": {"name": "somebody else"},
}


def write_odd_workers(client: redis.Redis) -> None:
    for name, fields in ODD.items():
        client.hset(worker_key(name), mapping=fields)  # type: ignore[arg-type]
    client.hset(b"trialyard:worker:\xff", mapping={"pool": "default"})
    client.set(worker_key("no hash"), "x")
    client.hset(crowds_key("odd"), mapping={"cpu": '{"study": 1, "wanted": []}', b"\xff": "[" * 5000, "gpu": "1"})
    client.publish(b"trialyard:events:\xff", "1")
    client.publish("trialyard:events:" + "9" * 5000, "1")


def test_what_is_odd_of_one_worker_hides_no_other(server: ApiServer) -> None:
    with open_redis(server.settings.redis_url) as client:
        write_odd_workers(client)
        client.hset(worker_key("w"), mapping={"pool": "default", "state": "idle"})

    page = server.http.get("/api/v1/workers")

    shown = {each["name"]: each for each in page.json()["items"]}
    assert shown.keys() == {*ODD, "\ufffd", "w"}
    assert (shown["numbers"]["gpus"], shown["numbers"]["study"], shown["times"]["started_at"]) == (0, None, None)
    assert shown["crowd"]["crowd"] is None
    assert [server.http.get(path).status_code for path in ("/workers", "/metrics", "/")] == [200] * 3
    with server.scheduling():
        server.create("s")
        assert server.post("s/ask", {"worker": "w"}).status_code == 200
        time.sleep(0.2)  # some rounds
        assert server.post("s/ask", {"worker": "w"}).status_code == 200


@pytest.mark.parametrize(
    ("kind", "reason"),
    [  # of a replica, on a new connection and on one that has read before; of SQLite
        (InternalError, "cannot execute INSERT in a read-only transaction"),
        (NotSupportedError, "cannot set transaction read-write mode during recovery"),
        (OperationalError, "attempt to write a readonly database"),
    ],
)
def test_a_database_that_can_only_be_read_is_told(kind: type[DBAPIError], reason: str) -> None:
    app = FastAPI()
    install(app)

    @app.get("/")
    def fail() -> None:
        raise kind("INSERT", {}, Exception(reason))

    answer = TestClient(app).get("/")

    assert answer.status_code == 503
    assert answer.json()["detail"].startswith("the database can only be read")


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("database or disk is full", "the disk of the database is full"),  # SQLite
        ('could not extend file "base/5/16384": No space left on device', "the disk of the database is full"),
        ("connection refused", "the database does not answer"),
    ],
)
def test_a_full_disk_is_told_from_a_database_that_is_away(reason: str, detail: str) -> None:
    app = FastAPI()
    install(app)

    @app.get("/")
    def fail() -> None:
        raise OperationalError("INSERT", {}, Exception(reason))

    answer = TestClient(app).get("/")

    assert answer.status_code == 503
    assert answer.json()["detail"].startswith(detail)


@on_sqlite
def test_a_database_without_the_schema_is_not_ready(settings: Settings, tmp_path: Path) -> None:
    bare = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'bare.db'}", "api_key": None})
    connect(bare.database).connect().close()
    with serving(bare) as server:
        assert server.http.get("/healthz").json() == {"status": "ok"}
        answer = server.http.get("/readyz")

    assert answer.status_code == 503


@on_sqlite
def test_workers_show_what_they_work_at(server: ApiServer) -> None:
    server.create("s")
    fields = {"host": "node7", "pid": 4242, "pool": "default", "device": "cuda:0", "gpus": "1", "state": "busy",
              "study": server.study_id(), "trial": 3, "attempt": 1, "beat": 17, "done": 2,
              "version": "0.1.0", "protocol": PROTOCOL}  # fmt: skip
    with open_redis(server.settings.redis_url) as client:
        client.hset(worker_key("node7-gpu-0"), mapping=fields)
        client.hset(worker_key("a-new-one"), mapping={"pool": "cpu", "study": ""})

    page = server.http.get("/api/v1/workers").json()

    assert page["next_cursor"] is None
    new, busy = page["items"]
    assert (new["name"], new["pool"], new["study"], new["gpu"], new["pid"]) == ("a-new-one", "cpu", None, False, None)
    assert (new["understands"], busy["understands"], busy["version"]) == (False, True, "0.1.0")
    expected = {"name": "node7-gpu-0", "host": "node7", "pid": 4242, "device": "cuda:0", "gpu": True, "study": "s"}
    assert busy | expected | {"trial": 3, "attempt": 1, "done": 2, "state": "busy"} == busy


@on_sqlite
def test_slots_that_are_counted_show_what_was_measured_and_why(server: ApiServer) -> None:
    server.create("s")
    picture = {"study": str(server.study_id()), "wanted": 1, "rates": [{"slots": 1, "rate": 100.0}], "why": None}
    with open_redis(server.settings.redis_url) as client:
        client.hset(worker_key("w"), mapping={"pool": "default", "supervisor": "node7/a1", "crowd": "cpu"})
        client.hset(worker_key("other"), mapping={"pool": "default", "supervisor": "node7/a1", "crowd": ""})
        client.hset(crowds_key("node7/a1"), "cpu", json.dumps(picture))

    other, counted = server.http.get("/api/v1/workers").json()["items"]

    assert counted["crowd"] == picture | {"study": "s", "device": "cpu"}
    assert other["crowd"] is None


def test_metrics_count_what_there_is(server: ApiServer) -> None:
    server.create("s")
    server.add_trials([0.5, 0.4, TrialState.RUNNING])
    with open_redis(server.settings.redis_url) as client:
        client.hset(worker_key("w"), mapping={"pool": "default", "state": "idle"})
        TrialQueue(client).enqueue(1, 0, 1, "default", False)
        TrialQueue(client).enqueue(1, 1, 1, "default", False)
        TrialQueue(client).enqueue(2, 0, 1, "big", 4)
        client.hset(worker_key("v"), mapping={"pool": "big", "state": "busy", "gpus": "1"})

    text = server.http.get("/metrics").text

    assert {
        'trialyard_studies{state="running"} 1.0',
        'trialyard_studies{state="failed"} 0.0',
        'trialyard_trials{state="complete"} 2.0',
        'trialyard_trials{state="running"} 1.0',
        'trialyard_queue_jobs{gpu="no",gpus="0",pool="default"} 2.0',
        'trialyard_queue_jobs{gpu="yes",gpus="4",pool="big"} 1.0',
        'trialyard_workers{gpu="no",gpus="0",pool="default",state="idle"} 1.0',
        'trialyard_wanted_slots{gpu="yes",gpus="1",pool="big"} 0.0',  # of which there are some
    } <= set(text.splitlines())
    assert 'trialyard_request_seconds_count{method="POST"' in text


@on_sqlite
def test_metrics_tell_how_many_slots_the_open_studies_could_use(server: ApiServer) -> None:
    own = {"kind": "objective", "name": "mine"}
    server.create("checked-first", trial=own, budget={"trials": 50, "parallel": 8})  # PREPARING: one preflight
    server.create("four-at-once", trial=own, budget={"trials": 50, "parallel": 4}, resources={"pool": "big", "gpus": 1})
    server.create("nearly-done", trial=own, budget={"trials": 3, "parallel": 8})
    server.create("not-ours")
    with writes(server.engine).begin() as session:
        running = StudyRow.name.in_(["four-at-once", "nearly-done"])
        session.execute(update(StudyRow).where(running).values(state="RUNNING"))
    server.add_trials([0.5, TrialState.RUNNING], study="nearly-done")  # 3 - 1 are left, the running one among them

    lines = server.http.get("/metrics").text.splitlines()

    wanted = {line for line in lines if line.startswith("trialyard_wanted_slots{")}
    assert wanted == {
        'trialyard_wanted_slots{gpu="no",gpus="0",pool="default"} 3.0',
        'trialyard_wanted_slots{gpu="yes",gpus="1",pool="big"} 4.0',
    }
    assert "trialyard_refused_messages_total 0.0" in lines


@on_sqlite
def test_a_study_that_no_live_worker_can_serve_says_so_at_once(server: ApiServer) -> None:
    own = {"kind": "objective", "name": "mine"}
    document = definition("large", trial=own, resources={"memory": "8GiB"})
    key = {"Idempotency-Key": "k"}

    made = server.http.post("/api/v1/studies", json=document, headers=key).json()
    with open_redis(server.settings.redis_url) as client:
        fields = {"pool": "default", "gpus": "0", "memory": 2**30, "state": "idle", "protocol": PROTOCOL}
        client.hset(worker_key("w"), mapping=fields)
        beside = server.get("large")["waiting_for"]
        client.hset(worker_key("w"), "memory", 8 * 2**30)

    assert made["waiting_for"].endswith("; no worker is live")
    assert beside.endswith("; live are 1 of the pool 'default' without a GPU (1.0GiB a slot)")
    assert server.get("large")["waiting_for"] is None
    assert server.http.post("/api/v1/studies", json=document, headers=key).json() == made
    server.create("asked-for")
    assert server.get("asked-for")["waiting_for"] is None  # its workers are not ours
    refused = server.http.post("/api/v1/studies", json=definition("odd", resources={"memory": "much"}))
    assert (refused.status_code, refused.json()["errors"][0]["path"]) == (422, "resources.memory")


@on_sqlite
def test_a_worker_or_all_of_a_machine_are_asked_to_leave(server: ApiServer) -> None:
    with open_redis(server.settings.redis_url) as client:
        for name in ("node7-gpu0", "node7-gpu1", "node8-cpu0"):
            machine = name.partition("-")[0]
            client.hset(worker_key(name), mapping={"machine": machine, "supervisor": f"{machine}/a1", "pool": "p"})

        one = server.http.post("/api/v1/workers/node7-gpu1/drain")
        assert client.exists(drain_key("node7-gpu1"), drain_key("node7/a1")) == 1
        all_of_it = server.http.post("/api/v1/workers/node7/drain")
        nobody = server.http.post("/api/v1/workers/node9/drain")

        assert (one.status_code, one.json()) == (202, {"workers": ["node7-gpu1"]})
        assert (all_of_it.status_code, all_of_it.json()) == (202, {"workers": ["node7-gpu0", "node7-gpu1"]})
        assert (nobody.status_code, client.exists(drain_key("node7/a1"), drain_key("node8/a1"))) == (404, 1)


@on_sqlite
def test_every_answer_holds_browsers_to_what_is_needed(server: ApiServer) -> None:
    for path in ("/", "/docs", "/api/v1/studies", "/nothing", "/healthz"):
        headers = server.http.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert (policy["default-src"], policy["script-src"]) == ("'none'", "'self'")
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["cache-control"] == "no-store"


@on_sqlite
def test_browsers_keep_a_file_whose_address_names_its_version_and_ask_for_the_others(server: ApiServer) -> None:
    def caching(path: str) -> str:
        return server.http.get(path).headers["cache-control"]

    [library] = {re.findall(r'"(/static/plotly[^"]+)"', server.http.get(page).text)[0] for page in ("/", "/compare")}

    assert library.endswith(f"?v={version('plotly')}")
    assert caching(library) == "max-age=31536000, immutable"
    assert (caching("/static/page.css"), caching("/static/nothing.js?v=1")) == ("no-cache", "no-cache")


@on_sqlite
def test_the_openapi_document_describes_every_operation_and_its_errors(server: ApiServer) -> None:
    document = server.http.get("/openapi.json").json()

    operations = {f"{method} {path}": each for path, all_ in document["paths"].items() for method, each in all_.items()}
    assert {"post /api/v1/studies", "get /api/v1/studies/{name}/events", "post /api/v1/studies/{name}/ask"} <= set(
        operations
    )
    for name, operation in operations.items():
        assert "application/problem+json" in operation["responses"]["4XX"]["content"], name
        assert "422" not in operation["responses"], name
    assert "ProblemDocument" in document["components"]["schemas"]
