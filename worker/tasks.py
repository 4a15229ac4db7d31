"""Tasks, inside the runner: what follows a study's trials, done by the workers that hold torch and the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from store.artifacts import Artifacts, Folder
from store.errors import TrialyardError


class Returned(TrialyardError):
    """The worker has to leave, so that the task is done elsewhere; or nobody wants it any more."""


@dataclass(frozen=True)
class Workplace:
    """What a task has to hand. `folder` is the task's own, and keeps what it leaves."""

    study_id: int
    number: int
    folder: Folder
    artifacts: Artifacts
    should_leave: Callable[[], bool]
    is_wanted: Callable[[], bool]

    def check(self) -> None:
        """To be called between two steps of a long task. Raises: Returned."""
        if self.should_leave() or not self.is_wanted():
            raise Returned


class TaskKind(Protocol):
    """How the tasks of one kind are done. Done twice, as after a crash, it comes to the same.

    `keeps_log`: what it prints is kept beside what it leaves.
    """

    keeps_log: ClassVar[bool]

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """What came of it, as JSON. Raises: Returned. Anything else: the task has failed."""
