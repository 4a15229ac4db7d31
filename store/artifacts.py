"""Files that belong to trials: checkpoints, logs, models. A local folder, or any store that fsspec knows (`s3://…`).

A folder of an attempt is `studies/<id>/trials/<number>/attempt-<k>/`, one of a task `studies/<id>/tasks/<number>/`.
Writes are atomic: a reader sees the old file, the new one, or none.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from store.messages import AttemptKey

MANIFEST = "dataset.json"  # in an uploaded data set's folder: which of its files is the newest


class Folder(Protocol):
    """A flat set of files by name."""

    def write(self, name: str, data: bytes) -> None: ...

    def upload(self, name: str, source: Path) -> None:
        """Write a file of any size."""

    def read(self, name: str) -> bytes:
        """Raises: FileNotFoundError."""

    def tail(self, name: str, most: int) -> bytes:
        """The last `most` bytes of a file. Raises: FileNotFoundError."""

    def open(self, name: str) -> IO[bytes]:
        """A file to be read piece by piece. Raises: FileNotFoundError."""

    def names(self) -> Sequence[str]: ...

    def sizes(self) -> dict[str, int]:
        """The bytes of each file."""

    def below(self, folder: str) -> dict[str, int]:
        """The bytes of each file of a folder in it and of the folders there, by its path from here; no links."""

    def delete(self, name: str) -> None: ...


class Artifacts:
    """All files of all studies below one fsspec URL."""

    def __init__(self, url: str, local: Callable[[Path], LocalFolder] = lambda path: LocalFolder(path)) -> None:
        """`local` makes the folders of a store on a local disk."""
        self._url = url.rstrip("/")
        self._local = local
        self._system, self._root = fsspec.url_to_fs(self._url)

    def attempt(self, key: AttemptKey) -> Folder:
        return self._folder(_below(key))

    def task(self, study_id: int, number: int) -> Folder:
        return self._folder(f"studies/{study_id}/tasks/{number}")

    def service(self) -> Folder:
        """For what belongs to no study."""
        return self._folder("service")

    def dataset(self, name: str) -> Folder:
        return self._folder(f"datasets/{name}")

    def clear_attempt(self, key: AttemptKey) -> bool:
        """Take away what stands where an attempt is about to begin; whether something did.

        Numbers come again when a database is restored from a backup: whatever was written under them since then is of
        another trial, and nobody must go on from it.
        """
        return self._delete(_below(key))

    def delete_dataset(self, name: str) -> None:
        self._delete(f"datasets/{name}")

    def delete_task(self, study_id: int, number: int) -> None:
        self._delete(f"studies/{study_id}/tasks/{number}")

    def url_of(self, key: AttemptKey) -> str:
        """Where the files of an attempt lie, for people: a path for a local store, else a URL."""
        return f"{self._root if self.is_local else self._url}/{_below(key)}"

    @property
    def is_local(self) -> bool:
        return isinstance(self._system, LocalFileSystem)

    def usage(self, study_id: int) -> dict[str, int]:
        """The bytes of a study's files by what they are: models, checkpoints, predictions, logs, ensembles, other."""
        try:
            found = self._system.find(f"{self._root}/studies/{study_id}", detail=True)
        except FileNotFoundError:
            return {}
        usage: dict[str, int] = {}
        for path, entry in found.items():
            kind = _kind_of(path.rpartition(f"/studies/{study_id}/")[2])
            usage[kind] = usage.get(kind, 0) + (entry["size"] or 0)
        return usage

    def delete_study(self, study_id: int) -> None:
        self._delete(f"studies/{study_id}")

    def _delete(self, below: str) -> bool:
        path = f"{self._root}/{below}"
        is_there: bool = self._system.exists(path)
        if is_there:
            self._system.rm(path, recursive=True)
        return is_there

    def _folder(self, below: str) -> Folder:
        path = f"{self._root}/{below}"
        return self._local(Path(path)) if self.is_local else RemoteFolder(self._system, path)


def _below(key: AttemptKey) -> str:
    return f"studies/{key.study_id}/trials/{key.number}/attempt-{key.attempt}"


def _kind_of(path: str) -> str:
    """Of a file below a study's folder."""
    name = path.rpartition("/")[2]
    if path.startswith("tasks/"):
        return "ensembles"
    kinds = {"model.": "models", "checkpoint-": "checkpoints", "predictions.": "predictions", "log.": "logs"}
    return next((kind for prefix, kind in kinds.items() if name.startswith(prefix)), "other")


class LocalFolder:
    """A folder on a local disk; made with its first file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, data: bytes) -> None:
        with self._replacing(name) as file:
            file.write(data)

    def upload(self, name: str, source: Path) -> None:
        with self._replacing(name) as file, source.open("rb") as given:
            shutil.copyfileobj(given, file)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def tail(self, name: str, most: int) -> bytes:
        with (self.path / name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most))
            return file.read(most)

    def open(self, name: str) -> IO[bytes]:
        return (self.path / name).open("rb")

    def names(self) -> list[str]:
        return list(self.sizes())

    def sizes(self) -> dict[str, int]:
        if not self.path.is_dir():
            return {}
        files = [file for file in sorted(self.path.iterdir()) if file.is_file() and not file.name.startswith(".")]
        return {file.name: file.stat().st_size for file in files}

    def below(self, folder: str) -> dict[str, int]:
        top = self.path / folder
        found: dict[str, int] = {}
        for parent, _, names in os.walk(top) if not top.is_symlink() else ():
            for path in (Path(parent, name) for name in names):
                with suppress(FileNotFoundError):  # it may go while we look
                    if stat.S_ISREG((state := path.lstat()).st_mode):
                        found[path.relative_to(self.path).as_posix()] = state.st_size
        return dict(sorted(found.items()))

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def _replacing(self, name: str) -> Iterator[IO[bytes]]:
        """Write beside, flush to the disk, rename over: after a crash the old or the new file is there, whole."""
        self.path.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._flush_names()

    def _flush_names(self) -> None:
        folder = os.open(self.path, os.O_RDONLY)  # the rename itself is only durable once its folder is flushed
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class RemoteFolder:
    """A prefix of an object store, whose single puts are atomic."""

    def __init__(self, system: Any, path: str) -> None:
        self._system = system
        self._path = path

    def write(self, name: str, data: bytes) -> None:
        self._system.pipe_file(f"{self._path}/{name}", data)

    def read(self, name: str) -> bytes:
        data: bytes = self._system.cat_file(f"{self._path}/{name}")
        return data

    def tail(self, name: str, most: int) -> bytes:
        path = f"{self._path}/{name}"
        data: bytes = self._system.cat_file(path, start=max(0, self._system.size(path) - most))
        return data

    def upload(self, name: str, source: Path) -> None:
        """Write a file of any size; the name may have slashes, and is then none of `names`."""
        self._system.put_file(str(source), f"{self._path}/{name}")

    def download(self, name: str, target: Path) -> None:
        """Raises: FileNotFoundError."""
        target.parent.mkdir(parents=True, exist_ok=True)
        self._system.get_file(f"{self._path}/{name}", str(target))

    def open(self, name: str) -> IO[bytes]:
        file: IO[bytes] = self._system.open(f"{self._path}/{name}", "rb")
        return file

    def names(self) -> list[str]:
        return list(self.sizes())

    def sizes(self) -> dict[str, int]:
        try:
            entries = self._system.ls(self._path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        files = {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in entries if entry["type"] == "file"}
        return dict(sorted(files.items()))

    def below(self, folder: str) -> dict[str, int]:
        try:
            found = self._system.find(f"{self._path}/{folder}", detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        here = f"{self._path.strip('/')}/"
        return {path.rpartition(here)[2]: entry["size"] for path, entry in sorted(found.items())}

    def delete(self, name: str) -> None:
        if self._system.exists(f"{self._path}/{name}"):
            self._system.rm_file(f"{self._path}/{name}")
