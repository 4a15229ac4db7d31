"""What `trialyard run` says about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.definition import Definition, parse
from store.settings import Settings
from trialyard.errors import BadInput
from trialyard.run import check_gpus, up_again


def study(source: str = "sklearn:iris", gpus: int = 0) -> Definition:
    return parse(
        {
            "name": "s",
            "objective": {"metric": "val/loss", "direction": "minimize"},
            "parameters": {"optimizer.lr": {"low": 0.1, "high": 0.2}},
            "budget": {"trials": 1},
            "trial": {"data": {"source": source}},
            "resources": {"gpus": gpus},
        }
    )


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("file:t.csv", "TRIALYARD_DATA_DIR='/my data' trialyard up --home /home/of/it"),
        ("sklearn:iris", "trialyard up --home /home/of/it"),
    ],
)
def test_the_command_that_shows_a_study_again_reads_its_data_again(source: str, command: str) -> None:
    settings = Settings(home_dir=Path("/home/of/it"), data_dir="/my data")

    assert up_again(settings, study(source)) == command


def test_more_gpus_than_there_are_is_bad_input_before_anything_starts() -> None:
    check_gpus(study(gpus=0))
    with pytest.raises(BadInput, match=r"resources\.gpus: a trial wants 64, and this machine has .*gpus: 0"):
        check_gpus(study(gpus=64))
