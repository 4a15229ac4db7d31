"""A small part of the campaign, with the same parts, faults and checker; `make chaos` runs as much as there is time."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from store.bus import open_redis
from store.messages import Assignment
from tests.chaos.campaign import run_campaign
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Redis
from tests.yard import Yard, study

QUICK = ("kill runner", "kill slot", "FLUSHALL", "cut connections")


def test_faults_by_chance_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    outcome = run_campaign(
        tmp_path, seed=11, trials=9, seconds=4.0, kinds=QUICK, step_seconds=0.1, on_postgres=False, whole=False
    )

    assert outcome.wrong == []
    assert outcome.faults.total() >= 2
    # Of the grid of thirds (0, 1/3, 2/3) the best point is (1/3, 2/3), and it is what an undisturbed search finds.
    assert outcome.verdicts["grid"].best == pytest.approx((1 / 3 - 0.3) ** 2 + (2 / 3 - 0.7) ** 2)


def test_a_connection_that_falls_silent_is_given_up_and_made_anew(tmp_path: Path) -> None:
    server = Redis(tmp_path)
    server.start()
    try:
        with Proxy(("127.0.0.1", server.port)) as proxy, open_redis(proxy.url, longest_block=-2.5) as client:
            client.set("before", 1)
            proxy.is_silent = True
            with pytest.raises(Exception, match="imeout"):
                client.execute_command("GET", "before")
            proxy.is_silent = False
            assert client.get("before") == b"1"
    finally:
        server.kill()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)])
def test_a_clock_that_jumps_expires_nobody_and_ends_nothing(yard: Yard, jump: timedelta) -> None:
    study_id = yard.begin(study(budget={"trials": 2, "parallel": 1, "retries": 0}))
    worker = yard.worker()
    worker.beat()
    first = worker.start(study_id, 0)

    yard.clock.jump(jump)
    yard.turn(5)

    assert worker.report(first.attempt, 0, 0.5).stale is False
    worker.finish(first.attempt, 0.5)
    second = worker.take(study_id, 1)
    assert isinstance(second, Assignment)
    worker.finish(second.attempt, 0.4)
    assert yard.study(study_id).state == "COMPLETE"
    assert [attempt.outcome for number in (0, 1) for attempt in yard.attempts(study_id, number)] == ["finished"] * 2
