"""A disk of artifacts that is full is waited for: what a trial has learned is worth more than its slot's time."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from store.artifacts import Artifacts, LocalFolder
from store.errors import TrialyardError

PATIENCE_SECONDS = 1800.0
LOOK_SECONDS = 2.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a quota, a limit of the process

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class NoRoom(TrialyardError):
    """The disk of the artifacts was full, and nobody made room for as long as could be waited."""


class PatientFolder(LocalFolder):
    """A folder of a local store whose writes wait for room."""

    def write(self, name: str, data: bytes) -> None:
        when_there_is_room(self.path, lambda: super(PatientFolder, self).write(name, data))

    def upload(self, name: str, source: Path) -> None:
        when_there_is_room(self.path, lambda: super(PatientFolder, self).upload(name, source))


def patient_artifacts(url: str) -> Artifacts:
    return Artifacts(url, local=PatientFolder)


def when_there_is_room(folder: Path, write: Callable[[], Result]) -> Result:
    """Write into a folder, as soon as its disk has room.

    Raises:
        NoRoom: nobody made any.
    """
    until: float | None = None
    while True:
        try:
            return write()
        except OSError as error:
            if error.errno not in FULL:
                raise
            if until is None:
                until = time.monotonic() + PATIENCE_SECONDS
                log.warning("the disk of the artifacts is full; waiting for room", folder=str(folder))
            if time.monotonic() >= until:
                raise NoRoom(f"the disk of the artifacts is full: there was no room for {folder}") from error
        time.sleep(LOOK_SECONDS)
