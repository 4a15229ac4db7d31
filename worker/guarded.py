"""The runner's side of a command: started under a guardian, asked to end, ended with all its processes."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from worker import guardian


class End(NamedTuple):
    """How a command ended: its exit code, or minus the signal that killed it; or why it could not be started."""

    code: int = 0
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"could not be started: {self.error}"
        if self.code < 0:
            return f"was killed by signal {-self.code} ({_name_of(-self.code)})"
        return f"ended with exit code {self.code}"


class GuardedCommand:
    """A command that runs. To be made by the process's main thread: the kernel watches the thread that starts it."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        directory: Path,
        environment: Mapping[str, str],
        stdin: Path,
        scratch: Path,
        most_file_bytes: int,
    ) -> None:
        """
        Args:
            stdin: the file that it may read as its standard input.
            scratch: a folder that is deleted when this process dies before the command.
            most_file_bytes: how large a single file of it may be.
        """
        self._channel, theirs = socket.socketpair()
        arguments = [str(theirs.fileno()), str(scratch), str(most_file_bytes), *command]
        with theirs, stdin.open("rb") as source:
            self._guardian = subprocess.Popen(  # noqa: S603 - what the operator registered
                [sys.executable, "-I", "-S", guardian.__file__, *arguments],
                cwd=directory,
                env=environment,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # who kills the runner's process group leaves it alive to do its duty
            )

    @property
    def output(self) -> int:
        """The file descriptor of what it prints, both standard output and error."""
        assert self._guardian.stdout is not None  # noqa: S101 - it is a pipe
        return self._guardian.stdout.fileno()

    def wait(self, seconds: float) -> End | None:
        """How it ended, when no process of it is left; None if it still runs after so many seconds."""
        ready, _, _ = select.select([self._channel], [], [], seconds)
        if not ready:
            self._guardian.send_signal(signal.SIGCONT)  # its command may have stopped it, and nobody would end that one
            return None
        words = self._channel.makefile("rb").readline()
        if words:
            return End(**json.loads(words))
        return End(self._guardian.wait())  # somebody ended the guardian, and the kernel the command

    def terminate(self) -> None:
        """SIGTERM to its process group."""
        self._order(b"T")

    def kill(self) -> None:
        """SIGKILL to every process that came of it."""
        self._order(b"K")

    def close(self) -> None:
        """Leave the rest to the guardian, which kills what still runs."""
        self._channel.close()
        if self._guardian.stdout is not None:
            self._guardian.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guardian.wait(_GOODBYE_SECONDS)

    def _order(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone already
            self._channel.sendall(word)


_GOODBYE_SECONDS = 5.0


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "a real-time signal"
