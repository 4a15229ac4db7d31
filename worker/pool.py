"""All slots of one machine: a supervisor that keeps a process alive for each, and takes them down in good order."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import structlog

from store.errors import SettingsError
from store.settings import Settings
from worker.gpu import Gpu, choose, list_gpus
from worker.log import configure
from worker.objectives_file import read_objectives

FIRST_PAUSE_SECONDS = 0.5  # before a slot that died is started again; doubled with every further death
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0  # a slot that lived this long begins with the first pause again
SECRETS = {"api_key", "database_url"}  # no part of a worker's business

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a slot runs: on one GPU, or (without) on a share of the cores."""

    label: str
    threads: int
    gpu: Gpu | None = None

    @property
    def device(self) -> str:
        return f"{self.gpu.name} {self.gpu.uuid}" if self.gpu else "cpu"


@dataclass
class _Slot:
    """A place and the process that serves it now, or is to serve it from `start_at` on."""

    place: Place
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS


class Pool:
    """The slots of a machine. `run` keeps them until SIGTERM or SIGINT."""

    def __init__(
        self,
        settings: Settings,
        *,
        pool: str,
        cpu_slots: int | None = None,
        gpus: str = "all",
        slots_per_gpu: int = 1,
        name: str | None = None,
    ) -> None:
        """
        Args:
            pool: which pool's trials to serve.
            cpu_slots: how many slots without a GPU; if left out one for each core where no GPU is served, else none.
            gpus: "all", "none", or indices such as "0,2"; every slot sees one GPU and nothing of the others.
            slots_per_gpu: how many slots share one GPU.
            name: what workers' names begin with; the host's name if left out.

        Raises:
            SettingsError: there is no such GPU, nothing to serve with, or the objectives' file is wrong.
        """
        if settings.objectives_file is not None:
            read_objectives(settings.objectives_file)
        served = choose(list_gpus(), gpus) if gpus != "none" else []
        if cpu_slots is None:
            cpu_slots = 0 if served else _cores()
        places = places_for(served, cpu_slots, slots_per_gpu)
        if not places:
            raise SettingsError("a worker needs at least one slot; give --cpu-slots, or --gpus where there are some")
        self._settings = settings
        self._pool = pool
        self._prefix = name or socket.gethostname()
        self._slots = [_Slot(place) for place in places]

    def run(self) -> int:
        """Serve until asked to end, then wait for the slots: 0 if all of them left by themselves, else 1.

        On SIGTERM or SIGINT the trials that run give themselves back; what is left after `grace_seconds`, or at a
        second signal, is killed. To be called by the main thread.
        """
        configure(sys.stderr)
        with _Signals() as signals:
            while not signals.stop:
                self._start_due()
                signals.wait(self._next_start())
                self._note_deaths()
            log.info("leaving", slots=len(self._slots))
            return self._stop(signals)

    def _start_due(self) -> None:
        for slot in self._slots:
            if slot.process is None and slot.start_at <= time.monotonic():
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        slot.name = f"{self._prefix}-{slot.place.label}-{secrets.token_hex(3)}"
        options = ["--name", slot.name, "--pool", self._pool, "--device", slot.place.device]
        if slot.place.gpu is not None:
            options.append("--gpu")
        # -P: never a package that happens to be called `store` in the current folder.
        command = [sys.executable, "-P", "-m", "worker.serve", "--parent", str(os.getpid()), *options]
        environment = _environment(self._settings, slot.place)
        slot.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603 - our own command
        slot.started_at = time.monotonic()
        log.info("slot started", worker=slot.name, device=slot.place.device, pid=slot.process.pid)

    def _next_start(self) -> float | None:
        """Seconds until a slot is due; None if all are running."""
        due = [slot.start_at for slot in self._slots if slot.process is None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _note_deaths(self) -> None:
        for slot in self._slots:
            if slot.process is None or (code := slot.process.poll()) is None:
                continue
            if time.monotonic() - slot.started_at > STEADY_SECONDS:
                slot.pause = FIRST_PAUSE_SECONDS
            log.error("a slot died; starting another", worker=slot.name, code=code, in_seconds=slot.pause)
            slot.process, slot.start_at = None, time.monotonic() + slot.pause
            slot.pause = min(2 * slot.pause, LONGEST_PAUSE_SECONDS)

    def _stop(self, signals: _Signals) -> int:
        processes = [slot.process for slot in self._slots if slot.process is not None]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self._settings.grace_seconds
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if signals.asked > 1:
                break
            signals.wait(deadline - time.monotonic())
        for process in processes:
            process.kill()
        return 0 if all(process.wait() == 0 for process in processes) else 1


def places_for(gpus: Sequence[Gpu], cpu_slots: int, slots_per_gpu: int) -> list[Place]:
    """A place for each slot; the cores are shared out evenly."""
    count = len(gpus) * slots_per_gpu + cpu_slots
    threads = max(1, _cores() // max(1, count))
    on_gpus = [Place(gpu.label, threads, gpu) for gpu in gpus for _ in range(slots_per_gpu)]
    return on_gpus + [Place(f"cpu{index}", threads) for index in range(cpu_slots)]


def _cores() -> int:
    """The cores that this process may use; a container's share is less than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _environment(settings: Settings, place: Place) -> dict[str, str]:
    """What a slot and its runner see: the settings as they are here, their GPU alone, their share of the cores."""
    ours = settings.model_dump(mode="json", exclude=SECRETS, exclude_none=True)
    kept: Mapping[str, str] = {key: value for key, value in os.environ.items() if not key.startswith("TRIALYARD_")}
    threads = str(place.threads)
    return {
        **kept,
        **{f"TRIALYARD_{name.upper()}": str(value) for name, value in ours.items()},
        "CUDA_VISIBLE_DEVICES": place.gpu.uuid if place.gpu else "",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")])),
    }


class _Signals:
    """Signals to the supervisor, to be waited for without missing one: the kernel writes them into a pipe."""

    def __init__(self) -> None:
        self.asked = 0

    @property
    def stop(self) -> bool:
        return self.asked > 0

    def __enter__(self) -> _Signals:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        self._handlers = [(number, signal.signal(number, self._note)) for number in numbers]
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._handlers:
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float | None) -> None:
        """Until a signal has come, a child's death among them, or the time is over."""
        ready, _, _ = select.select([self._read], [], [], seconds)
        if ready:
            os.read(self._read, 4096)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.asked += number != signal.SIGCHLD
