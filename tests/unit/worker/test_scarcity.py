"""What is done before the machine's memory runs out, and how it is known what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from worker.machine_memory import memory_bytes, memory_left
from worker.oom import be_first_to_go
from worker.scarcity import LONGEST_PAUSE_SECONDS, SETTLE_SECONDS, SHORTEST_PAUSE_SECONDS, Scarcity

MEBI = 2**20
GIBI = 2**30


@pytest.fixture
def sizes() -> Iterator[dict[int, subprocess.Popen[bytes]]]:
    """Processes that hold so many mebibytes, by these; a SIGUSR2 ends them."""
    hold = "import sys; hoard = b'x' * (int(sys.argv[1]) << 20); print(flush=True); sys.stdin.read()"
    processes = {}
    for size in (20, 150, 60):
        command = [sys.executable, "-S", "-c", hold, str(size)]
        processes[size] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for process in processes.values():
        assert process.stdout is not None
        process.stdout.readline()
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


def test_the_slot_that_uses_the_most_gives_way_when_hardly_anything_is_left(
    sizes: dict[int, subprocess.Popen[bytes]],
) -> None:
    left = [100 * MEBI + 1, 100 * MEBI - 1]  # a tenth of 1000 MiB is the reserve
    scarcity = Scarcity(lambda: [each.pid for each in sizes.values()], 1000 * MEBI, lambda: left.pop(0))

    assert scarcity.look() == SHORTEST_PAUSE_SECONDS
    assert all(each.poll() is None for each in sizes.values())
    assert scarcity.look() == SETTLE_SECONDS
    assert sizes[150].wait(10) == -signal.SIGUSR2
    assert sizes[20].poll() is sizes[60].poll() is None


def test_nobody_gives_way_where_the_memory_is_in_other_hands(sizes: dict[int, subprocess.Popen[bytes]]) -> None:
    processes = [sizes[20].pid, sizes[60].pid]

    assert Scarcity(lambda: processes, 1000 * MEBI, lambda: 0).look() == LONGEST_PAUSE_SECONDS
    assert Scarcity(list, 1000 * MEBI, lambda: 0).look() == LONGEST_PAUSE_SECONDS
    assert sizes[20].poll() is sizes[60].poll() is None


@pytest.mark.parametrize(
    ("left", "pause"),
    # Of 100 GiB one is the reserve; 8 GiB a second may go.
    [(1, 0.1), (3, 0.25), (5, 0.5), (90, 1.0)],
)
def test_the_less_is_left_the_sooner_it_is_looked_again(left: int, pause: float) -> None:
    assert Scarcity(list, 100 * GIBI, lambda: left * GIBI).look() == pytest.approx(pause)


@pytest.mark.parametrize(
    ("files", "total", "left"),
    [
        (
            {"memory.max": "1000", "memory.current": "900", "memory.stat": "anon 1\ninactive_file 300\n"},
            1000,
            400,  # 1000 - 900 + 300
        ),
        (
            {
                "memory/memory.limit_in_bytes": "2000",
                "memory/memory.usage_in_bytes": "500",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 100\n",
            },
            2000,
            1600,
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_a_container_has_what_its_control_group_has(
    tmp_path: Path, files: dict[str, str], total: int, left: int
) -> None:
    for name, content in files.items():
        _write(tmp_path / "sys/fs/cgroup" / name, content + "\n")

    assert (memory_bytes(tmp_path), memory_left(tmp_path)) == (total, left)


@pytest.mark.parametrize(
    ("groups", "own", "of_job"),
    [
        (
            "0::/system.slice/job_7/step_0\n",
            {"memory.max": "max", "memory.current": "600", "memory.stat": "inactive_file 50\n"},
            {"memory.max": "1000", "memory.current": "700", "memory.stat": "inactive_file 100\n"},
        ),
        (
            "9:cpu,cpuacct:/elsewhere\n4:memory:/system.slice/job_7/step_0\n0::/\n",
            {
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "600",
                "memory/memory.stat": "total_inactive_file 50\n",
            },
            {
                "memory/memory.limit_in_bytes": "1000",
                "memory/memory.usage_in_bytes": "700",
                "memory/memory.stat": "total_inactive_file 100\n",
            },
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_a_process_has_what_the_groups_have_that_it_is_in(
    tmp_path: Path, groups: str, own: dict[str, str], of_job: dict[str, str]
) -> None:
    """As under systemd with MemoryMax= and in a job of Slurm, which bounds the group around the process's own."""
    _write(tmp_path / "proc/self/cgroup", groups)
    for path, files in (("system.slice/job_7/step_0", own), ("system.slice/job_7", of_job)):
        for name, content in files.items():
            *above, last = name.split("/")
            _write(tmp_path.joinpath("sys/fs/cgroup", *above, path, last), content)

    assert (memory_bytes(tmp_path), memory_left(tmp_path)) == (1000, 400)  # 1000 - 700 + 100


@pytest.mark.parametrize("groups", ["0::/../../outside\n", "4:memory:/docker/0123\n0::/\n", "nonsense\n"])
def test_a_group_that_cannot_be_seen_from_here_is_that_of_the_container(tmp_path: Path, groups: str) -> None:
    _write(tmp_path / "proc/self/cgroup", groups)
    for name, content in {"max": "1000", "current": "900", "stat": "inactive_file 300"}.items():
        _write(tmp_path / f"sys/fs/cgroup/memory.{name}", content + "\n")

    assert (memory_bytes(tmp_path), memory_left(tmp_path)) == (1000, 400)


def test_without_a_limit_there_is_what_the_machine_has(tmp_path: Path) -> None:
    _write(tmp_path / "sys/fs/cgroup/memory.max", "max\n")

    assert memory_bytes(tmp_path) == psutil.virtual_memory().total
    assert 0 < memory_left(tmp_path) <= psutil.virtual_memory().total + psutil.swap_memory().total


def test_a_process_offers_itself_to_the_kernel_and_never_hides_again(tmp_path: Path) -> None:
    file = tmp_path / "oom_score_adj"
    for before, after in (("0", "500"), ("800", "800"), ("-900", "500")):
        file.write_text(f"{before}\n")
        be_first_to_go(file)
        assert file.read_text() == after
    be_first_to_go(tmp_path / "nowhere" / os.devnull)


def _write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
