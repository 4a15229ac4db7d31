"""The reference of workers says of every option and setting what it is by default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from store.settings import Settings
from trialyard.cli import app

TEXT = (Path(__file__).parents[3] / "docs" / "reference" / "workers.md").read_text()


def test_every_option_of_the_command_is_there_with_its_default() -> None:
    command = typer.main.get_command(app).commands["worker"]  # type: ignore[attr-defined]
    told = dict(re.findall(r"^\| `(--[a-z-]+)` \| .*? \| (.*?) \|", TEXT, re.MULTILINE))

    assert told.keys() == {option for each in command.params for option in each.opts if option != "--help"}
    for each in command.params:
        if each.default is not None:
            assert told[each.opts[0]] == f"`{each.default}`"


@pytest.mark.parametrize("name", ["crowd_seconds", "lease_seconds", "beat_seconds", "grace_seconds"])
def test_every_setting_has_its_default(name: str) -> None:
    [default] = re.findall(rf"^\| `TRIALYARD_{name.upper()}` \| `(.*?)` \|", TEXT, re.MULTILINE)
    assert float(default) == Settings.model_fields[name].default
