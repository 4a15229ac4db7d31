"""The folder of a trial's command, from attempt to attempt, in a local store and in a remote one."""

import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from store.artifacts import Folder, LocalFolder, RemoteFolder
from worker.checkpoints import Checkpoints

Attempt = Callable[[int], Folder]


@pytest.fixture(params=["local", "remote"])
def attempt(request: pytest.FixtureRequest, tmp_path: Path) -> Attempt:
    """The files of an attempt by its number."""
    if request.param == "local":
        return lambda number: LocalFolder(tmp_path / f"attempt-{number}")
    root = f"/{uuid.uuid4().hex}"
    return lambda number: RemoteFolder(fsspec.filesystem("memory"), f"{root}/attempt-{number}")


def opened(attempt: Attempt, tmp_path: Path, number: int) -> Checkpoints:
    scratch = tmp_path / f"scratch-{number}"
    scratch.mkdir()
    checkpoints = Checkpoints(attempt(number), [attempt(k) for k in range(number - 1, 0, -1)], scratch)
    checkpoints.fetch()
    return checkpoints


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_next_attempt_finds_what_the_newest_one_kept(attempt: Attempt, tmp_path: Path) -> None:
    first = opened(attempt, tmp_path, 1)
    assert contents(first.path) == {}
    (first.path / "epoch-1").mkdir()
    (first.path / "epoch-1" / "model.bin").write_bytes(b"one")
    (first.path / "notes").write_bytes(b"old")
    first.keep()
    (first.path / "notes").unlink()
    (first.path / "epoch-2.bin").write_bytes(b"two")
    first.keep()

    third = opened(attempt, tmp_path, 3)  # of the second nothing is there

    assert contents(third.path) == {"epoch-1/model.bin": b"one", "epoch-2.bin": b"two"}
    assert not set(attempt(1).names()) - {"checkpoints.json"}


def test_a_remote_copy_that_was_never_completed_is_passed_over(tmp_path: Path) -> None:
    root = f"/{uuid.uuid4().hex}"

    def attempt(number: int) -> RemoteFolder:
        return RemoteFolder(fsspec.filesystem("memory"), f"{root}/attempt-{number}")

    first = opened(attempt, tmp_path, 1)
    (first.path / "whole").write_bytes(b"1")
    first.keep()
    (tmp_path / "half").write_bytes(b"2")
    attempt(2).upload("checkpoints/half", tmp_path / "half")  # and then its machine died

    assert contents(opened(attempt, tmp_path, 3).path) == {"whole": b"1"}
