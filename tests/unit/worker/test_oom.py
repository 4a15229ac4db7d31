"""What is said of a killed process, by counters of the kernel as they lie in real folders."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from worker.command import _failed
from worker.ending import outcome_of
from worker.guarded import End
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


def test_a_command_that_the_kernel_took_for_want_of_memory_is_lost_and_no_failure_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, machine=3, group=1)
    watch = OomWatch(tmp_path)

    by_hand = _failed(End(-signal.SIGKILL), "epoch 1", watch)
    write(tmp_path, machine=4, group=2)
    by_kernel = _failed(End(-signal.SIGKILL), "epoch 1", watch)
    by_itself = _failed(End(1), "epoch 1", watch)

    assert [outcome_of(error) for error in (by_hand, by_kernel, by_itself)] == ["failed", "lost", "failed"]
    assert by_hand.headline == "the command was killed by signal 9 (SIGKILL), not by the kernel's out-of-memory killer"
    assert by_kernel.headline.endswith("by the kernel's out-of-memory killer: its control group had no memory left")
    assert by_itself.headline == "the command ended with exit code 1"
