"""What the trainer wants of a place to keep files in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Folder(Protocol):
    """A flat set of files by name. Writes are atomic: a reader sees the old file, the new one, or none."""

    def write(self, name: str, data: bytes) -> None: ...

    def read(self, name: str) -> bytes:
        """Raises: FileNotFoundError."""

    def names(self) -> Sequence[str]: ...

    def delete(self, name: str) -> None: ...
