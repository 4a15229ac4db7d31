"""Children of a process: real ones, with small commands of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trialyard.processes import ChildDied, Children
from trialyard.signals import Stopped, StopSignals

ROOT = Path(__file__).parents[3]

SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]
DIES = [sys.executable, "-c", "print('no database here'); raise SystemExit(3)"]
WITH_CHILD = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(p.pid, flush=True); time.sleep(60)",
]

SAYS_WHEN_IT_ENDS = [
    sys.executable,
    "-c",
    "import signal, sys, time;"
    "signal.signal(signal.SIGTERM, lambda *_: (print(time.time_ns(), flush=True), sys.exit()));"
    "print('up', flush=True); time.sleep(60)",
]

PARENT = """
import sys, time
from pathlib import Path
from trialyard.processes import Children
with Children(Path(sys.argv[1]), grace_seconds=5) as children:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    children.start("child", [sys.executable, "-c", code], {})
    time.sleep(60)
"""


def until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    """Whether a process runs; one that is dead and not yet waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def first_line(log: Path) -> str:
    until(lambda: log.exists() and "\n" in log.read_text())
    return log.read_text().splitlines()[0]


def pids(children: Children) -> list[int]:
    return [child.process.pid for child in children._children]


@pytest.fixture
def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}


def test_children_end_with_the_context_in_the_reverse_order(tmp_path: Path, environment: dict[str, str]) -> None:
    with Children(tmp_path, grace_seconds=10) as children:
        for name in ("server", "worker"):
            children.start(name, SAYS_WHEN_IT_ENDS, environment)
            first_line(tmp_path / f"{name}.log")
        processes = pids(children)

    ended = {name: int((tmp_path / f"{name}.log").read_text().splitlines()[1]) for name in ("server", "worker")}
    assert ended["worker"] < ended["server"]
    assert not any(map(is_alive, processes))


def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path, environment: dict[str, str]) -> None:
    with Children(tmp_path, grace_seconds=0.2) as children:
        children.start("deaf", DEAF, environment)
        first_line(tmp_path / "deaf.log")
        (process,) = pids(children)

    assert not is_alive(process)


def test_what_a_child_left_behind_goes_with_it(tmp_path: Path, environment: dict[str, str]) -> None:
    with Children(tmp_path, grace_seconds=5) as children:
        children.start("worker", WITH_CHILD, environment)
        grandchild = int(first_line(tmp_path / "worker.log"))
        assert is_alive(grandchild)

    until(lambda: not is_alive(grandchild))


def test_children_end_when_the_context_ends_by_an_error(tmp_path: Path, environment: dict[str, str]) -> None:
    def fail_with_a_child() -> None:
        with Children(tmp_path, grace_seconds=5) as children:
            children.start("child", SLEEPS, environment)
            started.extend(pids(children))
            raise RuntimeError

    started: list[int] = []
    with pytest.raises(RuntimeError):
        fail_with_a_child()

    assert len(started) == 1
    assert not is_alive(started[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help exists on Linux alone")
def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, tmp_path], env={**os.environ, "PYTHONPATH": str(ROOT)})
    child = int(first_line(tmp_path / "child.log"))
    assert is_alive(child)

    parent.kill()
    parent.wait()

    until(lambda: not is_alive(child), seconds=2)


def test_a_child_has_a_session_of_its_own(tmp_path: Path, environment: dict[str, str]) -> None:
    with Children(tmp_path, grace_seconds=5) as children:
        children.start("child", SLEEPS, environment)
        (process,) = pids(children)

        assert os.getsid(process) == process != os.getsid(0)


def test_a_child_that_dies_at_its_start_is_told_with_the_end_of_its_log(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    with Children(tmp_path, grace_seconds=5) as children:
        children.start("scheduler", DIES, environment)

        with pytest.raises(
            ChildDied, match=r"the scheduler ended with exit code 3; .*scheduler\.log:\n  no database here"
        ):
            until(lambda: children.revive())


def test_a_child_that_was_steady_is_started_again(tmp_path: Path, environment: dict[str, str]) -> None:
    with Children(tmp_path, grace_seconds=5, steady_seconds=0) as children:
        children.start("scheduler", SLEEPS, environment)
        (before,) = pids(children)
        first_line(tmp_path / "scheduler.log")
        assert children.revive() == []

        os.kill(before, signal.SIGKILL)
        died: list[ChildDied] = []
        until(lambda: died.extend(children.revive()) or died)

        assert "the scheduler was killed by SIGKILL" in str(died[0])
        (after,) = pids(children)
        assert after != before
        assert is_alive(after)


def test_a_child_that_left_for_good_is_not_started_again(tmp_path: Path, environment: dict[str, str]) -> None:
    with Children(tmp_path, grace_seconds=5, steady_seconds=0) as children:
        children.start("worker", [sys.executable, "-c", "print('drained', flush=True)"], environment, may_leave=True)
        (worker,) = pids(children)
        until(lambda: not is_alive(worker))

        assert children.revive() == []
        assert pids(children) == [worker]


def test_kill_does_not_wait_for_grace(tmp_path: Path, environment: dict[str, str]) -> None:
    began = time.monotonic()
    with Children(tmp_path, grace_seconds=30) as children:
        children.start("deaf", DEAF, environment)
        first_line(tmp_path / "deaf.log")
        children.kill()

    assert time.monotonic() - began < 10


@pytest.fixture
def signals() -> Iterator[StopSignals]:
    with StopSignals() as signals:
        yield signals


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_noticed_at_the_next_check(signals: StopSignals, number: signal.Signals, exit_code: int) -> None:
    signals.check()
    signal.raise_signal(number)

    with pytest.raises(Stopped) as caught:
        signals.check()
    assert caught.value.exit_code == exit_code


def test_the_second_signal_acts_at_once(signals: StopSignals) -> None:
    acted = []
    signals.on_second = lambda: acted.append("killed")

    signal.raise_signal(signal.SIGINT)
    assert acted == []
    signal.raise_signal(signal.SIGINT)
    assert acted == ["killed"]


def test_signals_mean_what_they_meant_before_once_the_context_has_ended() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
