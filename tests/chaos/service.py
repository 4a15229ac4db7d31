"""The whole service as processes of the real command line, every one of which may be killed and is started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from store.migrate import upgrade
from tests.acceptance.system import descendants
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Postgres, Redis
from tests.services import free_port

ROOT = Path(__file__).parent.parent.parent
LEASE_SECONDS = 3.0
SETTINGS = {
    "TRIALYARD_BEAT_SECONDS": "0.5",
    "TRIALYARD_LEASE_SECONDS": str(LEASE_SECONDS),
    "TRIALYARD_SCHEDULER_LEASE_SECONDS": "2",
    "TRIALYARD_IDLE_SECONDS": "0.3",
    "TRIALYARD_GRACE_SECONDS": "4",
    "TRIALYARD_WARM_RUNNERS": "false",
    "TRIALYARD_PULL_SECONDS": "2",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
}

OBJECTIVE = '''
import fcntl
import math
import os
import sys
import time
from pathlib import Path

STEPS = 4


def bowl(trial):
    """A known function, reported in four steps. Says so if another process is at work on this slot."""
    place = sys.argv[sys.argv.index("--name") + 1].rpartition("-")[0]
    with open(Path(__file__).parent / f"{place}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            (Path(__file__).parent / "two-on-one-slot").open("a").write(f"{place} {os.getpid()}\\\\n")
        x, y = trial.parameters["x"], trial.parameters["y"]
        loss = (x - 0.3) ** 2 + (y - 0.7) ** 2
        for step in range(STEPS):
            print(f"step {step}")
            if trial.report(step, {"loss": loss + 1 / (step + 1)}) != "continue":
                return None
            time.sleep(float(os.environ["CHAOS_STEP_SECONDS"]))
        return {"loss": loss}
'''.replace("\\\\n", "\\n")


@dataclass
class Service:
    """`parts` are the processes by name; what has died is started again by `revive`."""

    folder: Path
    redis: Redis
    database_url: str
    proxies: dict[str, Proxy]
    step_seconds: float
    postgres: Postgres | None = None
    port: int = field(default_factory=free_port)
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)

    def start(self, name: str, *command: str) -> None:
        self.commands[name] = list(command)
        self._launch(name)

    def revive(self) -> list[str]:
        """The names of those that had died."""
        dead = [name for name, process in self.parts.items() if process.poll() is not None]
        for name in dead:
            self._launch(name)
        return dead

    def slots(self) -> list[int]:
        return [pid for pid, command in self._below_workers() if "worker.serve" in command]

    def runners(self) -> list[int]:
        return [pid for pid, command in self._below_workers() if "worker.runner" in command]

    def stop(self) -> None:
        for process in self.parts.values():
            for pid in [process.pid, *descendants(process.pid)]:
                _send(pid, signal.SIGCONT)
            process.terminate()
        for process in self.parts.values():
            try:
                process.wait(8)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _below_workers(self) -> Iterator[tuple[int, str]]:
        for name, process in self.parts.items():
            if name.startswith("worker"):
                yield from descendants(process.pid).items()

    def _launch(self, name: str) -> None:
        environment = os.environ | SETTINGS
        environment |= {
            "TRIALYARD_HOME_DIR": str(self.folder / "home"),
            "TRIALYARD_DATABASE_URL": self.database_url,
            "TRIALYARD_REDIS_URL": self.proxies[name].url,
            "TRIALYARD_OBJECTIVES_FILE": str(self.folder / "objectives.toml"),
            "CHAOS_STEP_SECONDS": str(self.step_seconds),
            "PYTHONPATH": os.pathsep.join([str(self.folder), str(ROOT)]),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self.parts[name] = subprocess.Popen(
                [sys.executable, "-m", "trialyard", *self.commands[name]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@contextmanager
def running_service(folder: Path, step_seconds: float, on_postgres: bool, whole: bool, slots: int) -> Iterator[Service]:
    """Redis, a database, schedulers and workers.

    Args:
        whole: with a standby scheduler, a second machine of workers and the API.
        slots: of each machine.
    """
    (folder / "objective_of_chaos.py").write_text(OBJECTIVE)
    (folder / "objectives.toml").write_text('[objectives]\nbowl = "objective_of_chaos:bowl"\n')
    names = ["scheduler-a", "worker-a"] + (["scheduler-b", "worker-b", "server"] if whole else [])
    redis = Redis(folder)
    postgres = Postgres(folder) if on_postgres else None
    with ExitStack() as stack:
        servers: list[Redis | Postgres] = [redis, postgres] if postgres else [redis]
        for server in servers:
            server.start()
            stack.callback(server.kill)
        database_url = postgres.url if postgres else f"sqlite:///{folder / 'trialyard.db'}"
        upgrade(database_url)
        proxies = {name: stack.enter_context(Proxy(("127.0.0.1", redis.port))) for name in names}
        service = Service(folder, redis, database_url, proxies, step_seconds, postgres)
        stack.callback(service.stop)
        for name in names:
            kind, _, letter = name.partition("-")
            worker = ["--gpus", "none", "--cpu-slots", str(slots), "--name", f"machine-{letter}"]
            options = {"worker": worker, "server": ["--port", str(service.port)]}
            service.start(name, {"server": "serve"}.get(kind, kind), *options.get(kind, []))
        yield service


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
