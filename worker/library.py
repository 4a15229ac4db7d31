"""The data that a worker may read: its operator's folders, and uploaded data sets, fetched once a machine."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from store.artifacts import MANIFEST, Artifacts, Folder
from trainer.config import Data
from trainer.errors import Damaged, DataError

PIECE_BYTES = 1 << 20


class Library:
    """Makes files of uploaded data sets. They lie by their checksum, so that all slots of a machine, and all data sets
    that are the same, share one.
    """

    def __init__(self, artifacts: Artifacts, data_folders: Sequence[Path], cache: Path) -> None:
        self.folders = (cache, *data_folders)
        self._artifacts = artifacts
        self._cache = cache

    def local(self, data: Data) -> Data:
        """The same data with files in place of uploaded data sets.

        Raises:
            DataError: there is no such data set, or what is kept of it is damaged.
        """
        changes = {}
        for key in ("source", "test_source"):
            kind, _, name = (getattr(data, key) or "").partition(":")
            if kind == "dataset":
                changes[key] = f"file:{self._fetched(name, f'trial.data.{key}')}"
        return data.model_copy(update=changes)

    def _fetched(self, name: str, path: str) -> str:
        """Where the file lies below the cache."""
        folder = self._artifacts.dataset(name)
        try:
            manifest = json.loads(folder.read(MANIFEST))
            below = f"{manifest['sha256']}/{name}{manifest['ending']}"
            if not (self._cache / below).exists():
                self._fetch(folder, manifest["file"], self._cache / below)
        except FileNotFoundError as error:
            hint = f"upload it: trialyard datasets upload FILE --name {name}"
            raise DataError(path, f"there is no data set {name!r}", hint) from error
        except Damaged as error:
            raise DataError(path, f"the data set {name!r} cannot be used: {error}", "upload it again") from error
        return below

    def _fetch(self, folder: Folder, file: str, target: Path) -> None:
        """Copy a file into the folder that is named by its checksum; another slot may do the same meanwhile."""
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".fetching.")
        digest = hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as written, folder.open(file) as source:
                while piece := source.read(PIECE_BYTES):
                    digest.update(piece)
                    written.write(piece)
            if digest.hexdigest() != target.parent.name:
                raise Damaged("its file is not the one that was uploaded")
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)
