"""What `trialyard run` says about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.definition import parse
from store.settings import Settings
from trialyard.run import up_again


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("file:t.csv", "TRIALYARD_DATA_DIR='/my data' trialyard up --home /home/of/it"),
        ("sklearn:iris", "trialyard up --home /home/of/it"),
    ],
)
def test_the_command_that_shows_a_study_again_reads_its_data_again(source: str, command: str) -> None:
    definition = parse(
        {
            "name": "s",
            "objective": {"metric": "val/loss", "direction": "minimize"},
            "parameters": {"optimizer.lr": {"low": 0.1, "high": 0.2}},
            "budget": {"trials": 1},
            "trial": {"data": {"source": source}},
        }
    )
    settings = Settings(home_dir=Path("/home/of/it"), data_dir="/my data")

    assert up_again(settings, definition) == command
