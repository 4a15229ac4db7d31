"""Reads metrics from printed lines in a process of its own.

An expression such as `(?P<name>\\w+): (?P<value>\\S+)` takes a minute over a line of a hundred thousand letters, and
others take for ever over forty digits. Python's `re` lets nothing else of its process run meanwhile: no time limit of
the command would be kept, and nobody could cancel its trial.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from store.errors import TrialyardError
from worker.printed import Pattern, Reading

LINE_SECONDS = 1.0  # of the processor's time, for one line
MOST_PASSED_OVER = 10  # lines


class UnreadableLines(TrialyardError):
    """The pattern cannot be held against what the command prints."""


class LineReader:
    """One pattern, and its process from the first line on. To be used by one thread at a time."""

    def __init__(self, expression: str, tell: Callable[[str], None]) -> None:
        """`tell` hears of a line that is passed over."""
        self._expression = expression
        self._tell = tell
        self._passed_over = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None

    def read(self, lines: Sequence[str]) -> Iterator[Reading]:
        """What the lines report.

        Raises:
            UnreadableLines: too many took too long, or the process was ended by somebody else.
        """
        readings = self._ask(lines)
        if readings is not None:
            yield from readings
        elif len(lines) == 1:
            self._pass_over(lines[0])
        else:
            for line in lines:
                yield from self.read([line])

    def close(self) -> None:
        self._end()

    def _ask(self, lines: Sequence[str]) -> list[Reading] | None:
        """None: one of them took too long. Raises: UnreadableLines."""
        channel = self._channel or self._start()
        try:
            channel.send_bytes(json.dumps(lines).encode())
            return [Reading(step, metrics) for step, metrics in json.loads(channel.recv_bytes())]
        except (EOFError, OSError) as error:
            code = self._end()
            if code == -signal.SIGVTALRM:
                return None
            raise UnreadableLines(f"the process that reads the command's lines ended with code {code}") from error

    def _pass_over(self, line: str) -> None:
        """Raises: UnreadableLines."""
        what = f"the pattern takes longer than {LINE_SECONDS:g} s over a line of {len(line)} characters, {line[:60]!r}"
        self._passed_over += 1
        if self._passed_over > MOST_PASSED_OVER:
            cure = "write a pattern that has to try less, as one that begins with fixed words"
            raise UnreadableLines(f"{what}, as over {MOST_PASSED_OVER} before; {cure}")
        self._tell(f"{what}, which is passed over")

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "worker.line_reader", str(theirs.fileno()), self._expression]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603
        theirs.close()
        self._channel = ours
        return ours

    def _end(self) -> int:
        """The exit code of the process; 0 if there is none."""
        if self._process is None or self._channel is None:
            return 0
        self._channel.close()  # at which it ends, in the time of a line
        code = self._process.wait()
        self._process = self._channel = None
        return code


def main() -> int:
    """Answer with the readings of the lines that come, until nobody is there to ask; SIGVTALRM ends a long search."""
    channel, pattern = Connection(int(sys.argv[1])), Pattern(sys.argv[2])
    while True:
        try:
            lines = json.loads(channel.recv_bytes())
        except EOFError:
            return 0
        channel.send_bytes(json.dumps(list(_readings(pattern, lines))).encode())


def _readings(pattern: Pattern, lines: Sequence[str]) -> Iterator[Reading]:
    for line in lines:
        signal.setitimer(signal.ITIMER_VIRTUAL, LINE_SECONDS)
        reading = pattern.read(line)
        if reading is not None:
            yield reading
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)


if __name__ == "__main__":
    sys.exit(main())
