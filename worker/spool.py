"""What an attempt has said and the scheduler has not heard: a file of its own, which outlives every process."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from store.messages import AttemptKey, Finish, Report
from store.settings import Settings

ENDING = ".jsonl"

_LINE: TypeAdapter[Report | Finish] = TypeAdapter(Report | Finish)

log = structlog.get_logger(__name__)


def spool_folder(settings: Settings) -> Path:
    """Of this machine's slots: a home may lie on a disk that machines share."""
    return settings.home / "spool" / socket.gethostname()


class Spool:
    """Made with the first line and locked while its attempt's process lives. Append only; gone when all is delivered.

    A disk that is full or broken costs what it would have kept, and never the trial.
    """

    def __init__(self, folder: Path, attempt: AttemptKey) -> None:
        self._path = folder / f"{attempt.token}{ENDING}"
        self._file: int | None = None

    def append(self, request: Report | Finish) -> None:
        """Survives the death of this process; that of the machine after `sync`."""
        try:
            if self._file is None:
                self._file = self._open()
            os.write(self._file, request.model_dump_json().encode() + b"\n")
        except OSError as error:
            log.error("could not spool a report; it is kept in memory alone", path=str(self._path), error=str(error))

    def sync(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # told when it was written
            os.fsync(self._file)
            _sync_folder(self._path.parent)

    def discard(self) -> None:
        """All of it is delivered."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Leave what there is to whoever looks after the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return file


@contextlib.contextmanager
def left_behind(path: Path) -> Iterator[list[Report | Finish] | None]:
    """What stands in a spool whose process is gone, held so that nobody else delivers it; None if it is in use."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield _parse(path)
    finally:
        os.close(file)


def _parse(path: Path) -> list[Report | Finish]:
    """Every whole line: the last one is torn where the disk was full or the machine died while it was written."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(_LINE.validate_json(line))
        except ValidationError as error:
            log.warning("dropped an unreadable line of a spool", path=str(path), error=str(error)[:200])
    return found


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
