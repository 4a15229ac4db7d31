"""The whole service on this machine, as processes of its own: Redis, the API with its page, the scheduler, workers."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

import trialyard
from api.keyring import check_exposure
from store.embedded_redis import embedded_redis
from store.migrate import upgrade
from store.session import connect
from store.settings import Settings
from trialyard.errors import CommandError
from trialyard.processes import Children
from trialyard.signals import StopSignals

START_SECONDS = 60.0
LEEWAY_SECONDS = 3.0  # the supervisor of the workers waits for `grace_seconds` itself


@dataclass(frozen=True)
class LocalService:
    """A running service. `check` is to be called several times a second."""

    server_url: str
    settings: Settings
    _children: Children
    _signals: StopSignals
    _say: Callable[[str], None]

    def check(self) -> None:
        """Start parts again that have died, and say so.

        Raises:
            Stopped: a person or the system asked us to end.
            ChildDied: a part does not stay alive.
        """
        self._signals.check()
        for death in self._children.revive():
            self._say(f"{death}\nIt was started again.")


@contextmanager
def local_service(
    settings: Settings, worker: Sequence[str], signals: StopSignals, say: Callable[[str], None]
) -> Iterator[LocalService]:
    """Start everything, and stop it when the context ends: first the workers, which give their trials back.

    Args:
        settings: where it lives and listens; without `redis_url` a Redis of our own is started.
        worker: the arguments of `trialyard worker`; none means no workers.
        say: tells a person what happened meanwhile.

    Raises:
        CommandError: it cannot start here, and why; or a signal came.
        SettingsError: the settings cannot work.
    """
    server_url = f"http://{_reachable(settings.host)}:{settings.port}"
    with ExitStack() as stack:
        stack.enter_context(_held(settings.home, server_url))
        _refuse_busy_port(settings.host, settings.port)
        redis_url = settings.redis_url or stack.enter_context(embedded_redis(settings.home))
        signals.check()
        _prepare_database(settings)
        signals.check()
        children = stack.enter_context(Children(settings.home / "logs", settings.grace_seconds + LEEWAY_SECONDS))
        signals.on_second = children.kill
        service = LocalService(server_url, settings, children, signals, say)
        environment = _environment(settings, redis_url)
        children.start("server", _command("serve"), environment)
        children.start("scheduler", _command("scheduler"), environment)
        if worker:
            children.start("worker", _command("worker", *worker), environment, may_leave=True)
        _wait_until_it_serves(service)
        yield service


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def _held(home: Path, server_url: str) -> Iterator[None]:
    """The home is ours: one service a home. Raises: CommandError: another process has it."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{home} cannot be made: {error.strerror}; choose another --home") from error
    with (home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise CommandError(
                f"Trialyard is already running on {home} ({holder}); send studies to it with `trialyard submit`, "
                "or use another --home"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, page at {server_url}\n")
        lock.flush()
        yield


def _refuse_busy_port(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise CommandError(
            f"cannot listen on {host}:{port} ({error.strerror}); choose another address with --host and --port"
        ) from error


def _prepare_database(settings: Settings) -> None:
    """Bring it up to date. Raises: SettingsError: others than this machine could reach the API without a key."""
    upgrade(settings.database)
    engine = connect(settings.database)
    try:
        check_exposure(settings, engine)
    finally:
        engine.dispose()


def _environment(settings: Settings, redis_url: str) -> dict[str, str]:
    """The environment of our processes: that of this one, with the settings as we have resolved them."""
    resolved = {"home_dir": settings.home, "database_url": settings.database, "artifact_url": settings.artifacts}
    values = settings.model_dump(exclude_none=True) | resolved | {"redis_url": redis_url}
    if settings.api_key:
        values["api_key"] = settings.api_key.get_secret_value()
    return {
        **os.environ,
        **{f"TRIALYARD_{name.upper()}": str(value) for name, value in values.items()},
        "PYTHONUNBUFFERED": "1",
        # The same code as ours, and never a package that happens to be called `api` in the current folder (see -P).
        "PYTHONPATH": os.pathsep.join(filter(None, [_code_folder(), os.environ.get("PYTHONPATH")])),
    }


def _code_folder() -> str:
    return str(Path(trialyard.__file__).parent.parent)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "trialyard", *arguments]


def _wait_until_it_serves(service: LocalService) -> None:
    deadline = time.monotonic() + START_SECONDS
    # One for all looks: each would load the certificates of all authorities, on a core that the server needs to start.
    with httpx.Client(timeout=2) as http:
        while time.monotonic() < deadline:
            service.check()
            with contextlib.suppress(httpx.TransportError):
                if http.get(f"{service.server_url}/healthz").is_success:
                    return
            time.sleep(0.05)
    raise CommandError(
        f"the server did not answer within {START_SECONDS:g} s; its log is {service.settings.home}/logs/server.log"
    )


def _reachable(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - compared with, not listened on
    return everywhere.get(host, f"[{host}]" if ":" in host else host)
