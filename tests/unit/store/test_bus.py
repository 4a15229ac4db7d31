"""Requests and answers over a real Redis: repeats, answers that come late, a wiped stream, a Redis that is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
import redis
from redis.exceptions import ResponseError

from store.bus import GROUP, STREAM, Caller, Inbox, StreamLost, open_redis
from store.errors import BadRequest, Unavailable
from store.messages import AttemptKey, Nothing, Reply, Report, Take

TAKE = Take(study_id=1, number=2, worker="w1", device="cpu")


@pytest.fixture
def inbox(client: redis.Redis) -> Inbox:
    inbox = Inbox(client)
    inbox.make_group()
    return inbox


def answering(inbox: Inbox, answers: Callable[[int], list[Reply]]) -> threading.Thread:
    """A scheduler in a thread: reads one batch after the other, answers the n-th request with `answers(sequence)`."""

    def serve() -> None:
        received = inbox.read(block_seconds=5)
        replies = [(each.request.sender, reply) for each in received for reply in answers(each.request.sequence)]
        inbox.settle(received, replies)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_request_gets_its_answer(client: redis.Redis, inbox: Inbox) -> None:
    thread = answering(inbox, lambda sequence: [Reply(sequence=sequence, answer=Nothing(retry_after=3))])
    assert Caller(client, "w1").call(TAKE, patience=5) == Nothing(retry_after=3)
    thread.join()


def test_an_answer_to_an_earlier_request_is_passed_over(client: redis.Redis, inbox: Inbox) -> None:
    thread = answering(
        inbox,
        lambda sequence: [
            Reply(sequence=sequence - 1, answer=Nothing(retry_after=1)),
            Reply(sequence=sequence, answer=Nothing(retry_after=2)),
        ],
    )
    assert Caller(client, "w1").call(TAKE, patience=5) == Nothing(retry_after=2)
    thread.join()


def test_a_request_is_sent_again_under_the_same_number(client: redis.Redis, inbox: Inbox) -> None:
    with pytest.raises(Unavailable, match="did not answer within 1 s"):
        Caller(client, "w1").call(TAKE, patience=1)
    received = inbox.read(None)
    assert len(received) >= 2
    assert len({each.request.sequence for each in received}) == 1


def test_a_redis_that_is_away_is_waited_for_and_then_named(tmp_path) -> None:
    nowhere = open_redis(f"unix://{tmp_path}/none.sock")
    with pytest.raises(Unavailable):
        Caller(nowhere, "w1").call(TAKE, patience=0.5)


def test_a_message_that_redis_does_not_take_is_an_error_and_no_long_silence(client: redis.Redis) -> None:
    client.flushall()
    client.set(STREAM, "no stream")
    with pytest.raises(ResponseError, match="wrong kind of value"):
        Caller(client, "w1", resend_seconds=0.05).call(TAKE, 20.0)


def test_what_is_done_meanwhile_is_done_once_although_the_request_is_sent_again(
    client: redis.Redis, inbox: Inbox
) -> None:
    done: list[bool] = []
    with pytest.raises(Unavailable):
        Caller(client, "w1", resend_seconds=0.05).call(TAKE, 0.3, lambda: done.append(True))
    assert len(inbox.read(None)) >= 2
    assert done == [True]


def test_what_is_done_meanwhile_is_done_where_nothing_can_be_sent(tmp_path) -> None:
    done: list[bool] = []
    with pytest.raises(Unavailable):
        Caller(open_redis(f"unix://{tmp_path}/none"), "w1").call(TAKE, 0.5, lambda: done.append(True))
    assert done == [True]


def test_a_wiped_stream_is_reported_once_and_works_again(client: redis.Redis, inbox: Inbox) -> None:
    client.flushall()
    client.xadd(STREAM, {"m": TAKE.model_dump_json()})  # sent after the wipe, before anybody noticed
    with pytest.raises(StreamLost):
        inbox.read(None)
    assert [each.request for each in inbox.read(None)] == [TAKE]


def test_what_was_read_and_not_acknowledged_comes_again(client: redis.Redis, inbox: Inbox) -> None:
    client.xadd(STREAM, {"m": TAKE.model_dump_json()})
    assert len(inbox.read(None)) == 1
    successor = Inbox(client)
    again = successor.read_unacknowledged()
    assert [each.request for each in again] == [TAKE]
    successor.settle(again)
    assert successor.read_unacknowledged() == []
    assert client.xpending(STREAM, GROUP)["pending"] == 0


def test_numbers_that_are_not_finite_never_get_on_the_bus() -> None:
    with pytest.raises(ValueError, match="finite"):
        Report(attempt=AttemptKey(1, 2, 3), step=1, metrics={"val/loss": float("nan")})


@pytest.mark.parametrize("token", ["", "1.2", "a.b.c", "1.2.3.4", "1..3"])
def test_a_token_that_is_none_is_refused_with_a_cure(token: str) -> None:
    with pytest.raises(BadRequest, match="use the one that `ask` returned"):
        AttemptKey.of_token(token)


def test_a_token_names_its_attempt() -> None:
    key = AttemptKey(1, 22, 3)
    assert AttemptKey.of_token(key.token) == key


def test_a_sender_that_begins_anew_counts_on_although_the_wall_clock_was_set_back(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = []
    for now in (1_800_000_000 * 10**9, 1_700_000_000 * 10**9):
        monkeypatch.setattr("time.time_ns", lambda now=now: now)
        with pytest.raises(Unavailable):
            Caller(client, "w1").call(TAKE, patience=0.01)
        [(_, fields)] = client.xrevrange(STREAM, count=1)
        sequences.append(json.loads(fields[b"m"])["sequence"])

    assert sequences[0] < sequences[1]
