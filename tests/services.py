"""Real servers for tests, each on a socket or port of its own and gone with its context.

A part that is not installed skips the test on a developer's machine and fails it where CI=true.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psycopg
import pytest
import redis

START_SECONDS = 20.0


class RedisServer:
    """A Redis server on a unix socket, which can be stopped and started again.

    It keeps nothing on disk, unless it shall be `durable`: then what it has acknowledged survives a power cut.
    """

    def __init__(self, folder: Path, durable: bool = False) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._folder = folder
        self._durability = ["--appendonly", "yes", "--appendfsync", "always"] if durable else []
        self._binary = find_binary("redis-server")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([self._binary, *options, *self._durability], stdout=subprocess.DEVNULL)
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            wait_for(client.ping, redis.RedisError)

    @contextmanager
    def refusing(self, why: str) -> Iterator[None]:
        """It answers what is asked, and takes nothing that is written.

        Args:
            why: "memory": it has no more; "replica": it has become one, that may only be read; "disk": the last time it
                could not save.
        """
        with redis.Redis(unix_socket_path=str(self.socket)) as client:
            _REFUSALS[why](client, self._folder)
            try:
                yield
            finally:
                for name, value in {"maxmemory": "0", "save": ""}.items():
                    client.config_set(name, value)
                client.replicaof("NO", "ONE")

    def stop(self) -> None:
        """Kill it: clients see their connections break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _fail_to_save(client: redis.Redis, folder: Path) -> None:
    in_the_way = folder / "dump.rdb"
    in_the_way.mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    wait_for(lambda: _see_refused(client), pytest.fail.Exception)
    in_the_way.rmdir()


def _see_refused(client: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError, match="MISCONF"):
        client.delete("nothing")


_REFUSALS: dict[str, Callable[[redis.Redis, Path], object]] = {
    "memory": lambda client, _folder: client.config_set("maxmemory", "1"),
    "replica": lambda client, _folder: client.replicaof("127.0.0.1", "1"),
    "disk": _fail_to_save,
}


@contextmanager
def redis_server(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server of our own, whose socket lies in the folder."""
    with RedisServer(tmp_path) as server:
        yield server.url


@contextmanager
def postgres_server(durable: bool = False) -> Iterator[str]:
    """The URL of an empty database on a PostgreSQL server of our own, which listens on a free port of 127.0.0.1.

    Unless it shall be `durable` it does without fsync: what a test cluster holds need not survive a power cut.
    """
    initdb, server = find_binary("initdb"), find_binary("postgres")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        cluster = f"{folder}/cluster"
        as_user: list[str] = []
        if os.geteuid() == 0:  # initdb and the server refuse to run as root
            shutil.chown(folder, "postgres", "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        made = [*as_user, initdb, "--pgdata", cluster, "--auth", "trust", "--username", "test", "--no-sync"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")
        durability = f"fsync={'on' if durable else 'off'}"
        settings = ["-D", cluster, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", durability]
        log = subprocess.DEVNULL
        process = subprocess.Popen([*as_user, server, *settings], stdout=log, stderr=log, cwd="/")
        try:
            url = f"postgresql://test@127.0.0.1:{port}/postgres"
            wait_for(lambda: psycopg.connect(url).close(), psycopg.OperationalError)
            yield url
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: the cluster is thrown away, and needs no last checkpoint
            process.wait()


def find_binary(name: str) -> str:
    """On PATH, or where distributions put PostgreSQL's: the newest version's."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, reversed(versions))]))
    if found is not None:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed, and CI must run every test")
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(attempt: Callable[[], object], refusal: type[Exception]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            attempt()
        except refusal:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
