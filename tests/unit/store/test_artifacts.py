"""Files of attempts: atomic writes, on a local disk and in an object store (fsspec's memory one stands for it)."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from store.artifacts import Artifacts, Folder, LocalFolder, RemoteFolder
from store.messages import AttemptKey

KEY = AttemptKey(study_id=3, number=14, attempt=2)


@pytest.fixture(params=["local", "memory"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "local":
        return Artifacts(tmp_path.as_uri())
    fsspec.filesystem("memory").store.clear()
    return Artifacts("memory://bucket/trialyard")


def test_a_folder_holds_what_was_written(artifacts: Artifacts) -> None:
    folder: Folder = artifacts.attempt(KEY)
    assert list(folder.names()) == []
    folder.write("a.bin", b"one")
    folder.write("a.bin", b"two")
    folder.write("b.bin", b"")
    assert list(folder.names()) == ["a.bin", "b.bin"]
    assert folder.read("a.bin") == b"two"
    folder.delete("a.bin")
    folder.delete("a.bin")
    assert list(folder.names()) == ["b.bin"]
    with pytest.raises(FileNotFoundError):
        folder.read("a.bin")


def test_what_lies_deeper_is_told_by_its_path_and_can_be_opened(artifacts: Artifacts, tmp_path: Path) -> None:
    folder: Folder = artifacts.attempt(KEY)
    assert folder.below("kept") == {}
    (tmp_path / "given").write_bytes(b"four")
    if isinstance(folder, LocalFolder):
        (folder.path / "kept/deep").mkdir(parents=True)
        (folder.path / "kept/link").symlink_to(tmp_path / "given")
        (folder.path / "kept/way").symlink_to(tmp_path)
        (folder.path / "all").symlink_to(tmp_path)
        (folder.path / "kept/a.pt").write_bytes(b"four")
        (folder.path / "kept/deep/b.pt").write_bytes(b"four")
    elif isinstance(folder, RemoteFolder):
        folder.upload("kept/a.pt", tmp_path / "given")
        folder.upload("kept/deep/b.pt", tmp_path / "given")
    folder.write("kept.txt", b"beside it")

    assert folder.below("kept") == {"kept/a.pt": 4, "kept/deep/b.pt": 4}
    assert folder.below("all") == {}
    with folder.open("kept/deep/b.pt") as file:
        assert file.read() == b"four"


def test_attempts_do_not_share_files(artifacts: Artifacts) -> None:
    artifacts.attempt(KEY).write("a.bin", b"one")
    assert list(artifacts.attempt(KEY._replace(attempt=1)).names()) == []


def test_deleting_a_study_deletes_its_files_and_no_others(artifacts: Artifacts) -> None:
    other = KEY._replace(study_id=33)
    artifacts.attempt(KEY).write("a.bin", b"one")
    artifacts.attempt(other).write("a.bin", b"two")
    artifacts.delete_study(3)
    artifacts.delete_study(3)
    assert list(artifacts.attempt(KEY).names()) == []
    assert artifacts.attempt(other).read("a.bin") == b"two"


def test_people_are_told_a_path_for_a_local_store(tmp_path: Path) -> None:
    assert Artifacts(tmp_path.as_uri()).url_of(KEY) == f"{tmp_path}/studies/3/trials/14/attempt-2"
    assert Artifacts("memory://bucket").url_of(KEY) == "memory://bucket/studies/3/trials/14/attempt-2"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = LocalFolder(tmp_path)
    folder.write("a.bin", b"old")

    def full(_descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        folder.write("a.bin", b"new")
    assert folder.read("a.bin") == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.bin"]
