"""Trials of `kind: objective`: Python functions and commands that the operator of a worker registered by name.

A function is called in the runner, and may lie in a module beside `objectives.toml`; a command has its own process.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from search.definition import Definition
from store.artifacts import Artifacts, Folder
from store.errors import Problem, TrialyardError
from store.messages import Assignment, DecisionName, Metrics
from trialyard.report import Decision
from worker.checkpoints import Checkpoints, discard
from worker.command import Command
from worker.command import preflight as preflight_command
from worker.ending import Ending, Outcome
from worker.objectives_file import CommandObjective, read_objectives
from worker.reporter import Reporter, Watch

Objective = Callable[["ObjectiveTrial"], Mapping[str, float] | None]

_OUTCOMES: dict[DecisionName, Outcome] = {"prune": "pruned", "pause": "paused"}


class ObjectiveFailed(TrialyardError):
    """A registered objective cannot be called, or did not return what it must."""


class ObjectiveTrial:
    """What an objective is called with.

    Attributes:
        parameters: the trial's parameters by name.
        options: the study's `trial.options`.
        folder: where it may keep files (`write`, `read`, `names`, `delete`).
        checkpoint_dir: what an attempt writes below it, the one that goes on from there finds again.
        last_reported: each metric as it was reported last, by an earlier attempt too; they count where it returns None.
        outcome: how it ends if it returns now, by what it was told last.
    """

    def __init__(
        self,
        assignment: Assignment,
        folder: Folder,
        reporter: Reporter,
        should_leave: Callable[[], bool],
        checkpoints: Callable[[], Checkpoints] | None = None,
    ) -> None:
        self.parameters = assignment.parameters
        self.options: dict[str, Any] = assignment.trial.get("options", {})
        self.folder = folder
        self.last_reported: Metrics = dict(assignment.reported)
        self.outcome: Outcome = "finished"
        self._reporter = reporter
        self._watch = Watch({assignment.metric, *assignment.watched}, reporter.log)
        self._should_leave = should_leave
        self._checkpoints = checkpoints

    @cached_property
    def checkpoint_dir(self) -> Path:
        if self._checkpoints is None:
            raise ObjectiveFailed("a command has its own folder, TRIALYARD_CHECKPOINT_DIR")
        checkpoints = self._checkpoints()
        checkpoints.fetch()
        return checkpoints.path

    def report(self, step: int, metrics: Mapping[str, float]) -> Decision:
        """Report the metrics of a step, and hear whether to go on.

        Returns:
            As `trialyard.report` does, "continue", or else a word on which the objective should return, for which
            `.stop` is true: "prune" (the trial is not worth more), "stop" (what it has counts as its result), "pause"
            (it will be called again later, perhaps elsewhere).
        """
        return Decision(self.tell(step, metrics))

    def tell(self, step: int, metrics: Mapping[str, float]) -> DecisionName:
        """The same, as the worker itself speaks."""
        reported = self.finite(metrics, f"at step {step}")
        self.last_reported = self.last_reported | reported
        decision = self._reporter.report(step, reported)
        if decision == "continue" and self._should_leave():
            self.outcome = "returned"
            return "pause"
        self.outcome = _OUTCOMES.get(decision, "finished")
        return decision

    def finite(self, metrics: Mapping[str, float], where: str) -> Metrics:
        """Metrics as they count. Raises: NotANumber: one that the search looks at is not finite."""
        return self._watch.finite(metrics, where)


class Objectives:
    """The registered objectives of this worker."""

    def __init__(self, file: Path | None, artifacts: Artifacts, leave_seconds: float) -> None:
        """
        Args:
            leave_seconds: how long a command may take to end when the worker leaves, at most.

        Raises:
            SettingsError: the file is not what it must be.
        """
        self._artifacts = artifacts
        self._leave_seconds = leave_seconds
        self._entries = {} if file is None else read_objectives(file)
        if file is not None:
            sys.path.append(str(file.absolute().parent))

    def run(self, assignment: Assignment, reporter: Reporter, should_leave: Callable[[], bool]) -> Ending:
        """Call the function, or run the command.

        Raises:
            ObjectiveFailed: it is not registered here, or did not return the study's metric.
            CommandFailed: the command did not come to a result.
        """
        entry = self._entry(assignment.trial["name"])
        for spent in assignment.membership.spent if assignment.membership else ():
            discard(self._artifacts.attempt(assignment.attempt._replace(attempt=spent)))
        folder = self._artifacts.attempt(assignment.attempt)
        checkpoints_in = partial(Checkpoints, folder, self._earlier(assignment))
        if isinstance(entry, CommandObjective):
            trial = ObjectiveTrial(assignment, folder, reporter, should_leave)
            command = Command(entry, assignment, trial, should_leave, self._leave_seconds)
            return command.run(checkpoints_in, reporter.output)
        with ExitStack() as stack:

            @cache
            def checkpoints() -> Checkpoints:
                """For the few functions that want them: on a busy disk a folder takes as long as all else we do."""
                scratch = tempfile.TemporaryDirectory(prefix="trialyard-", ignore_cleanup_errors=True)
                return checkpoints_in(Path(stack.enter_context(scratch)))

            trial = ObjectiveTrial(assignment, folder, reporter, should_leave, checkpoints)
            ending = self._call(entry, assignment, trial)
            if "checkpoint_dir" in vars(trial):
                checkpoints().keep()
            return ending

    def _earlier(self, assignment: Assignment) -> list[Folder]:
        """Where checkpoints may lie that an attempt goes on from, the first first."""
        keys = [assignment.attempt._replace(attempt=attempt) for attempt in assignment.resumable]
        copies = assignment.membership.copies if assignment.membership else None
        return [self._artifacts.attempt(key) for key in (*keys, *([copies] if copies else []))]

    def _call(self, entry: str, assignment: Assignment, trial: ObjectiveTrial) -> Ending:
        name = assignment.trial["name"]
        metrics = _metrics(name, _load(name, entry)(trial), trial)
        if trial.outcome == "finished" and assignment.metric not in metrics:
            named = ", ".join(sorted(metrics)) or "nothing"
            raise ObjectiveFailed(
                f"objective {name!r} must return (or report) the study's metric {assignment.metric!r}; it gave {named}"
            )
        return Ending(trial.outcome, metrics)

    def preflight(self, definition: Definition, _origins: object = None) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Whether the objective can be called here with the study's parameters: problems, and no facts."""
        name = definition.trial["name"]
        try:
            entry = self._entry(name)
            if isinstance(entry, CommandObjective):
                parameters = {name: parameter.document() for name, parameter in definition.parameters.items()}
                return [problem.as_dict() for problem in preflight_command(name, entry, parameters)], {}
            _load(name, entry)
        except ObjectiveFailed as error:
            return [Problem("trial.name", str(error), self._registered).as_dict()], {}
        return [], {}

    @property
    def _registered(self) -> str:
        if self._entries:
            return f"registered on this worker are: {', '.join(sorted(self._entries))}"
        return "no objective is registered on this worker; start it with --objectives objectives.toml"

    def _entry(self, name: str) -> str | CommandObjective:
        entry = self._entries.get(name)
        if entry is None:
            raise ObjectiveFailed(f"there is no objective {name!r} on this worker")
        return entry


def _load(name: str, path: str) -> Objective:
    module, _, function = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # the operator's module may raise anything
        raise ObjectiveFailed(f"objective {name!r} ({path}) cannot be imported: {error}") from error
    if not callable(found):
        raise ObjectiveFailed(f"objective {name!r} ({path}) is no function")
    objective: Objective = found
    return objective


def _metrics(name: str, returned: object, trial: ObjectiveTrial) -> Metrics:
    if returned is None:
        return trial.last_reported
    if not isinstance(returned, Mapping):
        raise ObjectiveFailed(
            f"objective {name!r} returned {returned!r:.80}; it must return its metrics by name, as in {{'loss': 0.1}}"
        )
    return trial.last_reported | trial.finite(returned, "at the end")
