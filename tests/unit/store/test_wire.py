from __future__ import annotations

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from store.wire import Wire


def test_answers_come_in_the_order_of_the_commands(client: redis.Redis) -> None:
    wire = Wire(client)

    assert wire.send(("SET", "a", 1), ("RPUSH", "b", b"x", "y"), ("LRANGE", "b", 0, -1)) == [b"OK", 2, [b"x", b"y"]]


def test_a_command_that_is_refused_does_not_put_the_others_out_of_step(client: redis.Redis) -> None:
    wire = Wire(client)
    with pytest.raises(ResponseError, match="wrong kind of value"):
        wire.send(("SET", "a", 1), ("RPUSH", "a", 2), ("SET", "c", 3))

    assert wire.send(("GET", "c")) == [b"3"]


def test_commands_that_are_not_heard_of_are_done_first_and_put_nothing_out_of_step(client: redis.Redis) -> None:
    wire = Wire(client)
    unheard = (("SET", "a", 1), ("RPUSH", "a", 2), ("INCR", "a"))  # the second is refused

    assert wire.send(("GET", "a"), ("GET", "b"), unheard=unheard) == [b"2", None]
    assert wire.send(("GET", "a")) == [b"2"]


def test_many_answers_of_any_size_come_whole(client: redis.Redis) -> None:
    wire = Wire(client)
    texts = [str(place) * 30_000 for place in range(1, 9)]  # more than is read from the socket at once

    assert wire.send(*(("ECHO", each) for each in texts)) == [each.encode() for each in texts]


def test_a_connection_that_breaks_is_made_anew_at_the_next_call(client: redis.Redis) -> None:
    wire = Wire(client)
    wire.send(("SET", "a", 1))
    client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(RedisConnectionError):
        wire.send(("GET", "a"))

    assert wire.send(("GET", "a")) == [b"1"]


def test_its_connection_goes_back_to_the_pool_with_it(client: redis.Redis) -> None:
    ids = {Wire(client).send(("CLIENT", "ID"))[0] for _ in range(5)}

    assert len(ids) == 1
