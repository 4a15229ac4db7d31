"""A scheduler that follows a test's script: it hands out what it was given, and remembers everything it was told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from redis.exceptions import RedisError

from store.bus import Inbox, Received, StreamLost, open_redis
from store.messages import (
    Answer,
    Assignment,
    AttemptKey,
    Decision,
    DecisionName,
    Finish,
    Holds,
    Nothing,
    Preflighted,
    PreflightTask,
    Reply,
    Report,
    Request,
    Settled,
    Take,
)
from store.queue import TrialQueue

PATIENCE_SECONDS = 60.0
LEAVING_SECONDS = 3.0

R = TypeVar("R", bound=Request)


class ScriptedScheduler:
    """Answers on a thread of its own. An attempt is open from its assignment to its first end."""

    def __init__(self, redis_url: str, pool: str = "default", gpus: int = 0) -> None:
        self.decide: Callable[[Report], DecisionName] = lambda _report: "continue"
        self.to_pull: deque[Assignment] = deque()
        self.requests: list[Request] = []
        self.preflights: dict[int, dict[str, Any]] = {}
        self.pool, self.gpus = pool, gpus
        self._client = open_redis(redis_url)
        self._inbox = Inbox(self._client)
        self._queue = TrialQueue(self._client)
        self._waiting: dict[tuple[int, int | None], Assignment] = {}
        self._open: set[AttemptKey] = set()
        self._answered: dict[str, tuple[int, Answer]] = {}
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted scheduler")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def assign(self, assignment: Assignment) -> None:
        """Put a trial into the queue, for whoever takes its job."""
        study_id, number, attempt = assignment.attempt
        self.hand_out_again(assignment)
        self._await_end(f"rq:job:trial-{study_id}-{number}-{attempt}")
        self._queue.enqueue(study_id, number, attempt, self.pool, self.gpus)

    def hand_out_again(self, assignment: Assignment) -> None:
        """Have a trial ready for whoever asks for it next, without a job of its own."""
        study_id, number, _ = assignment.attempt
        with self._news:
            self._waiting[(study_id, number)] = assignment

    def preflight(self, study_id: int, definition: dict[str, Any]) -> None:
        self.preflights[study_id] = definition
        self._queue.enqueue(study_id, None, 1, self.pool, self.gpus)

    def cancel_preflight(self, study_id: int) -> None:
        """Nobody waits for a study's preflight any more."""
        self.preflights.pop(study_id, None)

    def end(self, attempt: AttemptKey) -> None:
        """Consider an attempt ended, as after a lease ran out: what still comes from it is stale."""
        with self._news:
            self._open.discard(attempt)

    def await_request(
        self, kind: type[R], condition: Callable[[R], bool] = lambda _request: True, seconds: float = PATIENCE_SECONDS
    ) -> R:
        """The first request of a kind that meets a condition; fails the test if none comes in time."""
        with self._news:
            self._news.wait_for(lambda: self.seen(kind, condition), seconds)
            found = self.seen(kind, condition)
            assert found, f"no such {kind.__name__} came; there were {self.requests}"
            return found[0]

    def seen(self, kind: type[R], condition: Callable[[R], bool] = lambda _request: True) -> list[R]:
        return [request for request in self.requests if isinstance(request, kind) and condition(request)]

    def _await_end(self, job: str) -> None:
        """Of a job that an earlier test's trial had: what ends takes its record along, also that of the next one of its
        name. One whose worker was killed never ends.
        """
        deadline = time.monotonic() + LEAVING_SECONDS
        while self._client.hget(job, "status") == b"started" and time.monotonic() < deadline:
            time.sleep(0.01)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                received = self._inbox.read(0.05)
                replies = [reply for each in received if (reply := self._reply(each)) is not None]
                self._inbox.settle(received, replies)
            except StreamLost:
                continue
            except RedisError:
                self._stopping.wait(0.05)
                with contextlib.suppress(RedisError):
                    self._inbox.make_group()

    def _reply(self, received: Received) -> tuple[str, Reply] | None:
        request = received.request
        with self._news:
            if not request.sender:  # it wants no answer
                self.requests.append(request)
                self._news.notify_all()
                return None
            before = self._answered.get(request.sender)
            if before is not None and before[0] >= request.sequence:
                answer = before[1]  # it was sent twice
            else:
                answer = self._answer(request)
                self.requests.append(request)
                self._news.notify_all()
            self._answered[request.sender] = request.sequence, answer
        return request.sender, Reply(sequence=request.sequence, answer=answer)

    def _answer(self, request: Request) -> Answer:
        match request:
            case Take(number=None) if definition := self.preflights.get(request.study_id):
                return PreflightTask(study_id=request.study_id, study="study", definition=definition)
            case Preflighted():
                self.preflights.pop(request.study_id, None)
                return Nothing()
            case Take():
                return self._hand_out(self._waiting.pop((request.study_id, request.number), None)) or Nothing()
            case Report():
                stale = request.attempt not in self._open
                return Decision(decision="stop" if stale else self.decide(request), stale=stale)
            case Holds():
                stale = request.attempt not in self._open
                return Decision(decision="stop" if stale else "continue", stale=stale)
            case Finish():
                stale = request.attempt not in self._open
                self._open.discard(request.attempt)
                pulled = self.to_pull.popleft() if request.pull and self.to_pull else None
                return Settled(stale=stale, next=self._hand_out(pulled))
            case _:
                return Nothing()

    def _hand_out(self, assignment: Assignment | None) -> Assignment | None:
        if assignment is not None:
            self._open.add(assignment.attempt)
        return assignment
