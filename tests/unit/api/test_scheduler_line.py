"""The line to a scheduler that is not there."""

from __future__ import annotations

import pytest

from api.errors import problem_of
from api.scheduler_line import SchedulerLine
from store.bus import open_redis
from store.errors import Unavailable
from store.messages import Ask


def test_a_scheduler_that_does_not_answer_is_told_with_when_to_try_again(redis_url: str) -> None:
    with (
        open_redis(redis_url) as client,
        pytest.raises(Unavailable, match="is `trialyard scheduler` running") as caught,
    ):
        SchedulerLine(client, patience=2.0).ask(Ask(study_id=1, worker="w"))

    answer = problem_of(caught.value)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
