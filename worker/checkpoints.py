"""The folder that belongs to a trial's command: what one attempt has written there, the next one finds there."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from store.artifacts import Folder, LocalFolder, RemoteFolder

NAME = "checkpoints"
INDEX = "checkpoints.json"  # the files of a remote copy that is whole; written after them
KEEP_SECONDS = 30.0  # at least so long between two copies to a remote store,
KEEP_SHARE = 10  # and so many times as long as the last one took

log = structlog.get_logger(__name__)


class Checkpoints:
    """In a local store the folder lies among the attempt's files. For a remote one it is copied there and back."""

    def __init__(self, folder: Folder, earlier: Sequence[Folder], scratch: Path) -> None:
        """
        Args:
            folder: the attempt's files.
            earlier: those of earlier attempts, newest first.
            scratch: where the folder is made for a remote store.
        """
        self.path = (folder.path if isinstance(folder, LocalFolder) else scratch) / NAME
        self._folder = folder
        self._earlier = earlier
        self._kept: dict[str, tuple[int, int]] = {}
        self._due_at = time.monotonic() + KEEP_SECONDS

    def fetch(self) -> None:
        """Make the folder, with the files of the newest attempt that has any. It appears whole or not at all."""
        partial = self.path.with_name(f".{NAME}.partial")
        for folder in self._earlier:
            shutil.rmtree(partial, ignore_errors=True)
            if _fetched(folder, partial):
                partial.rename(self.path)
                return
        self.path.mkdir(parents=True, exist_ok=True)

    def keep_if_due(self) -> None:
        """Copy what is new to a remote store, unless that was done a short time ago."""
        if time.monotonic() >= self._due_at:
            self.keep()

    def keep(self) -> None:
        """Copy what is new to a remote store. If that fails, it is tried again when it is due."""
        if not isinstance(self._folder, RemoteFolder):
            return
        started = time.monotonic()
        try:
            self._copy_to(self._folder)
        except Exception as error:  # noqa: BLE001 - stores fail in many ways; the trial may still come to its end
            log.warning("could not store a trial's folder", folder=str(self.path), error=str(error))
        took = time.monotonic() - started
        self._due_at = time.monotonic() + max(KEEP_SECONDS, KEEP_SHARE * took)

    def _copy_to(self, store: RemoteFolder) -> None:
        files = dict(_files(self.path))
        if files == self._kept:
            return
        for name, state in files.items():
            if self._kept.get(name) != state:
                store.upload(f"{NAME}/{name}", self.path / name)
        store.write(INDEX, json.dumps(sorted(files)).encode())
        for name in self._kept.keys() - files.keys():
            store.delete(f"{NAME}/{name}")
        self._kept = files


def discard(folder: Folder) -> None:
    """Delete what an attempt has left here, if nobody goes on from it any more."""
    if isinstance(folder, LocalFolder):
        shutil.rmtree(folder.path / NAME, ignore_errors=True)
        return
    with suppress(FileNotFoundError):
        names = json.loads(folder.read(INDEX))
        folder.delete(INDEX)
        for name in names:
            folder.delete(f"{NAME}/{name}")


def bytes_below(folder: Path) -> int:
    """What the files below a folder take on the disk."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # it may go while we look
                total += (Path(parent) / name).lstat().st_blocks * 512
    return total


def _fetched(folder: Folder, target: Path) -> bool:
    """Whether an attempt had a folder, which is now copied."""
    if isinstance(folder, LocalFolder):
        if not (folder.path / NAME).is_dir():
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(folder.path / NAME, target, symlinks=True, copy_function=_copy)
        return True
    try:
        names = json.loads(folder.read(INDEX))
    except FileNotFoundError:
        return False
    target.mkdir(parents=True)
    if isinstance(folder, RemoteFolder):
        for name in names:
            folder.download(f"{NAME}/{name}", target / name)
    return True


def _copy(source: str, target: str) -> None:
    with suppress(FileNotFoundError):  # an attempt that is lost to us may still be writing
        shutil.copy2(source, target)


def _files(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Every file below a folder, with what changes when it is written."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                stat = path.stat()
                yield path.relative_to(folder).as_posix(), (stat.st_size, stat.st_mtime_ns)
