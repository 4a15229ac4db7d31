"""Writes to a disk that is full: they wait, and not for ever."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from store.artifacts import LocalFolder
from store.messages import AttemptKey
from worker import room
from worker.room import NoRoom, patient_artifacts


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The errors that the next flushes to the disk end with; those after them succeed."""
    monkeypatch.setattr(room, "LOOK_SECONDS", 0.0)

    def end_with(*numbers: int) -> None:
        left = list(numbers)

        def flush(_descriptor: int) -> None:
            if left:
                number = left.pop(0)
                raise OSError(number, os.strerror(number))

        monkeypatch.setattr("os.fsync", flush)

    return end_with


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_write_waits_for_room(tmp_path: Path, flushes: Callable[..., None], number: int) -> None:
    folder = patient_artifacts(str(tmp_path)).attempt(AttemptKey(1, 2, 3))
    (tmp_path / "large").write_bytes(b"large")

    flushes(number, number)
    folder.write("a.bin", b"new")
    flushes(number)
    folder.upload("b.bin", tmp_path / "large")

    assert (folder.read("a.bin"), folder.read("b.bin")) == (b"new", b"large")


def test_it_gives_up_with_the_folder(
    tmp_path: Path, flushes: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = room.PATIENCE_SECONDS / 3
    seconds, waits = itertools.count(0, third + 1), list[float]()
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: next(seconds), sleep=waits.append))
    flushes(*[errno.ENOSPC] * 9)

    with pytest.raises(NoRoom, match=f"the disk of the artifacts is full: there was no room for {tmp_path}/studies/1"):
        patient_artifacts(str(tmp_path)).attempt(AttemptKey(1, 2, 3)).write("a.bin", b"new")
    assert len(waits) == 2  # it looks at the clock when it begins to wait, and each time that there is no room


def test_what_room_would_not_cure_is_raised_at_once(tmp_path: Path, flushes: Callable[..., None]) -> None:
    flushes(errno.EIO)

    with pytest.raises(OSError, match="Input/output error"):
        room.PatientFolder(tmp_path).write("a.bin", b"new")


def test_others_do_not_wait(tmp_path: Path, flushes: Callable[..., None]) -> None:
    flushes(errno.ENOSPC)

    with pytest.raises(OSError, match="No space left"):
        LocalFolder(tmp_path).write("a.bin", b"new")
