"""GPUs that this supervisor serves, and no other one of the machine."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from store.errors import SettingsError
from worker.gpu import Gpu

log = structlog.get_logger(__name__)


class Claims:
    """A locked file for each GPU, which the kernel unlocks with the process that holds it, however that ends.

    They lie where all processes of a machine can write and a private /tmp hides nothing. Containers do not see each
    other's, and have GPUs of their own.
    """

    def __init__(self, folder: Path | None = None) -> None:
        shared = Path("/dev/shm")  # noqa: S108 - no secret, and nobody's file is followed
        self._folder = folder or (shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir()))
        self._held: list[int] = []

    def take(self, gpus: Sequence[Gpu], selection: str, least: int = 1) -> list[Gpu]:
        """Those that no other supervisor serves: of `all` what is left, of GPUs that were named every one.

        Raises:
            SettingsError: one that was named is taken, or of `all` less than `least` are left.
        """
        holders = {gpu: self._lock(gpu) for gpu in gpus}
        taken = [f"GPU {gpu.index} is served by another worker here ({who})" for gpu, who in holders.items() if who]
        if taken and (selection != "all" or len(gpus) - len(taken) < least):
            raise SettingsError(f"--gpus {selection}: {'; '.join(taken)}; stop it, or choose other GPUs, or none")
        for each in taken:
            log.warning("left out", reason=each)
        return [gpu for gpu, who in holders.items() if not who]

    def _lock(self, gpu: Gpu) -> str:
        """Take one: "" if it is ours now, else who has it."""
        path = self._folder / f"trialyard-{gpu.uuid}.lock"
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(file, 64, 0).decode(errors="replace")
            os.close(file)
            return who or "one that is just starting"
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()}".encode(), 0)
        self._held.append(file)
        return ""


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)  # another user's may not be opened with O_CREAT in a sticky folder
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT, 0o666)
        os.fchmod(file, 0o666)  # whatever the umask is: the next supervisor may be another user's
        return file
