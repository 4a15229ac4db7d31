"""How many steps of a whole training there is no time for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from search.definition import parse
from search.pace import Pace
from tests.unit.search.documents import train

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ASHA = {"name": "asha", "max_resource": 20}
EXTERNAL: dict[str, Any] = {"kind": "external"}
TRAINING: dict[str, Any] = {"kind": "train", "data": {"source": "sklearn:digits"}, "epochs": 27}
EARLY = TRAINING | {"early_stopping": {"patience": 3}}


def paced(**sections: Any) -> Pace:
    """After two attempts of trial 0 and one of trial 1, at 10 seconds a step, with breaks between the attempts."""
    pace = Pace(parse(train(**sections)))
    for number, since, steps in [(0, 60, (1, 2)), (0, 600, (3, 5)), (1, 620, (1, 2, 3))]:
        for step in steps:
            pace.reported(number, step, NOON + timedelta(seconds=since + 10 * step))
        pace.ended(number, is_complete=False)
    return pace


@pytest.mark.parametrize(
    ("seconds", "allowed", "lacking"),
    [
        (180, 1000, 0),  # nine tenths of ten seconds are trusted: 20 steps take 180
        (90, 1000, 10),
        (0, 1000, 20),
        (90, 361, 10),
        (90, 359, 0),  # a training takes more than half of the time: it is begun whenever there is a place
    ],
)
def test_steps_are_lacking_where_the_time_is_short(seconds: float, allowed: float, lacking: float) -> None:
    assert paced(pruner=ASHA, trial=EXTERNAL).lacking(seconds, allowed) == pytest.approx(lacking)


def test_what_lies_between_two_attempts_of_a_trial_is_no_step() -> None:
    pace = Pace(parse(train(pruner=ASHA, trial=EXTERNAL)))
    for step in (1, 2):
        pace.reported(0, step, NOON + timedelta(minutes=step))
        pace.ended(0, is_complete=False)

    assert pace.lacking(0, 10_000) == 0


def test_nothing_is_lacking_before_a_step_was_measured() -> None:
    pace = Pace(parse(train(pruner=ASHA, trial=EXTERNAL)))
    pace.reported(0, 1, NOON)
    pace.ended(0, is_complete=False)
    pace.reported(0, 2, NOON + timedelta(hours=1))  # the trial waited

    assert pace.lacking(1, 1000) == 0


@pytest.mark.parametrize("trial", [EXTERNAL, EARLY])
def test_a_training_of_unknown_length_is_as_long_as_those_that_are_complete(trial: dict[str, Any]) -> None:
    pace = paced(pruner={"name": "none"}, trial=trial)
    assert pace.lacking(9, 1000) == 0
    for number, length in enumerate([4, 5, 12]):
        pace.reported(number, length, NOON)
        pace.ended(number, is_complete=True)

    assert pace.lacking(9, 1000) == pytest.approx(4)  # of five


@pytest.mark.parametrize(
    ("parameters", "lacking"),
    [
        ({"optimizer.lr": {"low": 1e-4, "high": 0.1}}, 26),  # of 27
        ({"epochs": {"low": 3, "high": 27}}, 0),
    ],
)
def test_the_length_of_the_built_in_training_is_known_unless_trials_differ(
    parameters: dict[str, Any], lacking: float
) -> None:
    pace = paced(pruner={"name": "none"}, parameters=parameters, trial=TRAINING)

    assert pace.lacking(9, 10_000) == pytest.approx(lacking)
