"""What is said of a killed process, by counters of the kernel as they lie in real folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.oom import OomWatch


def write(root: Path, machine: int | None = None, group: int | None = None, v1: bool = False) -> None:
    (root / "proc/self").mkdir(parents=True, exist_ok=True)
    if machine is not None:
        (root / "proc/vmstat").write_text(f"nr_free_pages 7\noom_kill {machine}\n")
    if group is not None:
        (root / "proc/self/cgroup").write_text("4:memory:/box\n" if v1 else "0::/box\n")
        file = root / ("sys/fs/cgroup/memory/box/memory.oom_control" if v1 else "sys/fs/cgroup/box/memory.events")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {group}\n")


@pytest.mark.parametrize("v1", [False, True])
def test_a_kill_in_its_own_control_group_is_told(tmp_path: Path, v1: bool) -> None:
    write(tmp_path, machine=3, group=1, v1=v1)
    watch = OomWatch(tmp_path)
    write(tmp_path, machine=4, group=2, v1=v1)

    assert watch.verdict() == "by the kernel's out-of-memory killer: its control group had no memory left"


def test_a_kill_elsewhere_on_the_machine_is_only_probably_ours(tmp_path: Path) -> None:
    write(tmp_path, machine=3, group=1)
    watch = OomWatch(tmp_path)
    write(tmp_path, machine=4, group=1)

    assert watch.verdict().startswith("probably by the kernel's out-of-memory killer")
    watch.start()  # what was told is not told of the next one
    assert watch.verdict() == "not by the kernel's out-of-memory killer"


def test_without_counters_nothing_is_claimed(tmp_path: Path) -> None:
    assert OomWatch(tmp_path).verdict() == "whether by the kernel's out-of-memory killer cannot be read on this machine"
