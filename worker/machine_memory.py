"""The memory of this machine, or of the control groups that this process is in: how much there is, and what is left."""

from __future__ import annotations

from pathlib import Path

import psutil

from worker.control_groups import Group, counted, groups_of_memory


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may use: a container, a systemd unit or a job may have less than the machine.

    Args:
        root: where proc and sys lie.
    """
    return min(int(psutil.virtual_memory().total), *(_limit(group) for group in groups_of_memory(root)))


def memory_left(root: Path = Path("/")) -> int:
    """Bytes until the kernel has to end something: what is free, what it would let go of, and swap."""
    machine = int(psutil.virtual_memory().available) + int(psutil.swap_memory().free)
    return min(machine, *(_left(group) for group in groups_of_memory(root)))


_ANY = 2**63 - 1


def _limit(group: Group) -> int:
    limit = _number(group.folder / group.files.limit)
    return _ANY if limit is None else limit


def _left(group: Group) -> int:
    if (limit := _number(group.folder / group.files.limit)) is None:
        return _ANY
    used, spare = _number(group.folder / group.files.used), counted(group.folder / "memory.stat", group.files.spare)
    return _ANY if used is None or spare is None else limit - used + spare


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # there is no such group here, or "max"
        return None
