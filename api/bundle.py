"""A model, or an ensemble, as one file to take away: a zip."""

from __future__ import annotations

import io
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from store.artifacts import Folder

CARD = "README.md"
ENSEMBLE = "ensemble.json"
FILES = ("model.json", "model.safetensors", "model.onnx", "model.pt2", "model.int8.safetensors")  # those that are there
IN_MEMORY_BYTES = 16 * 2**20
PIECE_BYTES = 2**18


def bundle(folder: Folder, card: str, within: str) -> IO[bytes]:
    """The model's files and its card, below one folder of the name `within`; stored as they are, for weights do not
    get smaller."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - whoever reads it closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{within}/{CARD}", card)
        for name in FILES:
            if name in folder.names():
                _add(archive, folder, name, f"{within}/{name}")
    file.seek(0)
    return file


def bundle_bytes(sizes: Mapping[str, int], card: str, within: str) -> int:
    """How large `bundle` will be, of files of these sizes; beyond 2 GiB it has a few bytes more."""
    empty = io.BytesIO()
    with zipfile.ZipFile(empty, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{within}/{CARD}", card)
        for name in FILES:
            if name in sizes:
                archive.open(f"{within}/{name}", "w", force_zip64=True).close()
    return empty.tell() + sum(sizes[name] for name in FILES if name in sizes)


def bundle_ensemble(folder: Folder, members: Sequence[Folder], card: str, within: str) -> IO[bytes]:
    """An ensemble's own files and the models of its members, each below `member-<place>.`, as it is loaded from."""
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - whoever reads it closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{within}/{CARD}", card)
        for name in folder.names():
            if name == ENSEMBLE or name.startswith("member-"):
                _add(archive, folder, name, f"{within}/{name}")
        for place, member in enumerate(members):
            for name in FILES[:2]:
                _add(archive, member, name, f"{within}/member-{place:03}.{name}")
    file.seek(0)
    return file


def zipped(folder: Folder, files: Mapping[str, str]) -> Iterator[bytes]:
    """A zip of files of any size, made while it is sent. `files`: names in the folder by paths in the zip."""
    made = _Made()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for path, name in files.items():
            try:
                source = folder.open(name)
            except FileNotFoundError:  # it has gone meanwhile
                continue
            with archive.open(path.encode(errors="replace").decode(), "w", force_zip64=True) as target:
                for piece in pieces(source):
                    target.write(piece)
                    yield made.taken()
    yield made.taken()


class _Made(io.RawIOBase):
    """What was written since it was last taken. One cannot go back in it: the zip tells sizes behind its files."""

    def __init__(self) -> None:
        self._held: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        return len(self._held[-1])

    def taken(self) -> bytes:
        held, self._held = self._held, []
        return b"".join(held)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file's bytes, and its end."""
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def _add(archive: zipfile.ZipFile, folder: Folder, name: str, stored_as: str) -> None:
    with folder.open(name) as source, archive.open(stored_as, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, PIECE_BYTES)
