"""The RQ worker of a slot: it takes jobs from one queue, and leaves the work to the slot's runner.

RQ's bookkeeping is a courtesy to RQ's own tools. What a trial came to travels on the reports' stream, so that nothing
here may stop a trial or be stopped by a Redis that is away, restarted or wiped.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import redis
import structlog
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from rq import Queue, Worker, worker_registration
from rq.exceptions import StopRequested
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import WorkerStatus

from store.bus import takes_nothing
from store.queue import TrialJob
from worker.slot import Slot

WORKER_SECONDS = 20  # RQ waits for a job 15 s less than this, and registers again in between
RETRY_SECONDS = 0.5

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Patience(ConstantBackoff):
    """Between two tries to reach Redis. RQ quits when a command fails; so no command of RQ's fails."""

    def __init__(self, is_leaving: Callable[[], bool]) -> None:
        super().__init__(RETRY_SECONDS)
        self._is_leaving = is_leaving

    def compute(self, failures: int) -> float:
        """Raises: RedisConnectionError: who leaves does not wait for a Redis that is away."""
        if self._is_leaving():
            raise RedisConnectionError("redis is away, and this worker is leaving")
        if failures == 1:
            log.warning("redis is away; waiting for it")
        return super().compute(failures)


class _Tries(Retry):
    """Tries for ever what a Redis that is away, or that takes nothing at the moment, did not do."""

    def __init__(self, is_leaving: Callable[[], bool]) -> None:
        super().__init__(Patience(is_leaving), -1, (RedisConnectionError, RedisTimeoutError, ResponseError))

    def call_with_retry(
        self,
        do: Callable[[], T],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Raises: ResponseError: it refuses this one command."""

        def may_pass(error: Exception) -> bool:
            is_answer = isinstance(error, ResponseError)
            return takes_nothing(error) if is_answer else is_retryable is None or is_retryable(error)

        return super().call_with_retry(do, fail, may_pass, with_failure_count)


class SlotWorker(Worker):
    """Serves one queue with one slot until it is asked to leave."""

    def __init__(self, client: redis.Redis, queue: str, name: str, slot: Slot, grace_seconds: float) -> None:
        """`grace_seconds`: how long a trial may take to give itself back before it is ended."""
        self.is_leaving = False
        self.is_draining = False
        client.set_retry(_Tries(lambda: self.is_leaving))
        super().__init__(
            [queue],
            name=name,
            connection=client,
            job_class=TrialJob,
            serializer=JSONSerializer,
            worker_ttl=WORKER_SECONDS,
        )
        self._slot = slot
        self._grace_seconds = grace_seconds
        self._has_job = False

    def execute_job(self, job: Job, queue: Queue) -> None:  # noqa: ARG002 - RQ's signature
        if not isinstance(job, TrialJob):
            raise TypeError(f"{job.id}: this worker reads jobs as TrialJob, not as {type(job).__name__}")
        self._has_job = True
        self.prepare_execution(job)
        self.prepare_job_execution(job, remove_from_intermediate_queue=True)
        self._slot.do(job.errand, meanwhile=lambda: self.maintain_heartbeats(job))
        self._has_job = False
        try:
            self._forget(job)
            self.set_state(WorkerStatus.IDLE)
        except RedisConnectionError as error:  # only who leaves gives up
            log.warning("could not sign a job off", job=job.id, error=str(error))

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Register with every heartbeat: a wipe of Redis takes the registration too."""
        super().heartbeat(timeout, pipeline)
        (self.connection if pipeline is None else pipeline).hset(self.key, mapping=self.serialize())
        worker_registration.register(self, pipeline)

    def request_stop(self, _signum: int, _frame: FrameType | None) -> None:
        """Leave: at once if there is no job in hand, else when its trial has given itself back. Once is enough."""
        if self.is_leaving:
            return
        self.is_leaving = self._stop_requested = True
        self._slot.leave()
        if not self._has_job:
            raise StopRequested
        signal.signal(signal.SIGALRM, lambda _signum, _frame: self._slot.kill())
        signal.setitimer(signal.ITIMER_REAL, self._grace_seconds)

    def request_drain(self, _signum: int, _frame: FrameType | None) -> None:
        """Leave when the job in hand is done, however long that takes; at once if there is none."""
        if self.is_draining or self.is_leaving:
            return
        self.is_draining = self._stop_requested = True
        self._slot.drain()
        if not self._has_job:
            raise StopRequested

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:  # noqa: ARG002 - RQ's signature
        """What `rq`'s own commands to stop a job do: the attempt is reported as lost."""
        self._slot.kill()

    def teardown(self) -> None:
        try:
            super().teardown()  # type: ignore[no-untyped-call]
        except RedisError as error:
            log.warning("could not sign off from RQ", error=str(error))

    @property
    def horse_pid(self) -> int:
        return self._slot.runner_pid if self._has_job else 0

    def _forget(self, job: TrialJob) -> None:
        """Drop the job. Nothing is read, so nothing can be missing after a wipe."""
        with self.connection.pipeline() as pipeline:
            self.increment_successful_job_count(pipeline=pipeline)
            self.cleanup_execution(job, pipeline=pipeline)
            pipeline.delete(job.key)
            pipeline.execute()
