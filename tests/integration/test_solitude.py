"""Two services on one Redis: the scheduler that comes second takes none of the first one's messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import structlog

from search.liveness import Liveness
from search.solitude import Solitude
from store.bus import open_redis
from store.roster import SAID_SECONDS, SCHEDULER_KEY
from tests.services import redis_server
from tests.yard import Clock

SILENCE = 7.5
OURS, THEIRS = "here/1/1", "another-machine/boot/ns/4/2"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    with redis_server(tmp_path) as url, open_redis(url) as client:
        yield client


def spoken(client: redis.Redis, seconds_ago: float) -> None:
    """The other scheduler has said its word."""
    Liveness(client).announce(THEIRS, "")
    client.pexpire(SCHEDULER_KEY, int((SAID_SECONDS - seconds_ago) * 1000))


def test_a_scheduler_waits_as_long_as_one_of_another_database_speaks(client: redis.Redis) -> None:
    clock = Clock()
    solitude = Solitude(client, OURS, SILENCE, clock.monotonic)
    with structlog.testing.capture_logs() as logs:
        for _ in range(4):
            spoken(client, seconds_ago=0.0)
            assert not solitude.is_given()
            clock.advance(5.0)
    assert [line["other"] for line in logs] == [THEIRS]
    assert logs[0]["event"].startswith("a scheduler of another database serves this Redis; waiting for it to end")

    spoken(client, seconds_ago=SILENCE + 1)  # it has fallen silent meanwhile
    assert solitude.is_given()


def test_nobody_waits_for_the_word_of_a_scheduler_that_is_gone(client: redis.Redis) -> None:
    solitude = Solitude(client, OURS, SILENCE, Clock().monotonic)
    assert solitude.is_given()  # nobody has ever spoken

    spoken(client, seconds_ago=SILENCE + 1)
    assert solitude.is_given()

    Liveness(client).announce(OURS, "")
    assert solitude.is_given()

    client.hdel(SCHEDULER_KEY, "holder")  # one of an older version
    assert solitude.is_given()


def test_who_leaves_in_good_order_takes_its_word_back_and_nobody_elses(client: redis.Redis) -> None:
    liveness = Liveness(client)
    liveness.announce(THEIRS, "")
    liveness.fall_silent(OURS)
    assert client.exists(SCHEDULER_KEY)

    liveness.fall_silent(THEIRS)
    assert not client.exists(SCHEDULER_KEY)
    assert Solitude(client, OURS, SILENCE, Clock().monotonic).is_given()
