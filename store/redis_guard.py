"""Runs a Redis server for as long as someone holds the other end of this process' standard input.

Started as a script on the standard library alone: `redis_guard.py LOCK_FD SERVER ARGUMENT…`. When standard input
closes, also because its holder was killed, the server is stopped; a server that dies by itself is started again. The
server inherits the locked descriptor, so that the lock is held for as long as it lives.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

STOP_SECONDS = 5.0
STEADY_SECONDS = 2.0  # a server that ends sooner after its start would do no better at a second try
PR_SET_PDEATHSIG = 1


def main(lock: int, command: list[str]) -> int:
    while True:
        began = time.monotonic()
        with subprocess.Popen(  # noqa: S603 - the command is embedded_redis.py's
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            preexec_fn=_die_with_parent if sys.platform.startswith("linux") else None,
        ) as server:
            if _input_closes_before_end_of(server):
                return _stop(server)
        if time.monotonic() - began < STEADY_SECONDS:
            return server.returncode


def _input_closes_before_end_of(server: subprocess.Popen[bytes]) -> bool:
    """Wait for either; the server says by closing its output that it has ended."""
    output = server.stdout.fileno() if server.stdout else -1
    while True:
        readable, _, _ = select.select([sys.stdin.fileno(), output], [], [])
        if sys.stdin.fileno() in readable and not os.read(sys.stdin.fileno(), 4096):
            return True
        if output in readable:
            said = os.read(output, 4096)
            if not said:
                return False
            os.write(sys.stdout.fileno(), said)


def _stop(server: subprocess.Popen[bytes]) -> int:
    server.terminate()
    try:
        return server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
