"""Requests to the scheduler and answers from it, over Redis. Nothing here is the truth: it may be wiped at any time."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import redis
import structlog
from pydantic import ValidationError
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from store.addresses import without_password
from store.errors import CutOff, OtherVersion, SettingsError, Unavailable
from store.messages import REQUESTS, Answer, Decision, Reply, Request, Settled
from store.wire import Command, Wire

STREAM = "trialyard:reports"
GROUP = "scheduler"
CONSUMER = "active"  # one name for whoever is active: a successor takes over what its predecessor had read
REFUSED_KEY = "trialyard:refused"  # how many messages came too late, since Redis was empty
SILENCE_SECONDS = 3.0  # after which a Redis that should have answered counts as away
MOST_UNACKNOWLEDGED = 10_000  # far more than one turn takes
ANSWER_SECONDS = 120  # an answer that nobody fetched is dropped after this long

log = structlog.get_logger(__name__)


def answer_key(sender: str) -> str:
    return f"trialyard:answer:{sender}"


def worker_key(worker: str) -> str:
    """The hash that a worker keeps alive with its beats; its fields are those of `GET /api/v1/workers`."""
    return f"trialyard:worker:{worker}"


def events_channel(study_id: int) -> str:
    """Published after every commit that added events to a study; the message is the newest sequence number."""
    return f"trialyard:events:{study_id}"


def open_redis(url: str, longest_block: float = 5.0, retries: int | None = None) -> redis.Redis:
    """A client that finds out when the other end is gone without a word: a half-open connection tells nothing.

    Args:
        longest_block: seconds that a blocking read of the caller's may wait; a few more, and it has failed.
        retries: how often, at once, what failed is tried again; None leaves it to the library.

    Raises:
        SettingsError: the URL is none of a Redis.
    """
    timeout = longest_block + SILENCE_SECONDS
    try:
        client = redis.Redis.from_url(url, protocol=2, socket_connect_timeout=5, socket_timeout=timeout)
    except ValueError:
        # What urlsplit complains about may be a piece of the password.
        shape = "redis://:password@host:6379/0 (in a password %2F for /, %40 for @), rediss://… or unix:///path/to.sock"
        raise SettingsError(f"TRIALYARD_REDIS_URL: this is no address of a Redis; write {shape}") from None
    if retries is not None:
        client.set_retry(Retry(NoBackoff(), retries))
    return client


def check_redis(url: str) -> str | None:
    """Before a process begins to wait for Redis: why it does not answer, which may pass; None if it does.

    Raises:
        SettingsError: the URL is none of a Redis, or the Redis there does not let us in.
    """
    where = without_password(url)
    with closing(open_redis(url, retries=0)) as client:
        try:
            client.ping()
        except (AuthenticationError, ResponseError) as error:
            raise SettingsError(f"TRIALYARD_REDIS_URL: the Redis at {where} does not let us in: {error}") from error
        except (RedisError, OSError) as error:
            return f"Redis at {where} does not answer yet: {error}"
    return None


def takes_nothing(error: Exception) -> bool:
    """Whether Redis is there and refuses all that is written, which may pass: it has no memory left or is a copy of
    another, or its disk is full.
    """
    if isinstance(error, OutOfMemoryError | ReadOnlyError):
        return True
    return isinstance(error, ResponseError) and any(code in str(error) for code in ("MISCONF ", "NOREPLICAS "))


def _nothing() -> None:
    """To be done while somebody waits: nothing, or nothing more."""


class Caller:
    """One sender's side: requests out, answers in, in order. Not for use by two threads at once, which it forbids."""

    def __init__(self, client: redis.Redis, sender: str, resend_seconds: float = 0.25) -> None:
        self._wire = Wire(client)
        self._sender = sender
        self._resend = resend_seconds
        # Greater than any of an earlier life of this sender, which was on this machine since it started: the monotonic
        # clock says so, and no clock that is set back.
        self._sequences = itertools.count(time.monotonic_ns() // 1000)
        self._lock = threading.Lock()
        self._is_connected = True

    def call(
        self,
        request: Request,
        patience: float,
        meanwhile: Callable[[], None] = _nothing,
        on_wait: Callable[[], None] = _nothing,
    ) -> Answer:
        """Send a request until it is answered.

        The request is sent again while no answer comes, after 0.25 s and then ever less often: the stream may have
        been wiped, the scheduler may be starting. Redis being away is waited out in the same way.

        Args:
            patience: seconds after which to give up.
            meanwhile: called once the request is on its way, or cannot be sent, before its answer is waited for.
            on_wait: called once if no answer has come with the first sending.

        Raises:
            Unavailable: no answer came within `patience`; CutOff, if Redis could not be reached in the end.
            OtherVersion: the answer cannot be read.
        """
        with self._lock:
            sequence = next(self._sequences)
            document = request.model_copy(update={"sender": self._sender, "sequence": sequence}).model_dump_json()
            deadline = time.monotonic() + patience
            wait, is_again = self._resend, False
            while (left := deadline - time.monotonic()) > 0:
                answer = self._try(document, sequence, min(wait, left), meanwhile, is_again)
                if answer is not None:
                    return answer
                on_wait()
                meanwhile = on_wait = _nothing
                wait, is_again = min(wait * 2, 5.0), True
        if not self._is_connected:
            raise CutOff(f"Redis could not be reached within {patience:g} s")
        raise Unavailable(f"the scheduler did not answer within {patience:g} s; is `trialyard scheduler` running?")

    def send(self, request: Request) -> None:
        """Send a request that wants no answer; lost if Redis is away."""
        self._wire.send(_entry(request.model_dump_json()))

    def _try(
        self, document: str, sequence: int, wait: float, meanwhile: Callable[[], None], is_again: bool
    ) -> Answer | None:
        key, entry = answer_key(self._sender), _entry(document)
        until = time.monotonic() + wait
        # That Redis has the message is told by the scheduler's answer; where that does not come, Redis is asked itself.
        heard, unheard = ((entry,), ()) if is_again else ((), (entry,))
        try:
            popped = self._wire.send(*heard, _popping(key, wait), unheard=unheard, meanwhile=meanwhile)[-1]
            self._is_connected = True
            while popped is not None:
                reply = _read_reply(popped[1])
                if reply.sequence == sequence:
                    return reply.answer
                left = until - time.monotonic()  # an answer to an earlier sending of an earlier request: drop it
                popped = self._wire.send(_popping(key, left))[0] if left > 0 else None
        except RedisError as error:
            if isinstance(error, ResponseError) and not takes_nothing(error):
                raise
            log.warning("redis is away", error=str(error))
            self._is_connected = False
            time.sleep(wait)  # it failed at once; without a pause this would spin
        return None


def _read_reply(document: bytes) -> Reply:
    """Raises: OtherVersion."""
    try:
        return Reply.model_validate_json(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{first['msg']} at {'.'.join(map(str, first['loc']))}"
        raise OtherVersion(f"the scheduler is of another version: its answer cannot be read here ({where})") from None


def _entry(document: str) -> Command:
    return ("XADD", STREAM, "*", "m", document)


def _popping(key: str, seconds: float) -> Command:
    return ("BLPOP", key, f"{max(seconds, 0.001):.3f}")  # 0 would be forever


@dataclass(frozen=True)
class Received:
    """A request with its place in the stream."""

    id: bytes
    request: Request


class Inbox:
    """The scheduler's side of the stream."""

    def __init__(self, client: redis.Redis) -> None:
        self._wire = Wire(client)
        self._unreadable: list[bytes] = []

    def read(self, block_seconds: float | None, most: int = 256) -> list[Received]:
        """What has come in, waiting up to `block_seconds` for the first of it (None: not at all).

        Raises:
            StreamLost: the stream or its group is gone (a FLUSHALL); both are made anew before this is raised.
        """
        block = None if block_seconds is None else max(1, int(block_seconds * 1000))
        return self._read(">", most, block)

    def read_unacknowledged(self) -> list[Received]:
        """What a predecessor, or this process before an error, had read and not acknowledged."""
        return self._read("0", MOST_UNACKNOWLEDGED, None)

    def settle(
        self, received: Sequence[Received], replies: Iterable[tuple[str, Reply]] = (), events: Mapping[int, int] = {}
    ) -> None:
        """In one round trip: acknowledge what was read, answer each sender, and publish each study's newest event."""
        commands: list[Command] = []
        if ids := [each.id for each in received] + self._unreadable:
            commands += [("XACK", STREAM, GROUP, *ids), ("XDEL", STREAM, *ids)]
        refused = 0
        for sender, reply in replies:
            refused += isinstance(reply.answer, Decision | Settled) and reply.answer.stale
            key = answer_key(sender)
            commands += [("RPUSH", key, reply.model_dump_json()), ("EXPIRE", key, ANSWER_SECONDS)]
        commands += [("PUBLISH", events_channel(study_id), sequence) for study_id, sequence in events.items()]
        if refused:
            commands.append(("INCRBY", REFUSED_KEY, refused))
        if commands:
            self._wire.send(*commands)
        self._unreadable = []

    def make_group(self) -> None:
        """Make the stream and its group unless they exist; the group begins at the stream's first entry."""
        try:
            self._wire.send(("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"))
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _read(self, since: str, most: int, block: int | None) -> list[Received]:
        waiting = () if block is None else ("BLOCK", block)
        try:
            (answer,) = self._wire.send(
                ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", most, *waiting, "STREAMS", STREAM, since)
            )
        except ResponseError as error:
            if "NOGROUP" not in str(error) and "UNBLOCKED" not in str(error):
                raise
            self.make_group()
            raise StreamLost from error
        entries = answer[0][1] if answer else []
        return [received for received in map(self._parse, entries) if received is not None]

    def _parse(self, entry: tuple[bytes, list[bytes] | None]) -> Received | None:
        """`entry`: its id, and names and values by turns; None instead of these if it was deleted meanwhile."""
        try:
            name, document = entry[1] or (b"", b"")
            if name != b"m":
                raise ValueError(f"an entry has no field {name!r}")
            return Received(entry[0], REQUESTS.validate_json(document))
        except ValueError as error:
            log.warning("dropped an unreadable message", id=entry[0].decode(), error=str(error)[:500])
            self._unreadable.append(entry[0])
            return None


class StreamLost(Exception):
    """The stream was wiped: the queue has to be rebuilt from SQL."""
