"""Which code a command runs: the commit of its folder, so that a result can be led back to what gave it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SECONDS = 3.0  # a folder on a slow share is not worth more of a trial's time


def commit_of(directory: Path) -> str | None:
    """The commit that git has checked out around a folder, and whether its tracked files have changed since.

    None where git says nothing: it is not installed, knows no commit, does not trust the folder, or takes too long.
    """
    # No file of the repository is written, and no monitor of its files that its settings name is started.
    words = ["git", "-c", "core.fsmonitor=false", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        said = subprocess.run(  # noqa: S603 - words of our own
            words,
            cwd=directory,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    commit, changed, _ = said.partition("-dirty")
    return f"{commit}, changed since" if changed else commit
