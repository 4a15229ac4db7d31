"""What a study's trials have used of their devices."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from search.allowance import Allowance
from search.definition import parse
from tests.unit.search.documents import train

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("resources", "devices"), [({}, 1), ({"gpus": 1}, 1), ({"gpus": 4}, 4), ({"processes": 2}, 1)])
def test_an_attempt_uses_its_time_on_each_of_its_gpus(resources: dict[str, Any], devices: int) -> None:
    allowance = Allowance(parse(train(resources=resources)), NOON, Counter(), optuna=None)  # type: ignore[arg-type]
    allowance.recall_used(1800)
    for number in (0, 1):
        allowance.attempt_began(number, NOON)

    assert allowance.attempt_ended(0, NOON + timedelta(minutes=15)) == 900 * devices
    assert allowance.attempt_ended(0, NOON + timedelta(minutes=20)) == 0  # it is counted once
    assert allowance.attempt_ended(1, NOON - timedelta(minutes=1)) == 0  # a clock that was set back gives nothing back
    allowance.attempt_began(1, NOON)
    assert allowance.device_hours(NOON + timedelta(minutes=30)) == 0.5 + 0.25 * devices + 0.5 * devices
