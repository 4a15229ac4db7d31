"""Which commit a command's folder is at, by the real git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from worker import code_version
from worker.code_version import commit_of


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A script under version control, below the top of its repository."""
    folder = tmp_path / "repository" / "code"
    folder.mkdir(parents=True)
    (folder / "train.py").write_text("print(1)\n")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "--quiet", "--message", "First")
    git(folder.parent, "tag", "--annotate", "v1-dirty", "--message", "A name to be passed over")
    return folder


def test_the_commit_of_a_folder_and_whether_its_files_have_changed(folder: Path) -> None:
    commit = git(folder, "rev-parse", "HEAD")[:12]
    assert commit_of(folder) == commit

    (folder / "notes.txt").write_text("beside it\n")
    assert commit_of(folder) == commit

    (folder / "train.py").write_text("print(2)\n")
    assert commit_of(folder) == f"{commit}, changed since"


def test_no_monitor_that_a_repository_names_is_started(folder: Path) -> None:
    hook = folder / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    hook.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(hook))
    git(folder, "update-index", "--fsmonitor")
    (folder / "ran").unlink(missing_ok=True)
    (folder / "train.py").write_text("print(2)\n")

    assert str(commit_of(folder)).endswith("changed since")

    assert not (folder / "ran").exists()


def test_where_git_knows_nothing_there_is_nothing_to_say(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert commit_of(tmp_path) is None

    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(code_version, "SECONDS", 0.2)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    assert commit_of(folder) is None

    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(folder) is None
