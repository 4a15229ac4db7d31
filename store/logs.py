"""The log of an attempt among its files: as it was printed while it grows, and compressed when it has ended."""

from __future__ import annotations

import gzip
from typing import IO, cast

from store.artifacts import Folder

LOG = "log.txt"
COMPRESSED = "log.txt.gz"

_CHUNK_BYTES = 2**16


def open_log(folder: Folder) -> IO[bytes]:
    """Raises: FileNotFoundError: the attempt has written none."""
    try:
        return folder.open(LOG)
    except FileNotFoundError:  # in this order: the plain one goes when the other is there
        return cast("IO[bytes]", _Unpacked(folder.open(COMPRESSED)))


def tail_of_log(folder: Folder, most: int) -> bytes:
    """Its last bytes. Raises: FileNotFoundError: the attempt has written none."""
    try:
        return folder.tail(LOG, most)
    except FileNotFoundError:
        tail = b""
        with open_log(folder) as file:
            while chunk := file.read(_CHUNK_BYTES):
                tail = (tail + chunk)[-most:]
        return tail


class _Unpacked(gzip.GzipFile):
    """Closes the file that it reads when it is closed, as a file does that it has opened itself."""

    def __init__(self, source: IO[bytes]) -> None:
        super().__init__(fileobj=source, mode="rb")
        self._source = source

    def close(self) -> None:
        super().close()
        self._source.close()
