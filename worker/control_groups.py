"""The control groups that this process is in, by which the kernel bounds and counts memory: Linux, versions 1 and 2."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple


class Files(NamedTuple):
    """How one version names what a group has on its memory."""

    root: str  # the folder of the group that holds all others
    limit: str
    used: str
    spare: str  # the line of memory.stat with what the kernel would let go of
    kills: str  # the file with a line oom_kill


V2 = Files("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file", "memory.events")
V1 = Files(
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
    "memory.oom_control",
)


class Group(NamedTuple):
    folder: Path  # which may not be there
    files: Files


def groups_of_memory(root: Path = Path("/")) -> list[Group]:
    """This process's own group and those around it, from the inside out, each of which may have a limit. A container
    sees its own as the outermost, whatever proc says.

    Args:
        root: where proc and sys lie.
    """
    paths = _paths(root)
    found = []
    for files in (V2, V1):
        own = paths.get(files, PurePosixPath("/"))
        found += [Group(root / files.root / path.relative_to("/"), files) for path in (own, *own.parents)]
    return found


def counted(file: Path, name: str) -> int | None:
    """The number in a line such as `oom_kill 3`; None where there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    counts = [int(value) for each, _, value in (line.partition(" ") for line in lines) if each == name]
    return counts[0] if counts else None


def _paths(root: Path) -> dict[Files, PurePosixPath]:
    """Its own groups as proc has them: in lines such as `4:memory:/job_7/step_0`, in version 2 `0::/job_7`."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        controllers, _, path = line.partition(":")[2].partition(":")
        files = V1 if "memory" in controllers.split(",") else None if controllers else V2
        if files and path.startswith("/") and ".." not in path.split("/"):
            found[files] = PurePosixPath(path)
    return found
