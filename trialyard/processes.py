"""Child processes that end with their parent, however it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from trialyard.errors import CommandError

_PR_SET_PDEATHSIG = 1
_TAIL_LINES = 20


class ChildDied(CommandError):
    """A part of the service ended by itself; the text shows the end of its log."""

    def __init__(self, name: str, code: int, log: Path) -> None:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        lines = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        super().__init__("\n".join([f"the {name} {how}; the end of its log {log}:", *(f"  {line}" for line in lines)]))


@dataclass(frozen=True)
class _Child:
    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    started: float
    may_leave: bool = False


class Children:
    """Processes that belong to this one. They end with the context, in the reverse order of their start.

    Each has a session of its own, so that a terminal's Ctrl-C reaches the parent alone, and is killed by the kernel
    when the parent dies without a word (Linux). To be used by the main thread: the kernel watches the thread that
    started the child.
    """

    def __init__(self, logs: Path, grace_seconds: float, steady_seconds: float = 5.0) -> None:
        """A child that lived for `steady_seconds` is started again when it dies; another would not do better."""
        self._logs = logs
        self._grace = grace_seconds
        self._steady = steady_seconds
        self._children: list[_Child] = []

    def __enter__(self) -> Self:
        self._logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self._children):
            self._stop(child)

    def start(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], may_leave: bool = False
    ) -> None:
        """Start a process whose output goes to `<logs>/<name>.log`.

        Args:
            may_leave: one that ends with 0 has left for good, as workers do that were drained.
        """
        child = _launch(name, arguments, environment, self._logs / f"{name}.log")
        self._children.append(replace(child, may_leave=may_leave))

    def revive(self) -> list[ChildDied]:
        """Start those again that have died.

        Returns:
            What died, to be told to a person.

        Raises:
            ChildDied: one of them died right after its start.
        """
        died = []
        for place, child in enumerate(self._children):
            code = child.process.poll()
            if code is None or (code == 0 and child.may_leave):
                continue
            died.append(ChildDied(child.name, code, child.log))
            if time.monotonic() < child.started + self._steady:
                raise died[-1]
            again = _launch(child.name, child.arguments, child.environment, child.log)
            self._children[place] = replace(again, may_leave=child.may_leave)
        return died

    def kill(self) -> None:
        """Kill all of them at once, without grace."""
        for child in self._children:
            _signal_group(child, signal.SIGKILL)

    def _stop(self, child: _Child) -> None:
        if child.process.poll() is None:
            child.process.terminate()
        deadline = time.monotonic() + self._grace
        while child.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        _signal_group(child, signal.SIGKILL)  # what it may have left behind, or itself if it does not listen
        child.process.wait()


def _launch(name: str, arguments: Sequence[str], environment: Mapping[str, str], path: Path) -> _Child:
    with path.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            arguments,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    return _Child(name, arguments, environment, path, process, time.monotonic())


def die_with_parent() -> Callable[[], None] | None:
    """What a child does between fork and exec so that the kernel kills it with the thread that started it."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # the parent died between the fork and the call above: nobody would ever send the signal

    return arrange


def _signal_group(child: _Child, number: signal.Signals) -> None:
    with contextlib.suppress(
        ProcessLookupError, PermissionError
    ):  # nothing of it is left; macOS says it the second way
        os.killpg(child.process.pid, number)
