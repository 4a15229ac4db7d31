import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest

from store.artifacts import LocalFolder, RemoteFolder
from store.logs import open_log, tail_of_log
from store.messages import AttemptKey
from worker import triallog
from worker.reporter import Reporter
from worker.triallog import LogKeeper, TrialLog


def test_what_is_printed_goes_to_the_log_and_afterwards_not(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with TrialLog(LocalFolder(tmp_path), LogKeeper()):
        os.write(1, b"from native code\n")
        subprocess.run([sys.executable, "-c", "import sys; print('from a child', file=sys.stderr)"], check=True)
    os.write(1, b"afterwards\n")

    assert (tmp_path / "log.txt").read_text() == "from native code\nfrom a child\n"
    assert capfd.readouterr().out == "afterwards\n"


def test_a_local_log_can_be_read_while_it_grows(tmp_path: Path) -> None:
    with TrialLog(LocalFolder(tmp_path), LogKeeper()):
        os.write(1, b"first\n")
        assert (tmp_path / "log.txt").read_text() == "first\n"


@pytest.mark.usefixtures("capfd")
def test_a_long_log_keeps_its_end_and_says_what_was_cut(tmp_path: Path) -> None:
    with TrialLog(LocalFolder(tmp_path), LogKeeper(), keep_bytes=50):
        for number in range(100):
            os.write(1, b"line %02d\n" % number)  # 8 bytes each, 800 in all

    # The last 50 bytes hold six whole lines; 800 - 6 * 8 = 752 went.
    expected = "[752 bytes were cut here]\n" + "".join(f"line {number}\n" for number in range(94, 100))
    assert (tmp_path / "log.txt").read_text() == expected


def test_a_remote_log_is_stored_at_the_end() -> None:
    folder = RemoteFolder(fsspec.filesystem("memory"), "/trial-log-test")

    with TrialLog(folder, LogKeeper()):
        os.write(1, b"far away\n")

    assert folder.read("log.txt") == b"far away\n"


def test_a_remote_log_is_stored_while_it_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triallog, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(triallog, "UPLOAD_SECONDS", 0.0)
    folder, logs = RemoteFolder(fsspec.filesystem("memory"), "/growing-log-test"), LogKeeper()

    for word in (b"first\n", b"second\n"):  # one after the other, by the same keeper
        with TrialLog(folder, logs):
            os.write(1, word)
            deadline = time.monotonic() + 5
            while "log.txt" not in folder.names() or folder.read("log.txt") != word:
                assert time.monotonic() < deadline
                time.sleep(0.01)


@pytest.mark.usefixtures("capfd")
def test_a_full_disk_loses_words_and_no_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.txt").symlink_to("/dev/full")
    monkeypatch.setattr(sys, "stdout", os.fdopen(1, "w", buffering=1, closefd=False))

    with TrialLog(LocalFolder(tmp_path), LogKeeper()) as output:
        reporter = Reporter(None, AttemptKey(1, 2, 3), output)  # type: ignore[arg-type]  # it reports nothing
        reporter.log("epoch 1/3")


@pytest.mark.usefixtures("capfd")
def test_a_log_that_finds_no_room_for_its_folder_waits_for_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.room.LOOK_SECONDS", 0.0)
    real, full = Path.mkdir, [OSError(errno.ENOSPC, "No space left on device")]

    def mkdir(path: Path, **options: bool) -> None:
        if full:
            raise full.pop()
        real(path, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with TrialLog(LocalFolder(tmp_path / "attempt-1"), LogKeeper()):
        os.write(1, b"a word\n")

    assert (tmp_path / "attempt-1" / "log.txt").read_text() == "a word\n"


def long_words() -> bytes:
    return b"".join(b"line %05d\n" % number for number in range(10_000))  # 110 kB


@pytest.mark.usefixtures("capfd")
@pytest.mark.parametrize("is_remote", [False, True])
def test_a_long_log_is_compressed_at_the_end_and_read_as_before(tmp_path: Path, *, is_remote: bool) -> None:
    folder = RemoteFolder(fsspec.filesystem("memory"), "/long/attempt-1") if is_remote else LocalFolder(tmp_path)

    with TrialLog(folder, LogKeeper()) as log:
        log.write(long_words())

    assert folder.names() == ["log.txt.gz"]
    assert folder.sizes()["log.txt.gz"] < len(long_words()) / 4
    with open_log(folder) as file:
        assert file.read() == long_words()
    assert tail_of_log(folder, 22) == b"line 09998\nline 09999\n"


@pytest.mark.usefixtures("capfd")
def test_a_log_that_cannot_be_compressed_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "log.txt.gz").mkdir()  # as when the disk is full

    with TrialLog(LocalFolder(tmp_path), LogKeeper()) as log:
        log.write(long_words())

    assert (tmp_path / "log.txt").read_bytes() == long_words()
    with pytest.raises(FileNotFoundError):
        open_log(LocalFolder(tmp_path / "elsewhere"))
