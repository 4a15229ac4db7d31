"""Starts a command and answers for all that comes of it: afterwards no process of it is left, whoever died first.

    python -I -S guardian.py CHANNEL SCRATCH MOST_FILE_BYTES COMMAND…

A script of the standard library alone, so that it starts fast and in any environment. What the command leaves behind
when its parents have ended becomes a child of this process (PR_SET_CHILD_SUBREAPER), also what left its session.

Over the channel it hears `T` (ask the command to end) and `K` (end everything); so does the channel's end, which is the
death of the runner. It says once how the command ended: a line of JSON with `code`, or with `error` if it never began.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    scratch, most_file_bytes, command = sys.argv[2], int(sys.argv[3]), sys.argv[4:]
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    deaths = _open_deaths()
    pid = _start(command, most_file_bytes, channel)
    _let_go_of_its_output()
    code, is_orphan = _guard(pid, channel, deaths)
    code = _leave_nothing(pid, code)
    if is_orphan:
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            channel.sendall(json.dumps({"code": code}).encode() + b"\n")


def _open_deaths() -> int:
    """A pipe that can be read when a child has died."""
    deaths, writes = os.pipe()
    os.set_blocking(writes, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return deaths


def _start(command: list[str], most_file_bytes: int, channel: socket.socket) -> int:
    """The command's process id, which is that of its session and its process group too."""
    guardian = os.getpid()
    if pid := os.fork():
        return pid
    try:
        os.setsid()
        # Should this guardian be killed, the command's first process dies with it; others it has started may not.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == guardian:
            for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # ignored by Python, and by who inherits it
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_file_bytes, most_file_bytes))
            os.execvp(command[0], command)  # noqa: S606 - what the operator registered
    except (OSError, ValueError) as error:
        channel.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
    finally:
        os._exit(127)


def _let_go_of_its_output() -> None:
    """Whoever reads the command's output sees its end when the last process that writes it is gone."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)


def _guard(pid: int, channel: socket.socket, deaths: int) -> tuple[int | None, bool]:
    """Wait for the command's end, or the order to bring it about.

    Returns:
        Its exit code, minus the signal that killed it, None if it still runs; and whether the runner is gone.
    """
    code = None
    while code is None:
        ready, _, _ = select.select([channel.fileno(), deaths], [], [])
        if deaths in ready:
            os.read(deaths, 4096)
            code = _reap(pid)
        if channel.fileno() in ready:
            order = _hear(channel)
            if order != b"T":
                return code, order == b""
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGTERM)
    return code, False


def _hear(channel: socket.socket) -> bytes:
    try:
        return channel.recv(1)
    except OSError:
        return b""


def _leave_nothing(pid: int, code: int | None) -> int | None:
    """Kill whatever is below us until nothing is."""
    while True:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
        for process in _descendants():
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        try:
            ended, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return code
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)


def _reap(pid: int) -> int | None:
    """Collect the children that have ended; the command's exit code, if it is one of them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    below: list[int] = []
    todo = [os.getpid()]
    while todo:
        born = children.get(todo.pop(), [])
        below += born
        todo += born
    return below


def _prctl(option: int, value: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
