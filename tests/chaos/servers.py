"""Redis and PostgreSQL on ports of their own, which are killed and started again on the same data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg
import redis

from tests.services import find_binary, free_port, wait_for


class Redis:
    """Keeps nothing: a kill is also a wipe."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen([find_binary("redis-server"), *options], stdout=subprocess.DEVNULL)
        wait_for(self._answers, redis.RedisError)

    def wipe(self) -> None:
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            client.flushall()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> None:
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            client.ping()


class Postgres:
    """Its data survive its death: fsync is on, and a start begins with the recovery of what was committed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql://test@127.0.0.1:{self.port}/postgres"
        self._folder = folder / "postgres"
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        self._folder.mkdir()
        if os.geteuid() == 0:  # initdb and the server refuse to run as root
            for parent in (self._folder, *list(self._folder.parents)[:2]):
                parent.chmod(0o755)
            shutil.chown(self._folder, "postgres", "postgres")
            self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        cluster = str(self._folder / "cluster")
        made = [*self._as_user, find_binary("initdb"), "--pgdata", cluster, "--auth", "trust", "--username", "test"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        place = ["-D", str(self._folder / "cluster"), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self._folder)]
        command = [*self._as_user, find_binary("postgres"), *place]
        with (self._folder.parent / "postgres.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        wait_for(lambda: psycopg.connect(self.url).close(), psycopg.OperationalError)

    def kill(self) -> None:
        """At once and without a checkpoint, all its processes."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
