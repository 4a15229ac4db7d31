"""The kernel's out-of-memory killer: whom it shall choose, and whether it was at work, by its counters before and
after."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from worker.control_groups import counted, groups_of_memory

KILLS = "oom_kill"
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
        if _more(group, self._group):
            return "by the kernel's out-of-memory killer: its control group had no memory left"
        if _more(machine, self._machine):
            return "probably by the kernel's out-of-memory killer: it was at work on this machine at that time"
        if machine is None or self._machine is None:
            return "whether by the kernel's out-of-memory killer cannot be read on this machine"
        return "not by the kernel's out-of-memory killer"

    def has_killed(self) -> bool:
        """Whether the kernel has been at work since `start`, in this process's control group or elsewhere."""
        return any(map(_more, self._read(), (self._machine, self._group)))

    def _read(self) -> tuple[int | None, int | None]:
        """Kills on this machine, and in this process's control group; None where there is no count."""
        counts = (counted(group.folder / group.files.kills, KILLS) for group in groups_of_memory(self._root))
        return counted(self._root / "proc/vmstat", KILLS), next((each for each in counts if each is not None), None)


def _more(now: int | None, before: int | None) -> bool:
    return now is not None and before is not None and now > before
