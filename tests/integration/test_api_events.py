"""Event streams of a served study: replay, live events, gaps, ends, and servers that stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from store.bus import events_channel, open_redis
from store.keys import Keys
from store.models import TrialRow, TrialState
from store.session import writes
from store.settings import Settings
from tests.api_server import EPOCH, ApiServer, definition, on_sqlite, serving
from tests.services import RedisServer

EVENTS = "/api/v1/studies/s/events"


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(home_dir=tmp_path, database_url=database_url, redis_url=redis_url)


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings) as server:
        server.create("s")
        yield server


@contextmanager
def stream(server: ApiServer, after: int | None = None) -> Iterator[Iterator[dict[str, str]]]:
    """The events of an open stream, as their fields."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    with server.http.stream("GET", EVENTS, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield parsed(response.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and fields:
            yield fields
            fields = {}


def take(events: Iterator[dict[str, str]], count: int) -> list[int]:
    return [int(next(events)["id"]) for _ in range(count)]


def announce(server: ApiServer) -> None:
    """What the scheduler does after a commit."""
    with open_redis(server.settings.redis_url) as client:
        client.publish(events_channel(server.study_id()), 1)


@on_sqlite
def test_the_log_of_a_study_that_is_taken_up_goes_on_behind_its_end(server: ApiServer) -> None:
    with server.scheduling():
        [handout] = server.post("s/ask", {"worker": "w"}).json()["items"]
        said = {"token": handout["token"], "state": "complete", "metrics": {"val/loss": 0.5}}
        server.post("s/trials/0/tell", said)
        assert server.http.patch("/api/v1/studies/s", json={"budget": {"trials": 1}}).status_code == 200
        with stream(server) as events:
            [*_, last] = iter(lambda: next(events), {"event": "end", "data": "{}"})
        assert (json.loads(last["data"])["state"], server.get("s")["state"]) == ("COMPLETE", "COMPLETE")
        assert server.http.get(EVENTS, headers={"Last-Event-ID": last["id"]}).status_code == 204

        assert server.http.patch("/api/v1/studies/s", json={"budget": {"trials": 2}}).status_code == 200

        with stream(server, after=int(last["id"])) as events:
            first = next(events)
            assert (first["event"], json.loads(first["data"])["state"]) == ("study", "RUNNING")
            assert int(first["id"]) == int(last["id"]) + 1


def test_a_stream_begins_with_the_first_event_and_goes_on_live(server: ApiServer) -> None:
    server.add_events(3)
    with stream(server) as events:
        first = next(events)
        assert (first["id"], first["event"]) == ("1", "study")
        body = json.loads(first["data"])
        assert (body["state"], body["at"][-1]) == ("RUNNING", "Z")
        assert take(events, 3) == [2, 3, 4]

        server.add_events(2)
        announce(server)
        assert take(events, 2) == [5, 6]


@on_sqlite
def test_news_arrive_at_once_and_not_at_the_next_look(server: ApiServer) -> None:
    with stream(server, after=1) as events:
        time.sleep(0.5)  # the stream is idle now, and would look again after 15 s
        begun = time.monotonic()
        server.post("s/pause").raise_for_status()
        event = next(events)

    assert json.loads(event["data"])["state"] == "PAUSED"
    assert time.monotonic() - begun < 2


@on_sqlite
def test_a_stream_ends_when_its_key_is_revoked(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.keyring.FRESH_SECONDS", 0.0)
    with serving(settings) as server:
        server.create("s")
        with writes(server.engine).begin() as session:
            key = Keys(session).create("reader", EPOCH)
        with server.http.stream("GET", EVENTS, headers={"Authorization": f"Bearer {key}"}) as response:
            events = parsed(response.iter_lines())
            assert take(events, 1) == [1]
            with writes(server.engine).begin() as session:
                Keys(session).revoke("reader", EPOCH)
            server.add_events(1)
            announce(server)
            assert next(events, None) is None


def test_a_stream_goes_on_behind_the_last_event_that_arrived(server: ApiServer) -> None:
    server.add_events(1200)  # more than one page of the log
    with stream(server, after=7) as events:
        assert take(events, 1194) == list(range(8, 1202))
    with server.http.stream("GET", EVENTS, params={"last_event_id": 1199}) as response:
        assert take(parsed(response.iter_lines()), 2) == [1200, 1201]
    # What a browser sends when it connects again counts more than the address it was once given.
    again = {"Last-Event-ID": "1200"}
    with server.http.stream("GET", EVENTS, params={"last_event_id": 5}, headers=again) as response:
        assert take(parsed(response.iter_lines()), 1) == [1201]


@on_sqlite
def test_events_that_were_never_announced_come_with_the_next_announcement(server: ApiServer) -> None:
    with stream(server, after=1) as events:
        time.sleep(0.3)
        server.add_events(5)
        server.add_events(1)
        announce(server)
        assert take(events, 6) == [2, 3, 4, 5, 6, 7]


@on_sqlite
def test_a_number_of_an_earlier_study_of_this_name_begins_anew(server: ApiServer) -> None:
    with stream(server, after=5000) as events:
        assert take(events, 1) == [1]


@on_sqlite
def test_several_streams_get_everything_each(server: ApiServer) -> None:
    with stream(server) as one, stream(server, after=1) as two, stream(server) as three:
        server.add_events(4)
        announce(server)
        assert [take(one, 5), take(two, 4), take(three, 5)] == [[1, 2, 3, 4, 5], [2, 3, 4, 5], [1, 2, 3, 4, 5]]


def test_the_stream_of_an_ended_study_ends_when_its_last_trial_is_settled(server: ApiServer) -> None:
    server.add_trials([TrialState.RUNNING])
    with stream(server) as events:
        server.post("s/cancel").raise_for_status()
        assert take(events, 2) == [1, 2]
        with writes(server.engine).begin() as session:
            session.execute(update(TrialRow).values(state="CANCELLED", ended_at=EPOCH))
        server.add_events(1)
        announce(server)
        assert take(events, 1) == [3]
        end = next(events)
        assert (end["event"], "id" in end) == ("end", False)
        assert list(events) == []

    assert server.http.get(EVENTS, headers={"Last-Event-ID": "3"}).status_code == 204


@on_sqlite
def test_a_stream_ends_when_its_study_is_deleted(server: ApiServer) -> None:
    server.post("s/pause").raise_for_status()
    with stream(server, after=2) as events:
        time.sleep(0.3)
        server.http.delete("/api/v1/studies/s").raise_for_status()
        assert [event["event"] for event in events] == ["end"]

    assert server.http.get(EVENTS).status_code == 404


@on_sqlite
def test_streams_and_writes_survive_a_redis_that_goes_and_comes_back(settings: Settings, tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as redis,
        serving(settings.model_copy(update={"redis_url": redis.url})) as server,
    ):
        server.create("s")
        with stream(server) as events:
            assert take(events, 1) == [1]
            redis.stop()

            begun = time.monotonic()
            assert server.http.post("/api/v1/studies", json=definition("t")).status_code == 201
            assert server.post("s/pause").status_code == 200
            assert time.monotonic() - begun < 2
            assert take(events, 1) == [2]  # by looking at the database every two seconds
            assert time.monotonic() - begun < 6

            answers = [server.http.get("/api/v1/workers"), server.http.get("/readyz")]
            assert [answer.status_code for answer in answers] == [503, 503]
            assert answers[0].json()["detail"].startswith("Redis does not answer")
            assert answers[1].json()["database"] == "ok"

            redis.start()
            server.post("s/resume").raise_for_status()
            assert take(events, 1) == [3]
        assert server.http.get("/readyz").status_code == 200


@on_sqlite
def test_a_server_with_an_open_stream_stops_within_three_seconds(settings: Settings) -> None:
    environment = os.environ | {
        "TRIALYARD_HOME_DIR": str(settings.home_dir),
        "TRIALYARD_DATABASE_URL": settings.database,
        "TRIALYARD_REDIS_URL": settings.redis_url,
    }
    with serving(settings) as port_finder:
        port = httpx.URL(port_finder.url).port
    program = "import sys; from api.main import serve; from store.settings import Settings; sys.exit(serve(Settings()))"
    process = subprocess.Popen([sys.executable, "-c", program], env=environment | {"TRIALYARD_PORT": str(port)})
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            wait_for(http)
            http.post("/api/v1/studies", json=definition()).raise_for_status()
            with http.stream("GET", EVENTS) as response:
                assert take(parsed(response.iter_lines()), 1) == [1]
                begun = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
                assert time.monotonic() - begun < 3
    finally:
        process.kill()
        process.wait()


def wait_for(http: httpx.Client) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            http.get("/healthz").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not start")
