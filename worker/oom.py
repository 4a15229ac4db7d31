"""The kernel's out-of-memory killer: whom it shall choose, and whether it was at work, by its counters before and
after."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

BLAME = 500  # thousandths of all memory, by which a process counts as larger than it is


def be_first_to_go(adjustment: Path = Path("/proc/self/oom_score_adj")) -> None:
    """Have the kernel choose this process, or what it starts, before a slot, a database or a Redis of the machine."""
    with suppress(OSError, ValueError):  # elsewhere than on Linux
        adjustment.write_text(str(max(BLAME, int(adjustment.read_text()))))


class OomWatch:
    """Compares the kernel's counts of out-of-memory kills with those of an earlier moment."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root`: where proc and sys lie."""
        self._root = root
        self.start()

    def start(self) -> None:
        """From now on."""
        self._machine, self._group = self._read()

    def verdict(self) -> str:
        """What is known of a process that was killed since `start`, as the end of a sentence."""
        machine, group = self._read()
        if group is not None and self._group is not None and group > self._group:
            return "by the kernel's out-of-memory killer: its control group had no memory left"
        if machine is not None and self._machine is not None:
            if machine > self._machine:
                return "probably by the kernel's out-of-memory killer: it was at work on this machine at that time"
            return "not by the kernel's out-of-memory killer"
        return "whether by the kernel's out-of-memory killer cannot be read on this machine"

    def _read(self) -> tuple[int | None, int | None]:
        """Kills on this machine, and in this process's control group; None where there is no count."""
        machine = _count(self._root / "proc/vmstat")
        return machine, next((count for path in self._groups() if (count := _count(path)) is not None), None)

    def _groups(self) -> list[Path]:
        """Where a count of our control group may lie: version 2, version 1, and as a container sees its own."""
        mount = self._root / "sys/fs/cgroup"
        try:
            lines = (self._root / "proc/self/cgroup").read_text().splitlines()
        except OSError:
            return []
        paths = []
        for _, controllers, group in (line.split(":", 2) for line in lines):
            if controllers == "":
                paths += [mount / group.lstrip("/") / "memory.events", mount / "memory.events"]
            elif "memory" in controllers.split(","):
                paths += [mount / "memory" / group.lstrip("/") / "memory.oom_control"]
        return paths


def _count(path: Path) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    counts = [int(value) for name, _, value in (line.partition(" ") for line in lines) if name == "oom_kill"]
    return counts[0] if counts else None
