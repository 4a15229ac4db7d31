"""The whole service as its operator starts it: every part a process of the real command line, on 127.0.0.1."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from trialyard.client import Client
from trialyard.errors import ApiError, Unreachable
from trialyard.resources import Study, Trial

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def eventually(what: str, look: Callable[[], T | None], seconds: float = 30.0) -> T:
    """The first result of `look` that is neither None nor False, within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


class System:
    """Server, schedulers and workers over one database and one Redis."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, **settings: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._environment = os.environ | {
            "TRIALYARD_HOME_DIR": str(folder),
            "TRIALYARD_DATABASE_URL": database_url,
            "TRIALYARD_REDIS_URL": redis_url,
            "TRIALYARD_WARM_RUNNERS": "false",
            "PYTHONUNBUFFERED": "1",
        }
        self._environment |= {f"TRIALYARD_{name.upper()}": value for name, value in settings.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.client.close()
        for log in sorted(self.folder.glob("*.log")):
            print(f"--- {log.name}\n{log.read_text()[-4000:]}")  # noqa: T201 - pytest shows it beside a failure

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start `trialyard <command>`; its output goes to a log that a failing test shows."""
        log = self.folder / f"{len(self._processes)}-{command[0]}.log"
        with log.open("wb") as output:
            arguments = [sys.executable, "-m", "trialyard", *command]
            process = subprocess.Popen(
                arguments, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        process = self.start("serve", "--port", str(self.port))
        eventually("the server answers", self._answers)
        return process

    def scheduler(self) -> subprocess.Popen[bytes]:
        return self.start("scheduler")

    def worker(self, slots: int = 2) -> subprocess.Popen[bytes]:
        """By default with as many slots as the test machine has cores: one thread each, which nobody waits for."""
        return self.start("worker", "--gpus", "none", "--cpu-slots", str(slots))

    def study(self, name: str) -> Study:
        return self.client.study(name)

    def trial(self, study: str, number: int = 0) -> Trial | None:
        try:
            return self.client.trial(study, number)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def ended(self, name: str, seconds: float) -> Study:
        """The study once it is over."""
        over = ("COMPLETE", "FAILED", "CANCELLED")
        return eventually(
            f"study {name} ends", lambda: found if (found := self.study(name)).state in over else None, seconds
        )

    def _answers(self) -> bool:
        try:
            list(self.client.studies())
        except Unreachable:
            return False
        return True


def digits(name: str, trials: int, epochs: int, **sections: Any) -> dict[str, Any]:
    """A study that trains small networks on scikit-learn's digits."""
    document = {
        "name": name,
        "objective": {"metric": "val/accuracy", "direction": "maximize"},
        "parameters": {"optimizer.lr": {"low": 1e-3, "high": 1e-2, "log": True}},
        "sampler": {"name": "random", "seed": 1},
        "budget": {"trials": trials, "parallel": 2},
        "trial": {
            "kind": "train",
            "data": {"source": "sklearn:digits"},
            "model": {"name": "mlp", "hidden": [64]},
            "epochs": epochs,
            "batch_size": 64,
        },
    }
    return document | sections


def descendants(process: int) -> dict[int, str]:
    """All processes below a process, by number, with their command lines."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(entry.name))
    below: list[int] = []
    todo = [process]
    while todo:
        children = parents.get(todo.pop(), [])
        below += children
        todo += children
    return {pid: _command_line(pid) for pid in below}


def alive(processes: Iterable[int]) -> list[int]:
    """Those that still run; a zombie does not."""
    return [pid for pid in processes if _state(pid) not in ("", "Z")]


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""


def _state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
