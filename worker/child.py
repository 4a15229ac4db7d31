"""The slot's side of its runner: a child process that holds the device, torch and the data from trial to trial."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import Pipe

import structlog

from store.queue import Errand
from worker.channel import Channel, Do, Rest, Word
from worker.oom import OomWatch

log = structlog.get_logger(__name__)


class RunnerDied(Exception):
    """The runner is gone; the text says how it ended."""


class RunnerChild:
    """At most one runner at a time, started when it is needed. To be used by the process's main thread."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """The environment is inherited: it says which GPU and how many cores are this slot's."""
        self._arguments = arguments
        self._oom = OomWatch()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None

    @property
    def pid(self) -> int:
        """Of the runner and of its process group; 0 if there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start a runner unless there is one."""
        if self._process is not None:
            return
        self._oom.start()
        ours, theirs = Pipe()
        command = [*_PYTHON, "worker.runner", "--channel", str(theirs.fileno()), "--parent", str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, *self._arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            process_group=0,  # a terminal's Ctrl-C is not for it, and what it starts can be killed with it
        )
        theirs.close()
        self._channel = Channel(ours)

    def do(self, errand: Errand) -> None:
        """Raises: RunnerDied."""
        self.start()
        try:
            self._speaker.send(Do(errand=errand))
        except OSError as error:
            raise self._bury() from error

    def listen(self, timeout: float) -> Word | None:
        """The runner's next word; None if it said nothing for `timeout` seconds. Raises: RunnerDied."""
        try:
            word = self._speaker.receive(timeout)
        except EOFError as error:
            raise self._bury() from error
        # A process that the trial forked may hold the pipe open after the runner's death.
        if word is None and self._process is not None and self._process.poll() is not None:
            raise self._bury()
        return word

    def ask_to_rest(self) -> None:
        """Have it pull no further trial. May be called from a signal handler."""
        if self._channel is not None:
            with contextlib.suppress(OSError):  # it has died, which shows elsewhere
                self._channel.send(Rest())

    def ask_to_leave(self) -> None:
        """Have the trial give itself back at its next report."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, grace_seconds: float) -> None:
        """End an idle runner."""
        if self._process is None:
            return
        self._speaker.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace_seconds)
        self._bury()

    def kill(self) -> None:
        if self._process is not None:
            _kill_group(self._process.pid)

    @property
    def _speaker(self) -> Channel:
        if self._channel is None:
            raise RunnerDied("runner was not started")
        return self._channel

    def _bury(self) -> RunnerDied:
        """Leave nothing of the runner, nor of what it started, and say how it ended."""
        if self._process is None:
            return RunnerDied("runner was not started")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)  # its own exit code, before we add a signal of ours
        _kill_group(self._process.pid)
        code = self._process.wait()
        self._speaker.close()
        self._process = self._channel = None
        if code < 0:
            verdict = f", {self._oom.verdict()}" if -code == signal.SIGKILL else ""
            return RunnerDied(f"runner killed by signal {-code} ({signal.Signals(-code).name}){verdict}")
        return RunnerDied(f"runner ended with exit code {code}")


# -P: never a package that happens to be called `store` in the current folder.
# -u: what a trial prints is in its log at once.
_PYTHON = (sys.executable, "-P", "-u", "-m")
_EXIT_SECONDS = 1.0


def _kill_group(group: int) -> None:
    with contextlib.suppress(
        ProcessLookupError, PermissionError
    ):  # nothing of it is left; macOS says it the second way
        os.killpg(group, signal.SIGKILL)
