"""Models and files that are taken away."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from trialyard.errors import CommandError
from trialyard.model_commands import _unpack


def test_no_file_of_a_zip_is_written_outside_of_its_folder(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("own-1/deep/best.pt", "weights")
        archive.writestr("own-1/../stray.txt", "elsewhere")

    with pytest.raises(CommandError, match=r"stray\.txt: would be written outside of"):
        _unpack([made.getvalue()], tmp_path / "taken")

    assert (tmp_path / "taken/deep/best.pt").read_text() == "weights"
    assert not (tmp_path / "stray.txt").exists()
