"""The queue of trials: RQ jobs that carry only ids. A wake-up channel, which may be wiped at any time."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import redis
import structlog
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

FUNCTION = "worker.jobs.perform"  # the only one that a job may name
FAILURE_SECONDS = 3600  # how long RQ's own tools show a job that it counts as failed

_JOB_ID = re.compile(r"(?:trial-(\d+)-(\d+)|preflight-(\d+))-(\d+)")

log = structlog.get_logger(__name__)


class Errand(NamedTuple):
    """What a job asks for: to take a trial of a study, or (without a number) the study's preflight."""

    study_id: int
    number: int | None = None


class WaitingJob(NamedTuple):
    """A job by what its id says."""

    study_id: int
    number: int | None
    attempt: int


def queue_name(pool: str, gpu: bool) -> str:
    """The one queue of a kind of worker: RQ takes from a single queue atomically, from several it does not."""
    return f"trials:{pool}:gpu" if gpu else f"trials:{pool}"


class TrialJob(Job):
    """A job that is ours: it names one function, and nothing else that could be called or fetched.

    Anything else that stands in Redis is treated as if it did not exist. RQ passes over such a job, and neither
    imports what it names nor unpickles what it holds.
    """

    errand: Errand

    def restore(self, raw_data: Any) -> None:
        """Raises: NoSuchJobError: it is not ours."""
        try:
            super().restore(raw_data)
            self.errand = _errand_of(self)
        except NoSuchJobError:
            raise
        except Exception as error:  # whatever was written to Redis, it must not stop a worker
            log.error("refused a job that is not ours", job=self.id, error=str(error) or type(error).__name__)
            raise NoSuchJobError(f"{self.id} is no job of ours") from error


class TrialQueue:
    """The scheduler's side: jobs in, and which of them still wait."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def enqueue(self, study_id: int, number: int | None, attempt: int, pool: str, gpu: bool) -> None:
        """Put a job for a trial (or a preflight, without a number) at the queue's end, once however often called."""
        queue = Queue(queue_name(pool, gpu), connection=self._redis, job_class=TrialJob, serializer=JSONSerializer)
        what = f"preflight-{study_id}" if number is None else f"trial-{study_id}-{number}"
        job = queue.create_job(
            FUNCTION,
            args=(study_id,) if number is None else (study_id, number),
            job_id=f"{what}-{attempt}",
            description=what,
            timeout=-1,  # a trial ends when its budget says so, not when RQ loses patience
            result_ttl=0,
            failure_ttl=FAILURE_SECONDS,
        )
        pipeline = self._redis.pipeline()
        pipeline.multi()
        queue.remove(job.id, pipeline=pipeline)
        queue.enqueue_job(job, pipeline=pipeline)
        pipeline.execute()

    def waiting(self) -> set[WaitingJob]:
        """The jobs that no worker has taken yet, in all pools."""
        pipeline = self._redis.pipeline(transaction=False)
        for queue in Queue.all(self._redis, serializer=JSONSerializer):
            if queue.name.startswith("trials:"):
                pipeline.lrange(queue.key, 0, -1)
        found = (_JOB_ID.fullmatch(job_id.decode()) for job_ids in pipeline.execute() for job_id in job_ids)
        return {_waiting_job(match) for match in found if match is not None}


class _NotOurs(ValueError):
    """A job holds something that none of ours does."""


def _errand_of(job: TrialJob) -> Errand:
    if job.func_name != FUNCTION or job.instance is not None or job.kwargs:
        raise _NotOurs(f"it would call {job.func_name!r}; a job may only call {FUNCTION!r}, with ids")
    if not 1 <= len(job.args) <= 2 or not all(type(each) is int and each >= 0 for each in job.args):
        raise _NotOurs(f"its arguments are {job.args!r}; they must be a study's id and a trial's number")
    extras = (job._success_callback_name, job._failure_callback_name, job._stopped_callback_name, job.webhooks)
    if any(extras) or job._dependency_ids or job.retries_left or job.repeats_left or job.group_id:
        raise _NotOurs("it carries callbacks, webhooks, dependencies or retries; a job of ours has none")
    return Errand(*job.args)


def _waiting_job(match: re.Match[str]) -> WaitingJob:
    study_id, number, preflight_of, attempt = match.groups()
    if preflight_of is not None:
        return WaitingJob(int(preflight_of), None, int(attempt))
    return WaitingJob(int(study_id), int(number), int(attempt))
