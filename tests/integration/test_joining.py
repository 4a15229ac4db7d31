"""A worker that knows the server's address and a key: what it is told, and what it refuses to begin with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
import redis
from pydantic import SecretStr

from store.bus import open_redis
from store.errors import SettingsError
from store.joining import MARK_KEY
from store.keys import Keys
from store.messages import PROTOCOL
from store.models import KeyRole
from store.roster import SAID_SECONDS, SCHEDULER_KEY
from store.session import writes
from store.settings import Settings
from tests.api_server import ApiServer, serving
from tests.integration.pools import OBJECTIVES, ROOT, eventually
from tests.services import find_binary, redis_server
from trialyard.joining import check_scheduler, join
from trialyard.local import free_port

PASSWORD = "not-for-everyone"
NEWER = json.dumps(
    {"version": "9.1.0", "protocol": PROTOCOL + 1, "mark": "m", "redis_url": "redis://r", "artifact_url": "s3://a"}
    | {"lease_seconds": 8, "beat_seconds": 2}
)


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Iterator[Settings]:
    """Those of a service whose Redis listens on a port and wants a password."""
    home = tmp_path / "server"
    home.mkdir()
    shutil.copy(sqlite_template, home / "trialyard.db")
    with redis_on_a_port(home) as url:
        yield Settings(home_dir=home, redis_url=url, idle_seconds=0.05)


@pytest.fixture
def server(settings: Settings) -> Iterator[ApiServer]:
    with serving(settings) as server:
        yield server


@pytest.fixture
def worker(tmp_path: Path, server: ApiServer) -> Settings:
    """Those of a machine that knows its key and nothing else."""
    return Settings(home_dir=tmp_path / "worker", api_key=SecretStr(key_of(server)))


@contextmanager
def redis_on_a_port(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [find_binary("redis-server"), "-", "--dir", str(folder)]
    options = f'port {port}\nbind 127.0.0.1\nrequirepass {PASSWORD}\nsave ""\n'
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stdin
    process.stdin.write(options)
    process.stdin.close()
    url = f"redis://:{PASSWORD}@127.0.0.1:{port}/0"
    try:
        with open_redis(url) as client:
            eventually(lambda: is_there(client))
        yield url
    finally:
        process.kill()
        process.wait()


def is_there(client: redis.Redis) -> bool:
    with suppress(redis.RedisError):
        return bool(client.ping())
    return False


def key_of(server: ApiServer, name: str = "gpus", role: KeyRole = KeyRole.WORKER) -> str:
    with writes(server.engine).begin() as session:
        return Keys(session).create(name, datetime.now(UTC), role)


def refusal(settings: Settings, server_url: str, patience: float = 0.0) -> str:
    with pytest.raises(SettingsError) as caught:
        join(settings, server_url, lambda _text: None, patience)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


@contextmanager
def answering(*answers: tuple[int, str]) -> Iterator[str]:
    """Something that answers one request after another: a proxy, a server of another version."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, body = left.pop(0)
            self.send_response(status)
            self.send_header("Location", "https://trialyard.example.org")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def told_by(server: ApiServer, worker: Settings) -> str:
    """What the server tells a worker that joins."""
    assert worker.api_key
    key = {"Authorization": f"Bearer {worker.api_key.get_secret_value()}"}
    return httpx.post(f"{server.url}/api/v1/workers/join", headers=key).text


def test_a_worker_joins_by_the_servers_address_and_outlives_the_server(tmp_path: Path, settings: Settings) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(open_redis(settings.redis_url))
        with serving(settings) as server:
            key, ana = key_of(server), key_of(server, "ana", KeyRole.USER)
            process = stack.enter_context(started(tmp_path, server.url, key))
            server.http.headers["Authorization"] = f"Bearer {ana}"
            eventually(lambda: client.keys("trialyard:worker:*"))
            with server.scheduling():
                own = {"kind": "objective", "name": "square"}
                server.create(
                    "s", trial=own, budget={"trials": 1}, objective={"metric": "loss", "direction": "minimize"}
                )
                eventually(lambda: server.get("s")["state"] == "COMPLETE")
            assert server.http.get("/api/v1/studies/s/trials/0/logs").status_code == 200
            [slot] = slots_of(process.pid)
            command, environment = (Path(f"/proc/{slot}/{name}").read_bytes() for name in ("cmdline", "environ"))
        [worker] = client.keys("trialyard:worker:*")  # the server is gone, and the worker lives
        beat = client.hget(worker, "beat")
        eventually(lambda: client.hget(worker, "beat") != beat)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=20)[0]

    assert process.returncode == 0
    assert f"joining {server.url} (Trialyard " in told
    assert not any(secret in told for secret in (PASSWORD, key))
    assert not any(secret.encode() in command for secret in (PASSWORD, key))
    assert key.encode() not in environment  # no trial has a use for it


@contextmanager
def started(folder: Path, server_url: str, key: str) -> Iterator[subprocess.Popen[str]]:
    """`trialyard worker --server` on a machine that has been told nothing else."""
    (folder / "objectives_of_tests.py").write_text(OBJECTIVES)
    (folder / "objectives.toml").write_text('[objectives]\nsquare = "objectives_of_tests:square"\n')
    command = ["worker", "--gpus", "none", "--cpu-slots", "1", "--objectives", str(folder / "objectives.toml")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIALYARD_")}
    settings = {
        "TRIALYARD_API_KEY": key,
        "TRIALYARD_HOME_DIR": str(folder / "worker"),
        "TRIALYARD_BEAT_SECONDS": "0.1",
        "TRIALYARD_WARM_RUNNERS": "false",
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "trialyard", *command, "--server", server_url],
        env=kept | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def slots_of(supervisor: int) -> list[int]:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children if b"worker.serve" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_what_this_machine_sets_goes_before_what_the_server_says(server: ApiServer, worker: Settings) -> None:
    told: list[str] = []
    [host, port] = server.settings.redis_url.rpartition("@")[2].removesuffix("/0").split(":")
    own = f"redis://:{PASSWORD}@localhost:{port}/0"

    joined = join(worker.model_copy(update={"redis_url": own}), server.url, told.append)
    plain = join(worker, server.url, told.append)

    assert (host, joined.redis_url, plain.redis_url) == ("127.0.0.1", own, server.settings.redis_url)
    assert plain.artifacts == server.settings.artifacts
    assert plain.lease_seconds == server.settings.lease_seconds
    assert joined.home == worker.home
    assert [PASSWORD in text for text in told] == [False, False]


def test_a_redis_that_is_not_the_servers_is_no_place_to_join(
    server: ApiServer, worker: Settings, tmp_path: Path
) -> None:
    def refused(redis_url: str) -> str:
        with serving(server.settings.model_copy(update={"worker_redis_url": redis_url})) as other:
            return refusal(worker, other.url)

    (tmp_path / "own").mkdir()
    with redis_server(tmp_path / "own") as own:  # as a machine has that runs `trialyard up` too
        assert "a Redis answers, but another one than the server's" in refused(own)
        with open_redis(own) as client:
            client.set(MARK_KEY, "of another service")
        assert "a Redis answers, but another one than the server's" in refused(own)
        mine = refusal(worker.model_copy(update={"redis_url": own}), server.url)
    assert mine.startswith("TRIALYARD_REDIS_URL of this machine is unix:")
    assert "a socket of the server's machine alone" in refused("unix:///nowhere/redis.sock")
    assert "TRIALYARD_REDIS_URL=redis://:PASSWORD@HOST:6379/0" in refused("unix:///nowhere/redis.sock")
    loopback = refused(f"redis://:{PASSWORD}@localhost:{free_port()}/0")
    assert "which is this machine here" in loopback
    assert "TRIALYARD_WORKER_REDIS_URL=redis://:PASSWORD@HOST:6379/0" in loopback
    assert "Let this machine through to it" in refused(f"redis://:{PASSWORD}@no-such-host.invalid/0")
    wrong = server.settings.redis_url.replace(PASSWORD, "wrong")
    assert "invalid username-password pair" in refused(wrong)


def test_artifacts_that_this_machine_does_not_share_are_no_place_to_train_for(
    server: ApiServer, worker: Settings, tmp_path: Path
) -> None:
    with serving(server.settings.model_copy(update={"artifact_url": "file:///proc/nowhere"})) as broken:
        assert "the server cannot write its artifacts at file:///proc/nowhere" in refusal(worker, broken.url)

    def refused(folder: Path) -> str:
        return refusal(worker.model_copy(update={"artifact_url": folder.as_uri()}), server.url)

    assert "the server's artifacts are not here" in refused(tmp_path / "elsewhere")
    (tmp_path / "other/service").mkdir(parents=True)
    (tmp_path / "other/service/mark").write_text("of another service")
    assert "other artifacts than the server's are here" in refused(tmp_path / "other")

    join(worker, server.url, lambda _text: None)
    served = server.settings.home / "artifacts"
    assert [file.name for file in (served / "service").iterdir()] == ["mark"]  # the worker's probe is gone
    told = told_by(server, worker)
    served.rename(tmp_path / "mounted")  # as it is seen from a machine that has the folder elsewhere, or nowhere
    with answering((200, told), (200, told)) as url:
        why = refusal(worker, url)
        assert "the server keeps its artifacts in a folder" in why
        assert "what is trained here would be lost" in why
        here = worker.model_copy(update={"artifact_url": (tmp_path / "mounted").as_uri()})
        assert join(here, url, lambda _text: None).artifacts == here.artifacts


def test_a_key_that_is_not_a_workers_is_told_apart_from_one_that_is_not_known(
    server: ApiServer, worker: Settings
) -> None:
    ana = SecretStr(key_of(server, "ana", KeyRole.USER))
    cure = "keys create NAME --role worker"
    for key, why in ((None, "none is in"), (SecretStr("ty_wrong"), "does not know"), (ana, "is not a worker's")):
        told = refusal(worker.model_copy(update={"api_key": key}), server.url)
        assert why in told
        assert cure in told
        assert key is None or key.get_secret_value() not in told


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, NEWER, "is Trialyard 9.1.0 and this worker"),
        (200, "<html>", "answers as no Trialyard does"),
        (404, "", "is it the address of a Trialyard, and as new as this worker?"),
        (301, "", "sends elsewhere: to https://trialyard.example.org; name that one"),
        (502, "", "did not let this worker join within 0 s (502: Bad Gateway)"),
        (500, '{"detail": "it failed"}', "does not let this worker join: it failed"),
    ],
)
def test_servers_of_other_versions_and_proxies_are_told_by_what_they_answer(status: int, body: str, why: str) -> None:
    with answering((status, body)) as url:
        assert why in refusal(Settings(), url)


@pytest.mark.parametrize("url", ["trialyard.example.org", "ftp://h", "https://", "http://me:secret@h", "http://h:x"])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    told = refusal(Settings(), url)
    assert told.startswith("--server ")
    assert "secret" not in told


def test_a_server_that_is_not_there_yet_is_waited_for(server: ApiServer, worker: Settings) -> None:
    told: list[str] = []
    with answering((503, '{"detail": "Redis does not answer"}'), (200, told_by(server, worker))) as url:
        joined = join(worker, url, told.append, patience=20)

    assert joined.redis_url == server.settings.redis_url
    assert told[0] == f"{url} cannot be joined yet (503: Redis does not answer); trying again for 20 s"
    nobody = f"http://127.0.0.1:{free_port()}"
    assert refusal(worker, nobody).startswith(f"{nobody} did not let this worker join within 0 s ([Errno 111]")


def test_a_worker_that_would_not_understand_the_scheduler_is_not_started(settings: Settings) -> None:
    check_scheduler(settings.redis_url)  # none has been there
    with open_redis(settings.redis_url) as client:
        client.hset(SCHEDULER_KEY, mapping={"version": "9.1.0", "protocol": PROTOCOL})
        check_scheduler(settings.redis_url)
        client.hset(SCHEDULER_KEY, "protocol", PROTOCOL + 1)
    with pytest.raises(SettingsError, match=r"^the scheduler is Trialyard 9\.1\.0 and this worker "):
        check_scheduler(settings.redis_url)
    check_scheduler(f"redis://127.0.0.1:{free_port()}")  # away: the slots wait for it


def test_what_a_scheduler_said_that_was_stopped_for_an_upgrade_keeps_no_new_worker_away(settings: Settings) -> None:
    told: list[str] = []
    with open_redis(settings.redis_url) as client:
        client.hset(SCHEDULER_KEY, mapping={"version": "9.1.0", "protocol": PROTOCOL + 1})
        client.expire(SCHEDULER_KEY, 1)
        check_scheduler(settings.redis_url, told.append)
    assert told == ["the scheduler was Trialyard 9.1.0, whose messages differ; looking whether it is still there"]


def test_a_scheduler_of_another_version_that_speaks_again_is_there(settings: Settings) -> None:
    with open_redis(settings.redis_url) as client:
        client.hset(SCHEDULER_KEY, mapping={"version": "9.1.0", "protocol": PROTOCOL + 1})
        client.expire(SCHEDULER_KEY, 20)

        def speak_again(_: str) -> None:
            client.expire(SCHEDULER_KEY, SAID_SECONDS)

        with pytest.raises(SettingsError, match=r"^the scheduler is Trialyard 9\.1\.0 and this worker "):
            check_scheduler(settings.redis_url, speak_again)


def test_a_key_in_clear_over_a_network_is_warned_of() -> None:
    told: list[str] = []
    settings = Settings(api_key=SecretStr("ty_k"))
    with pytest.raises(SettingsError):
        join(settings, "http://no-such-host.invalid", told.append, patience=0)
    with pytest.raises(SettingsError):
        join(settings, "https://no-such-host.invalid", told.append, patience=0)

    assert [text.partition(":")[0] + ":" + text.split()[1] for text in told] == ["http:whoever"]
