"""Runs trainings in several processes: torchrun's elastic agent and its ranks, under a guardian.

The runner itself computes nothing then. It hears the epochs of the first rank, reports them as it would its own, and
sees to it that no process is left, whoever dies first. The processes stay from trial to trial, as the runner does.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from store.messages import Assignment
from worker.conversation import Output
from worker.desk import Desk, Failed
from worker.ending import Ending, GroupFailed
from worker.guarded import End, GuardedCommand
from worker.oom import OomWatch
from worker.reporter import Reporter
from worker.triallog import TrialLog

LOOK_SECONDS = 0.1


class Group:
    """The processes of a slot that train together; there are none before the first trial that needs them."""

    def __init__(self, shelf: Path | None, *, gpus: bool) -> None:
        """
        Args:
            shelf: the folder that the machine's slots share prepared data in.
            gpus: whether each process has a GPU, or a share of the slot's cores.
        """
        self._options = [*(["--shelf", str(shelf)] if shelf else []), *(["--gpus"] if gpus else [])]
        self._gpus = gpus
        self._processes: _Processes | None = None

    def train(self, assignment: Assignment, reporter: Reporter, should_leave: Callable[[], bool]) -> Ending:
        """Train in `assignment.ranks` processes.

        Raises:
            GroupFailed: the training failed, or a process of it died.
            StaleAttempt, NotANumber, Unavailable: from its reports.
        """
        if self._processes is not None and self._processes.ranks != assignment.ranks:
            self.stop()
        if self._processes is None:
            self._processes = _Processes(assignment.ranks, self._options, gpus=self._gpus)
        processes, desk = self._processes, self._processes.desk
        processes.log.turn(reporter.output)
        desk.begin(assignment, reporter, should_leave)
        end = processes.follow()
        if end is not None or desk.error is not None:
            self.stop()
        processes.log.turn(None)
        if desk.error is not None:
            raise desk.error
        if desk.ended is not None:
            return Ending(desk.ended.outcome, desk.ended.metrics)
        raise _failure(desk.failures, end, processes.watch)

    def stop(self) -> None:
        """End the processes, if there are some."""
        if self._processes is not None:
            self._processes.end()
            self._processes = None


class _Processes:
    """An agent and its ranks."""

    def __init__(self, ranks: int, options: Sequence[str], *, gpus: bool) -> None:
        self.ranks = ranks
        self.watch = OomWatch()
        self.log = _Log()
        self._ended: End | None = None
        self._scratch = Path(tempfile.mkdtemp(prefix="trialyard-"))
        self.desk = Desk(self._scratch / "socket")
        arguments = ["--ranks", str(ranks), "--desk", str(self._scratch / "socket"), *options]
        self._command = GuardedCommand(
            [sys.executable, "-P", "-u", "-m", "worker.launch", *arguments],
            directory=self._scratch,
            environment=_environment(ranks, self._scratch, gpus=gpus),
            stdin=Path(os.devnull),
            scratch=self._scratch,
            most_file_bytes=resource.getrlimit(resource.RLIMIT_FSIZE)[1],
        )
        self._output = Output(self._command.output, self.log, None)

    def follow(self) -> End | None:
        """See the training to its end; how the processes ended, if they did."""
        while not self.desk.wait(LOOK_SECONDS):
            if (end := self._look(0)) is not None:
                return end
        if all(failure.outcome == "diverged" for failure in self.desk.failures) or self.desk.error is not None:
            return None
        while (end := self._look(LOOK_SECONDS)) is None:
            pass  # a rank has failed, and the agent ends the others
        return end

    def end(self) -> None:
        """Kill what is left, and read the last words."""
        if self._ended is None:
            self._command.kill()
            self._look(_END_SECONDS)
        self._output.stop()
        self._command.close()
        self.desk.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _look(self, seconds: float) -> End | None:
        """The guardian says once how they ended."""
        self._ended = self._command.wait(seconds)
        return self._ended


class _Log:
    """Where what the processes print goes: to the log of the trial in hand, and between two to nobody."""

    def __init__(self) -> None:
        self._log: TrialLog | None = None
        self._turn = threading.Lock()

    def turn(self, log: TrialLog | None) -> None:
        with self._turn:
            self._log = log

    def write(self, data: bytes) -> None:
        with self._turn:
            if self._log is not None:
                self._log.write(data)


_END_SECONDS = 5.0


def _environment(ranks: int, scratch: Path, *, gpus: bool) -> dict[str, str]:
    threads = str(max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // ranks))
    shares = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    # They talk on this machine alone, and its name may lead elsewhere or nowhere.
    network = {} if gpus else {"GLOO_SOCKET_IFNAME": "lo"}
    return {**os.environ, **shares, **network, "TMPDIR": str(scratch)}


def _failure(failures: list[Failed], end: End | None, watch: OomWatch) -> GroupFailed:
    """What came first: of the ranks that die because another one has died, nobody wants to hear."""
    own = [failure for failure in failures if failure.outcome != "lost"]
    if own:
        return GroupFailed(own[0].outcome, own[0].reason)
    # The agent, which knows how each process ended, speaks last.
    reason = failures[-1].reason if failures else f"the agent of its processes {end}"
    verdict = f", {watch.verdict()}" if "SIGKILL" in reason else ""
    return GroupFailed("lost", f"{reason}{verdict}")
