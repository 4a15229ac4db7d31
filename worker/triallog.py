"""What a trial prints, kept beside its checkpoints as `log.txt`, and compressed when it has ended."""

from __future__ import annotations

import gzip
import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from store.artifacts import Folder, LocalFolder
from store.logs import COMPRESSED, LOG
from worker.room import when_there_is_room

KEEP_BYTES = 2**20
LEAST_COMPRESSED = 2**14  # bytes: what is shorter takes a few blocks of the disk as it is
LOOK_SECONDS = 1.0
UPLOAD_SECONDS = 10.0

_LEVEL = 3  # of gzip: a tenth of the size at a third of the time

log = structlog.get_logger(__name__)


class LogKeeper:
    """Looks after the log that is open, from one thread for all logs of a process: to start one and to wait for its end
    took a trial as long as a report does."""

    def __init__(self) -> None:
        self._log: TrialLog | None = None
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def keep(self, log: TrialLog | None) -> None:
        """This is the log from now on, if there is one; the one before is left alone when this returns."""
        with self._turn:
            self._log = log
        if not self._thread.is_alive():
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            with self._turn:
                if self._log is not None:
                    self._log.look_after()


class TrialLog:
    """While it is open, everything that this process writes to its standard output and error goes to the log.

    The file descriptors themselves are turned, so that native code is heard too, and the words before a crash are on
    disk. In a local store the log is the file that people read while it grows; to a remote one it is copied every few
    seconds and at the end. It keeps its last `keep_bytes`, twice that while it grows.
    """

    def __init__(self, folder: Folder, keeper: LogKeeper, keep_bytes: int = KEEP_BYTES) -> None:
        self.keep_bytes = keep_bytes
        self._folder = folder
        self._keeper = keeper
        self._turn = threading.Lock()
        self._cut = 0
        self._uploaded = -1
        self._upload_at = time.monotonic() + UPLOAD_SECONDS

    def __enter__(self) -> Self:
        self._file = self._open()
        self._flush()
        self._before = [(number, os.dup(number)) for number in (1, 2)]
        for number, _ in self._before:
            os.dup2(self._file, number)
        self._keeper.keep(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        for number, before in self._before:
            os.dup2(before, number)
            os.close(before)
        self._keeper.keep(None)
        self._trim(self.keep_bytes)
        if not self._compress():
            self._upload()
        os.close(self._file)

    def write(self, data: bytes) -> None:
        """Add what somebody else printed, however much it is. For any thread, as long as the log is open."""
        while data:
            data = data[os.write(self._file, data) :]
        self._trim(2 * self.keep_bytes)

    def look_after(self) -> None:
        """What is to be done from time to time while it is open."""
        self._trim(2 * self.keep_bytes)
        if time.monotonic() >= self._upload_at:
            self._upload()
            self._upload_at = time.monotonic() + UPLOAD_SECONDS

    @property
    def _is_local(self) -> bool:
        return isinstance(self._folder, LocalFolder)

    def _open(self) -> int:
        """Append only: whoever writes, and whatever was cut meanwhile, a line goes to the end."""
        if isinstance(self._folder, LocalFolder):
            return when_there_is_room(self._folder.path, partial(_file_in, self._folder.path))
        handle, path = tempfile.mkstemp(prefix="trial-log-")
        os.close(handle)
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        Path(path).unlink()
        return file

    def _flush(self) -> None:
        """A full disk loses words, and no trial."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()

    def _trim(self, most: int) -> None:
        """Cut the beginning off if the log is longer than `most`, and say so in its first line."""
        with self._turn:
            size = os.fstat(self._file).st_size
            if size <= most:
                return
            tail = os.pread(self._file, self.keep_bytes, size - self.keep_bytes)
            tail = tail[tail.find(b"\n") + 1 :]
            self._cut += size - len(tail)
            os.ftruncate(self._file, 0)
            os.write(self._file, f"[{self._cut} bytes were cut here]\n".encode() + tail)

    def _compress(self) -> bool:
        """Whether the log is long, and is stored compressed in the place of the plain one. Of a full disk it is not."""
        if os.fstat(self._file).st_size < LEAST_COMPRESSED:
            return False
        # Not one that waits for room.
        folder = LocalFolder(self._folder.path) if isinstance(self._folder, LocalFolder) else self._folder
        try:
            with tempfile.NamedTemporaryFile(prefix="trial-log-") as target:
                with (
                    gzip.open(target, "wb", compresslevel=_LEVEL) as packed,
                    os.fdopen(os.dup(self._file), "rb") as plain,
                ):
                    plain.seek(0)
                    shutil.copyfileobj(plain, packed)
                target.flush()
                folder.upload(COMPRESSED, Path(target.name))
            folder.delete(LOG)
        except Exception as error:  # noqa: BLE001 - as below
            log.warning("could not compress a trial's log", error=str(error))
            return False
        return True

    def _upload(self) -> None:
        size = os.fstat(self._file).st_size
        if self._is_local or size == self._uploaded:
            return
        try:
            self._folder.write(LOG, os.pread(self._file, size, 0))
            self._uploaded = size
        except Exception as error:  # noqa: BLE001 - stores fail in many ways, and no log is worth a trial
            log.warning("could not store a trial's log", error=str(error))


def _file_in(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / LOG, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
