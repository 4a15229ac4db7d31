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
from collections import Counter, defaultdict
from dataclasses import dataclass
from types import FrameType

import structlog

from store.bus import open_redis
from store.errors import SettingsError
from store.messages import Gone
from store.settings import Settings
from worker.claims import Claims
from worker.courier import Courier
from worker.crowd import Crowd
from worker.crowds import Crowds
from worker.division import Division
from worker.gpu import choose, list_gpus
from worker.log import configure
from worker.objectives_file import read_objectives
from worker.oom import OomWatch
from worker.places import Place, environment_of, most_slots
from worker.scarcity import Scarcity
from worker.serve import DRAINED
from worker.shelf import shelf_folder
from worker.spool import spool_folder

FIRST_PAUSE_SECONDS = 0.5  # before a slot that died is started again; doubled with every further death
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_MACHINE = 80  # characters; with what its slots are told apart by a database takes their names
LOOK_SECONDS = 1.0  # between two looks at slots that are being counted
STEADY_SECONDS = 60.0  # a slot that lived this long begins with the first pause again

log = structlog.get_logger(__name__)


@dataclass
class _Slot:
    """A place and the process that serves it now, or is to serve it from `start_at` on."""

    place: Place
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    started_at: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS
    is_leaving: bool = False  # we have asked it to, when its trial is done


class Pool:
    """The slots of a machine. `run` keeps them until SIGTERM or SIGINT."""

    def __init__(self, settings: Settings, pool: str, division: Division, name: str | None = None) -> None:
        """
        Args:
            pool: which pool's trials to serve.
            division: of this machine into slots.
            name: what workers' names begin with; the host's name if left out.

        Raises:
            SettingsError: there is no such GPU, another pool serves it, nothing to serve with, or the objectives' file
                is wrong.
        """
        if settings.objectives_file is not None:
            read_objectives(settings.objectives_file)
        self._claims = Claims()
        # Who says nothing of cores wants a GPU where there is one.
        least = 1 if division.cpu_slots is None else 0
        there = list_gpus() if division.gpus != "none" else []
        served = self._claims.take(choose(there, division.gpus or "all"), division.gpus or "all", least)
        self._lacks_gpus = division.gpus == "all" and not there
        places = division.places(served)
        self._settings = settings
        self._pool = pool
        self._machine = _checked(name or socket.gethostname())
        self._supervisor = f"{self._machine}/{secrets.token_hex(4)}"
        self._oom = OomWatch()
        crowds = [Crowd(place, most_slots(place), settings.crowd_seconds) for place in places if place.crowd]
        look_seconds = min(LOOK_SECONDS, settings.beat_seconds)
        self._crowds = Crowds(open_redis(settings.redis_url), self._supervisor, crowds, look_seconds)
        self._courier = Courier(open_redis(settings.redis_url), self._supervisor, spool_folder(settings))
        self._slots = [_Slot(place) for place in places]

    def run(self) -> int:
        """Serve until asked to end or drained, then wait for the slots: 0 if all of them left by themselves, else 1.

        On SIGTERM or SIGINT the trials that run give themselves back; what is left after `grace_seconds`, or at a
        second signal, is killed. To be called by the main thread.
        """
        configure(sys.stderr)
        if self._lacks_gpus:
            log.warning("no GPU was found; the processor serves, and `nvidia-smi` tells what the driver sees")
        with _Signals() as signals, shelf_folder(self._settings) as self._shelf:
            with self._courier, Scarcity(self._processes):
                while self._slots and not signals.stop:
                    self._start_due(signals)
                    signals.wait(self._next_turn())
                    self._note_deaths()
                    self._follow_crowds()
            log.info("leaving", slots=len(self._slots))
            return self._stop(signals)

    def _processes(self) -> list[int]:
        return [process.pid for slot in list(self._slots) if (process := slot.process) is not None]

    def _start_due(self, signals: _Signals) -> None:
        for slot in self._slots:
            if slot.process is None and slot.start_at <= time.monotonic() and not signals.stop:
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        slot.name = f"{self._machine}-{slot.place.label}-{secrets.token_hex(3)}"
        options = ["--name", slot.name, "--pool", self._pool, *slot.place.options]
        options += ["--machine", self._machine, "--supervisor", self._supervisor, "--shelf", str(self._shelf)]
        # -P: never a package that happens to be called `store` in the current folder.
        command = [sys.executable, "-P", "-m", "worker.serve", "--parent", str(os.getpid()), *options]
        environment = environment_of(self._settings, slot.place)
        slot.process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603 - our own command
        slot.started_at = time.monotonic()
        log.info("slot started", worker=slot.name, device=slot.place.device, pid=slot.process.pid)

    def _next_turn(self) -> float | None:
        """Seconds until a slot is due or is to be looked at; None if there is no such time."""
        due = [max(0.0, slot.start_at - time.monotonic()) for slot in self._slots if slot.process is None]
        look = self._crowds.next_look()
        return min([*due, *([] if look is None else [look])], default=None)

    def _follow_crowds(self) -> None:
        """Bring each device to the number of slots that it was found to need."""
        staying: defaultdict[str, list[_Slot]] = defaultdict(list)
        for slot in self._slots:
            if not slot.is_leaving:
                staying[slot.place.label].append(slot)
        names = {label: [slot.name for slot in slots] for label, slots in staying.items()}
        leaving = Counter(slot.place.label for slot in self._slots if slot.is_leaving)
        for crowd, wanted in self._crowds.look(names, leaving):
            there = staying[crowd.place.label]
            self._slots += [_Slot(crowd.place) for _ in range(wanted - len(there))]
            for slot in there[wanted:]:
                self._let_go(slot)

    def _let_go(self, slot: _Slot) -> None:
        """Have a slot leave when its trial is done."""
        log.info("a slot too many leaves", worker=slot.name)
        slot.is_leaving = True
        if slot.process is None:
            self._slots.remove(slot)
        else:
            slot.process.send_signal(signal.SIGUSR1)

    def _note_deaths(self) -> None:
        for slot in list(self._slots):
            if slot.process is None or (code := slot.process.poll()) is None:
                continue
            if code == DRAINED:
                log.info("a slot has left for good", worker=slot.name)
                self._slots.remove(slot)
                if not slot.is_leaving:
                    self._crowds.close(slot.place.label)
                continue
            self._courier.tell(Gone(worker=slot.name, reason=self._how(code)))
            if slot.is_leaving:  # killed before it could leave; none is to take its place
                self._slots.remove(slot)
                continue
            if time.monotonic() - slot.started_at > STEADY_SECONDS:
                slot.pause = FIRST_PAUSE_SECONDS
            log.error("a slot died; starting another", worker=slot.name, code=code, in_seconds=slot.pause)
            slot.process, slot.start_at = None, time.monotonic() + slot.pause
            slot.pause = min(2 * slot.pause, LONGEST_PAUSE_SECONDS)

    def _how(self, code: int) -> str:
        """How a slot's process ended, as the reason of what it has lost."""
        if code >= 0:
            return f"its slot's process ended with exit code {code}"
        verdict = f", {self._oom.verdict()}" if -code == signal.SIGKILL else ""
        self._oom.start()
        return f"its slot's process was killed by signal {-code} ({signal.Signals(-code).name}){verdict}"

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


def _checked(name: str) -> str:
    """Raises: SettingsError."""
    if len(name) > LONGEST_MACHINE or not name.isprintable():
        raise SettingsError(
            f"the worker's name {name[:100]!r} must have at most {LONGEST_MACHINE} printable characters; "
            "give another one with --name"
        )
    return name


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
