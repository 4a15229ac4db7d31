"""Runs a trial as a command: its own process, folder and environment, bounded in time, space and words."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import worker
from store.errors import Problem
from store.messages import Assignment, Metrics
from trialyard import report
from worker.bounds import Bounds
from worker.checkpoints import Checkpoints
from worker.code_version import commit_of
from worker.conversation import Conversation, Output, Reports
from worker.ending import CommandDiverged, CommandFailed, CommandStarved, Ending, Outcome
from worker.endpoint import Endpoint
from worker.guarded import End, GuardedCommand
from worker.line_reader import LineReader
from worker.objectives_file import CommandObjective, variable_of
from worker.oom import OomWatch
from worker.overrides import CURE, UnfitOverride, check_name, check_value
from worker.printed import final_metrics, without_torchrun
from worker.reporter import NotANumber
from worker.triallog import TrialLog

LOOK_SECONDS = 0.1
LAST_LINES = 12
LONGEST_LAST_LINES = 1500


class Trial(Reports, Protocol):
    """What the command's reports are settled with."""

    last_reported: Metrics
    outcome: Outcome


class Command:
    """One trial of a registered command."""

    def __init__(
        self,
        objective: CommandObjective,
        assignment: Assignment,
        trial: Trial,
        should_leave: Callable[[], bool],
        leave_seconds: float,
    ) -> None:
        """`leave_seconds`: how long it may take to end when the worker leaves, at most."""
        self._objective = objective
        self._assignment = assignment
        self._trial = trial
        self._should_leave = should_leave
        self._leave_seconds = leave_seconds
        self._oom = OomWatch()

    def run(self, checkpoints_in: Callable[[Path], Checkpoints], log: TrialLog) -> Ending:
        """Run it to its end, whatever that is; no process of it is left then.

        Raises:
            CommandFailed: it could not be started, failed, used too much, or did not give the study's metric.
            UnfitOverride: a parameter may be no override; the space was changed while the study ran.
            CommandStarved: the kernel ended it for want of memory.
            CommandDiverged: it gave a number that is not finite.
            StaleAttempt, Unavailable: from its reports.
        """
        log.keep_bytes = self._objective.max_log
        with tempfile.TemporaryDirectory(prefix="trialyard-", ignore_cleanup_errors=True) as name:
            scratch = Path(name)
            checkpoints = checkpoints_in(scratch)
            checkpoints.fetch()
            conversation = Conversation(self._trial, checkpoints.keep_if_due, self._objective.grace)
            folders = (checkpoints.path, scratch / "tmp")
            bounds = Bounds(self._objective, conversation, folders, self._should_leave, self._leave_seconds)
            with Endpoint(scratch / "socket", conversation) as endpoint:
                environment = self._environment(scratch, checkpoints.path) | endpoint.variables
                end, printed = self._follow(scratch, environment, conversation, bounds, log)
            conversation.end()
            checkpoints.keep()
        return self._ending(end, printed, conversation, bounds)

    def _follow(
        self, scratch: Path, environment: Mapping[str, str], conversation: Conversation, bounds: Bounds, log: TrialLog
    ) -> tuple[End, str]:
        """Start the command and see it to its end: how it ended, and what it printed last."""
        objective = self._objective
        words = objective.arguments(self._assignment.parameters, environment)
        log.write(f"$ {shlex.join(words)}\n".encode(errors="backslashreplace"))
        if commit := commit_of(objective.directory):
            _say(log, f"commit {commit}")
        try:
            command = GuardedCommand(
                words,
                directory=objective.directory,
                environment=environment,
                stdin=scratch / "parameters.json" if objective.parameters == "json" else Path(os.devnull),
                scratch=scratch,
                most_file_bytes=objective.max_disk,
            )
        except OSError as error:
            raise CommandFailed(f"the command could not be started: {error}") from error
        reader = None if objective.pattern is None else LineReader(objective.pattern, partial(_say, log))
        output = Output(command.output, log, None if reader is None else partial(conversation.hear, reader))
        try:
            while (end := command.wait(LOOK_SECONDS)) is None:
                bounds.look(command)
            bounds.settle()
        finally:
            command.kill()  # where something was raised
            output.stop()
            command.close()
            if reader is not None:
                reader.close()
        return end, output.tail

    def _environment(self, scratch: Path, checkpoints: Path) -> dict[str, str]:
        """Ours without what concerns the service alone, with what the operator and the trial add to it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRIALYARD_")}
        paths = inherited.pop("PYTHONPATH", "").split(os.pathsep)
        own = {"PYTHONPATH": os.pathsep.join(path for path in paths if path and Path(path) != _SERVICE)}
        environment = {**inherited, "PYTHONUNBUFFERED": "1", **own, **self._objective.environment}
        python_path = filter(None, [environment["PYTHONPATH"], str(_report_module(scratch))])
        (scratch / "tmp").mkdir()
        key = self._assignment.attempt
        return {
            **environment,
            **self._objective.variables(self._assignment.parameters),
            "PYTHONPATH": os.pathsep.join(python_path),
            "TMPDIR": str(scratch / "tmp"),
            "TRIALYARD_STUDY": self._assignment.study,
            "TRIALYARD_TRIAL": str(key.number),
            "TRIALYARD_ATTEMPT": str(key.attempt),
            "TRIALYARD_CHECKPOINT_DIR": str(checkpoints),
            "TRIALYARD_PARAMETERS": _written(scratch / "parameters.json", self._assignment.parameters),
            "TRIALYARD_OPTIONS": _written(scratch / "options.json", self._assignment.trial.get("options", {})),
        }

    def _ending(self, end: End, printed: str, conversation: Conversation, bounds: Bounds) -> Ending:
        if conversation.error is not None:
            raise conversation.error
        if bounds.failure is not None:
            raise CommandFailed(bounds.failure, _last_lines(printed))
        was_told = conversation.decision != "continue"
        metrics = self._trial.last_reported | (conversation.final or self._final(printed))
        if was_told and self._trial.outcome != "finished":
            return Ending(self._trial.outcome, metrics)
        if end != End(0) and not was_told:
            if bounds.has_left:
                return Ending("returned", metrics)
            if conversation.refused is not None:
                raise CommandDiverged(str(conversation.refused))
            raise _failed(end, printed, self._oom)
        if self._assignment.metric not in metrics:
            given = ", ".join(sorted(metrics)) or "nothing"
            if self._objective.pattern is not None and not self._trial.last_reported:
                given += ", and no line that it printed matches its pattern"
            raise CommandFailed(
                f"the command must report the study's metric {self._assignment.metric!r}; it reported {given}",
                _last_lines(printed),
            )
        return Ending("finished", metrics)

    def _final(self, printed: str) -> Metrics:
        try:
            return self._trial.finite(final_metrics(printed), "at the end")
        except NotANumber as error:
            raise CommandDiverged(str(error)) from error


def preflight(name: str, objective: CommandObjective, parameters: Mapping[str, Mapping[str, object]]) -> list[Problem]:
    """What a study's parameters have wrong for a command.

    Args:
        parameters: the study's entries by name.
    """
    found = []
    for wanted in objective.placeholders:
        if wanted not in parameters:
            hint = f"add it to parameters; the command of {name!r} names {', '.join(objective.placeholders)}"
            found.append(Problem("parameters", f"the objective {name!r} needs the parameter {wanted!r}", hint))
        elif "when" in parameters[wanted]:
            message = f"the objective {name!r} needs it in every trial: its command names {{{wanted}}}"
            found.append(Problem(f"parameters.{wanted}.when", message, "leave the condition out"))
    if objective.parameters == "environment":
        found += _alike(parameters)
    if objective.parameters == "overrides":
        found += _unfit(parameters, objective.placeholders)
    return found


def _alike(parameters: Mapping[str, object]) -> list[Problem]:
    first: dict[str, str] = {}
    found = []
    for name in parameters:
        other = first.setdefault(variable_of(name), name)
        if other != name:
            message = f"arrives in the same variable as {other!r}: {variable_of(name)}"
            found.append(Problem(f"parameters.{name}", message, "give one of them another name"))
    return found


def _unfit(parameters: Mapping[str, Mapping[str, Any]], placed: Collection[str]) -> Iterator[Problem]:
    for name, entry in parameters.items():
        try:
            if name not in placed:
                check_name(name)
            check_value([*entry.get("values", []), entry.get("value")])
        except UnfitOverride as error:
            yield Problem(f"parameters.{name}", str(error), CURE)


_SERVICE = Path(worker.__file__ or "").parent.parent


def _report_module(scratch: Path) -> Path:
    """A folder from which `trialyard.report` can be imported in any Python, and nothing else of ours."""
    package = scratch / "python" / "trialyard"
    package.mkdir(parents=True)
    # Where Trialyard is installed, the rest of it is found there.
    (package / "__init__.py").write_text("__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
    shutil.copy(report.__file__, package)
    return package.parent


def _written(file: Path, document: Mapping[str, object]) -> str:
    file.write_text(json.dumps(document), encoding="utf-8")
    return str(file)


def _say(log: TrialLog, words: str) -> None:
    """A line for the trial's log. A full disk loses words, and no trial."""
    with suppress(OSError):
        log.write(f"[{words}]\n".encode())


def _failed(end: End, printed: str, watch: OomWatch) -> CommandFailed:
    if end.code != -signal.SIGKILL:
        return CommandFailed(f"the command {end}", _last_lines(printed))
    kind = CommandStarved if watch.has_killed() else CommandFailed
    return kind(f"the command {end}, {watch.verdict()}", _last_lines(printed))


def _last_lines(printed: str) -> str:
    lines = [line for line in without_torchrun(printed).splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])[-LONGEST_LAST_LINES:]
