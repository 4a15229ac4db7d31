"""The queue of trials on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq.serializers import JSONSerializer

from store.bus import open_redis
from store.queue import Errand, TrialJob, TrialQueue, queue_name
from tests.services import redis_server


@pytest.fixture
def client(tmp_path: Path) -> Iterator[redis.Redis]:
    with redis_server(tmp_path) as url, open_redis(url) as client:
        yield client


def test_jobs_wait_until_they_are_taken_in_whatever_pool(client: redis.Redis) -> None:
    queue = TrialQueue(client)
    queue.enqueue(3, 14, 2, pool="default", gpus=0)
    queue.enqueue(3, 15, 1, pool="big", gpus=1)
    queue.enqueue(4, None, 1, pool="default", gpus=0)

    assert queue.waiting() == {(3, 14, 2), (3, 15, 1), (4, None, 1)}
    client.lpop("rq:queue:trials:default")
    assert queue.waiting() == {(3, 15, 1), (4, None, 1)}


def test_a_job_that_is_enqueued_twice_waits_once(client: redis.Redis) -> None:
    for _ in range(2):
        TrialQueue(client).enqueue(3, 14, 1, pool="default", gpus=0)

    assert client.llen("rq:queue:trials:default") == 1


def test_a_wiped_queue_is_empty_and_can_be_filled_again(client: redis.Redis) -> None:
    queue = TrialQueue(client)
    queue.enqueue(3, 14, 1, pool="default", gpus=0)

    client.flushall()

    assert queue.waiting() == set()
    queue.enqueue(3, 14, 1, pool="default", gpus=0)
    assert queue.waiting() == {(3, 14, 1)}


@pytest.mark.parametrize(("number", "job_id"), [(14, "trial-3-14-1"), (None, "preflight-3-1")])
def test_a_job_carries_nothing_but_ids(client: redis.Redis, number: int | None, job_id: str) -> None:
    TrialQueue(client).enqueue(3, number, 1, pool="default", gpus=0)

    job = TrialJob.fetch(job_id, connection=client, serializer=JSONSerializer)

    assert isinstance(job, TrialJob)
    assert job.errand == Errand(3, number)
    assert job.timeout == -1


def test_a_pool_has_one_queue_for_each_kind_of_worker() -> None:
    assert queue_name("default", gpus=0) == "trials:default"
    assert queue_name("default", gpus=1) == "trials:default:gpu"
    assert queue_name("default", gpus=2) == "trials:default:gpu:2"
