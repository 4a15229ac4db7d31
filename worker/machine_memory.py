"""The memory of this machine, or of the control group that this process is in: how much there is, and what is left."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import psutil


class _Group(NamedTuple):
    """The files of a control group's memory, and by what name it counts the files that the kernel would let go of."""

    limit: str
    used: str
    spare: str


# As a container sees its own; of version 2 and of version 1.
_GROUPS = (
    _Group("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current", "inactive_file"),
    _Group(
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may use; a container's share is less than the machine's.

    Args:
        root: where sys lies.
    """
    return min(int(psutil.virtual_memory().total), *(_limit(root, group) for group in _GROUPS))


def memory_left(root: Path = Path("/")) -> int:
    """Bytes until the kernel has to end something: what is free, what it would let go of, and swap."""
    machine = int(psutil.virtual_memory().available) + int(psutil.swap_memory().free)
    return min(machine, *(_left(root, group) for group in _GROUPS))


_ANY = 2**63 - 1


def _limit(root: Path, group: _Group) -> int:
    try:
        return int((root / group.limit).read_text())
    except (OSError, ValueError):  # not this kind of cgroup, or "max"
        return _ANY


def _left(root: Path, group: _Group) -> int:
    try:
        used = int((root / group.used).read_text())
        lines = (root / group.used).with_name("memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return _ANY
    spare = sum(int(value) for name, _, value in (line.partition(" ") for line in lines) if name == group.spare)
    return _limit(root, group) - used + spare
