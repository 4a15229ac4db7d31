"""Trials of `kind: objective`: Python functions that the operator of a worker registered by name.

The file, `objectives.toml`, says what may be called; modules beside it can be imported:

    [objectives]
    rastrigin = "my_objectives:rastrigin"
"""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search.definition import Definition
from store.artifacts import Artifacts, Folder
from store.errors import Problem, SettingsError, TrialyardError
from store.messages import Assignment, DecisionName, Metrics
from worker.ending import Ending, Outcome
from worker.reporter import Reporter, finite

Objective = Callable[["ObjectiveTrial"], Mapping[str, float] | None]

_OUTCOMES: dict[DecisionName, Outcome] = {"prune": "pruned", "pause": "paused"}


class ObjectiveFailed(TrialyardError):
    """A registered objective cannot be called, or did not return what it must."""


class ObjectiveTrial:
    """What an objective is called with.

    Attributes:
        parameters: the trial's parameters by name.
        folder: where it may keep files (`write`, `read`, `names`, `delete`).
        last_reported: the metrics of its last report; they count where it returns None.
        outcome: how it ends if it returns now, by what it was told last.
    """

    def __init__(
        self, parameters: dict[str, Any], folder: Folder, reporter: Reporter, should_leave: Callable[[], bool]
    ) -> None:
        self.parameters = parameters
        self.folder = folder
        self.last_reported: Metrics = {}
        self.outcome: Outcome = "finished"
        self._reporter = reporter
        self._should_leave = should_leave

    def report(self, step: int, metrics: Mapping[str, float]) -> DecisionName:
        """Report the metrics of a step, and hear whether to go on.

        Returns:
            "continue", or else a word on which the objective should return: "prune" (the trial is not worth more),
            "stop" (what it has counts as its result), "pause" (it will be called again later, perhaps elsewhere).
        """
        self.last_reported = finite(metrics, f"at step {step}")
        decision = self._reporter.report(step, self.last_reported)
        if decision == "continue" and self._should_leave():
            self.outcome = "returned"
            return "pause"
        self.outcome = _OUTCOMES.get(decision, "finished")
        return decision


class Objectives:
    """The registered objectives of this worker."""

    def __init__(self, file: Path | None, artifacts: Artifacts) -> None:
        """Raises: SettingsError: the file is not what it must be."""
        self._artifacts = artifacts
        self._paths = {} if file is None else read_objectives(file)
        if file is not None:
            sys.path.append(str(file.absolute().parent))

    def run(self, assignment: Assignment, reporter: Reporter, should_leave: Callable[[], bool]) -> Ending:
        """Call the objective.

        Raises:
            ObjectiveFailed: it is not registered here, or did not return the study's metric.
        """
        name = assignment.trial["name"]
        objective = self._load(name)
        folder = self._artifacts.attempt(assignment.attempt)
        trial = ObjectiveTrial(assignment.parameters, folder, reporter, should_leave)
        metrics = _metrics(name, objective(trial), trial)
        if trial.outcome == "finished" and assignment.metric not in metrics:
            named = ", ".join(sorted(metrics)) or "nothing"
            raise ObjectiveFailed(
                f"objective {name!r} must return (or report) the study's metric {assignment.metric!r}; it gave {named}"
            )
        return Ending(trial.outcome, metrics)

    def preflight(self, definition: Definition) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """Whether the objective can be called here: problems, and no facts."""
        name = definition.trial["name"]
        try:
            self._load(name)
        except ObjectiveFailed as error:
            return [Problem("trial.name", str(error), self._registered).as_dict()], {}
        return [], {}

    @property
    def _registered(self) -> str:
        if self._paths:
            return f"registered on this worker are: {', '.join(sorted(self._paths))}"
        return "no objective is registered on this worker; set TRIALYARD_OBJECTIVES_FILE to an objectives.toml"

    def _load(self, name: str) -> Objective:
        path = self._paths.get(name)
        if path is None:
            raise ObjectiveFailed(f"there is no objective {name!r} on this worker")
        module, _, function = path.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except Exception as error:  # the operator's module may raise anything
            raise ObjectiveFailed(f"objective {name!r} ({path}) cannot be imported: {error}") from error
        if not callable(found):
            raise ObjectiveFailed(f"objective {name!r} ({path}) is no function")
        objective: Objective = found
        return objective


def read_objectives(file: Path) -> dict[str, str]:
    """The import paths by name. Raises: SettingsError: the file is not what it must be."""
    try:
        document = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"TRIALYARD_OBJECTIVES_FILE: {file} cannot be read: {error}") from error
    paths = document.get("objectives")
    if not isinstance(paths, dict) or not all(isinstance(path, str) and ":" in path for path in paths.values()):
        entry = 'name = "package.module:function"'
        raise SettingsError(f"TRIALYARD_OBJECTIVES_FILE: {file} must hold a table [objectives] of entries {entry}")
    return paths


def _metrics(name: str, returned: object, trial: ObjectiveTrial) -> Metrics:
    if returned is None:
        return trial.last_reported
    if not isinstance(returned, Mapping):
        raise ObjectiveFailed(
            f"objective {name!r} returned {returned!r:.80}; it must return its metrics by name, as in {{'loss': 0.1}}"
        )
    return trial.last_reported | finite(returned, "at the end")
