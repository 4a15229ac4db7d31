"""Prepared data sets of a machine: the first slot that needs one makes it, and all slots map the same files."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from store.settings import Settings

if TYPE_CHECKING:
    from trainer.data.prepared import Folds, Prepared

MOST_KEPT = 8  # those used last; a file that is deleted stays for who has mapped it

log = structlog.get_logger(__name__)


@contextmanager
def shelf_folder(settings: Settings) -> Iterator[Path]:
    """A folder for the slots of one supervisor, for as long as it lives; those of dead ones are cleared away."""
    shelves = settings.home / "prepared" / socket.gethostname()
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)  # of `parents` none would have this mode
    shelves.mkdir(parents=True, exist_ok=True)
    for left in shelves.glob("*.alive"):
        _clear_if_dead(left)
    alive = shelves / f"{secrets.token_hex(8)}.alive"
    folder = alive.with_suffix("")
    with alive.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            alive.unlink(missing_ok=True)


class Shelf:
    """A folder that the slots of one supervisor share, and nobody else: studies are told apart by their ids."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, study_id: int, preparation: str, make: Callable[[], Prepared | Folds]) -> Prepared | Folds:
        """The data set as it lies here. If it does not, it is made, while other slots that want it wait.

        Raises:
            TrainerError: it cannot be made.
        """
        from trainer.data.mapped import load, save

        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{study_id}-{hashlib.sha256(preparation.encode()).hexdigest()}"
        with _alone(path.with_suffix(".lock")):
            if not path.exists():
                made = make()
                try:
                    save(made, path)
                except OSError as error:
                    log.warning("prepared data are kept in memory, and not shared", error=str(error))
                    return made
            os.utime(path)
            taken = load(path)
        self._forget_the_oldest()
        return taken

    def _forget_the_oldest(self) -> None:
        there = [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
        for path in sorted(there, key=_used_at, reverse=True)[MOST_KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _clear_if_dead(alive: Path) -> None:
    """Remove a folder whose supervisor holds its lock no more."""
    try:
        with alive.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(alive.with_suffix(""), ignore_errors=True)
            alive.unlink(missing_ok=True)
    except OSError:  # it lives, or another one was quicker
        return


def _used_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another slot was quicker
        return 0.0
