"""The command line as a person uses it: real processes, found again by a mark that all their descendants inherit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

OBJECTIVES = """
[objectives]
steps = "stepping_objective:steps"
"""
STEPPING = """
import time

def steps(trial):
    for step in range(1, 21):
        time.sleep(0.05)
        if trial.report(step, {"loss": trial.parameters["x"] + 1 / step}) != "continue":
            break
"""


def stepping_study(trials: int, **sections: object) -> dict[str, object]:
    """A study of an objective of ours: twenty steps in a second, no torch."""
    document: dict[str, object] = {
        "name": "stepping",
        "objective": {"metric": "loss", "direction": "minimize"},
        "parameters": {"x": {"low": 0.0, "high": 1.0}},
        "sampler": {"name": "random", "seed": 3},
        "budget": {"trials": trials, "parallel": 2},
        "trial": {"kind": "objective", "name": "steps"},
    }
    return document | sections


def register_stepping(folder: Path) -> Path:
    """The file that names the objective of `stepping_study` to workers."""
    (folder / "stepping_objective.py").write_text(STEPPING)
    (folder / "objectives.toml").write_text(OBJECTIVES)
    return folder / "objectives.toml"


class Person:
    """Someone at a terminal in a folder of their own, with their objectives registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self._typed: list[subprocess.Popen[str]] = []
        self._mark = f"TRIALYARD_TEST_MARK={uuid.uuid4().hex}"
        objectives = register_stepping(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIALYARD_")}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "TRIALYARD_OBJECTIVES_FILE": str(objectives),
            "TRIALYARD_HOME_DIR": str(self.home),
            "TRIALYARD_WARM_RUNNERS": "false",  # most of them end before they would have trained
            **dict([self._mark.split("=")]),
        }

    def write(self, study: dict[str, object]) -> Path:
        file = self.folder / "study.yaml"
        file.write_text(yaml.safe_dump(study, sort_keys=False))
        return file

    def types(self, *command: object, start: Sequence[str] = ("-m", "trialyard")) -> subprocess.Popen[str]:
        """Start `trialyard …`, as if in a terminal's foreground."""
        process = subprocess.Popen(
            [sys.executable, "-P", *start, *map(str, command)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._typed.append(process)
        return process

    def runs(self, *command: object, timeout: float = 100) -> tuple[int, str, str]:
        """Run `trialyard …` to its end: exit code, standard output, standard error."""
        process = self.types(*command)
        output, errors = process.communicate(timeout=timeout)
        return process.returncode, output, errors

    def still_running(self) -> list[str]:
        """The command lines of all processes that anything this person typed has left behind."""
        marked = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (process / "environ").read_bytes():
                    marked.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # it ended, or is not ours
        return marked

    def cleans_up(self) -> None:
        """Kill what a failed test has left running."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self._mark.encode() in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue
        for process in self._typed:
            if process.stdout and not process.stdout.closed:
                process.communicate()  # an open pipe would be a warning in some later test


def wait_for_text(process: subprocess.Popen[str], text: str, seconds: float = 60) -> str:
    """Read a process' output up to the line that holds a text; the lines read."""
    assert process.stdout
    deadline = time.monotonic() + seconds
    lines = ""
    for line in process.stdout:
        lines += line
        if text in line:
            return lines
        assert time.monotonic() < deadline, f"{text!r} did not come within {seconds:g} s:\n{lines}"
    raise AssertionError(
        f"the process ended without {text!r}:\n{lines}{process.stderr.read() if process.stderr else ''}"
    )
