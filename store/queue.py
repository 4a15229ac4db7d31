"""The queue of trials and tasks: RQ jobs that carry only ids. A wake-up channel, which may be wiped at any time."""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import redis
import structlog
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

FUNCTION = "worker.jobs.perform"  # the only one that a job may name
FAILURE_SECONDS = 3600  # how long RQ's own tools show a job that it counts as failed

_PREFIX = "trials:"  # of our queues' names
_QUEUE_NAME = re.compile(rf"{_PREFIX}(?P<pool>[^:]+)(?P<gpu>:gpu(:(?P<gpus>\d{{1,4}}))?)?")
_JOB_ID = re.compile(r"(?:trial-(\d+)-(\d+)|preflight-(\d+))-(\d+)")
_TASK_ID = re.compile(r"task-(\d+)-(\d+)-(\d+)")

log = structlog.get_logger(__name__)


class Errand(NamedTuple):
    """What a job asks for: to take a trial of a study, or (without a number) the study's preflight; or one of its
    tasks, which follow the trials."""

    study_id: int
    number: int | None = None
    kind: Literal["trial", "task"] = "trial"

    @property
    def is_preflight(self) -> bool:
        return self.number is None


class WaitingJob(NamedTuple):
    """A job by what its id says."""

    study_id: int
    number: int | None
    attempt: int


def queue_name(pool: str, gpus: int) -> str:
    """The one queue of a kind of worker: RQ takes from a single queue atomically, from several it does not.

    Args:
        gpus: how many a trial has.
    """
    if gpus == 0:
        return f"{_PREFIX}{pool}"
    return f"{_PREFIX}{pool}:gpu" if gpus == 1 else f"{_PREFIX}{pool}:gpu:{gpus}"


def read_queue_name(name: str) -> tuple[str, int] | None:
    """The pool and the GPUs for which `queue_name` gives this name; None if it gives it for none."""
    found = _QUEUE_NAME.fullmatch(name)
    if found is None:
        return None
    return found["pool"], 0 if found["gpu"] is None else int(found["gpus"] or 1)


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

    def enqueue(self, study_id: int, number: int | None, attempt: int, pool: str, gpus: int) -> None:
        """Put a job for a trial (or a preflight, without a number) at the queue's end, once however often called."""
        what = f"preflight-{study_id}" if number is None else f"trial-{study_id}-{number}"
        arguments = (study_id,) if number is None else (study_id, number)
        self._enqueue(queue_name(pool, gpus), what, attempt, arguments, at_front=False)

    def enqueue_task(self, job: WaitingJob, pool: str, gpus: int, *, at_front: bool) -> None:
        """Put a job for a task into the queue; at its beginning, if somebody waits for it."""
        what, arguments = f"task-{job.study_id}-{job.number}", (job.study_id, job.number or 0, "task")
        self._enqueue(queue_name(pool, gpus), what, job.attempt, arguments, at_front=at_front)

    def waiting(self) -> set[WaitingJob]:
        """The trials' jobs and preflights that no worker has taken yet, in all pools."""
        found = map(_JOB_ID.fullmatch, self._job_ids())
        return {_waiting_job(match) for match in found if match is not None}

    def waiting_tasks(self) -> set[WaitingJob]:
        """The same for tasks."""
        found = map(_TASK_ID.fullmatch, self._job_ids())
        return {WaitingJob(*map(int, match.groups())) for match in found if match is not None}

    def _enqueue(self, name: str, what: str, attempt: int, arguments: tuple[int | str, ...], *, at_front: bool) -> None:
        queue = Queue(name, connection=self._redis, job_class=TrialJob, serializer=JSONSerializer)
        job = queue.create_job(
            FUNCTION,
            args=arguments,
            job_id=f"{what}-{attempt}",
            description=what,
            timeout=-1,  # a trial ends when its budget says so, not when RQ loses patience
            result_ttl=0,
            failure_ttl=FAILURE_SECONDS,
        )
        pipeline = self._redis.pipeline()
        pipeline.multi()
        queue.remove(job.id, pipeline=pipeline)
        queue.enqueue_job(job, pipeline=pipeline, at_front=at_front)
        pipeline.execute()

    def _job_ids(self) -> list[str]:
        pipeline = self._redis.pipeline(transaction=False)
        for queue in Queue.all(self._redis, serializer=JSONSerializer):
            if queue.name.startswith(_PREFIX):
                pipeline.lrange(queue.key, 0, -1)
        return [job_id.decode() for job_ids in pipeline.execute() for job_id in job_ids]


class _NotOurs(ValueError):
    """A job holds something that none of ours does."""


def _errand_of(job: TrialJob) -> Errand:
    if job.func_name != FUNCTION or job.instance is not None or job.kwargs:
        raise _NotOurs(f"it would call {job.func_name!r}; a job may only call {FUNCTION!r}, with ids")
    ids = job.args[:-1] if len(job.args) == 3 and job.args[-1] == "task" else job.args
    if not 1 <= len(ids) <= 2 or not all(type(each) is int and each >= 0 for each in ids):
        raise _NotOurs(f"its arguments are {job.args!r}; they must be a study's id and a trial's or a task's number")
    extras = (job._success_callback_name, job._failure_callback_name, job._stopped_callback_name, job.webhooks)
    if any(extras) or job._dependency_ids or job.retries_left or job.repeats_left or job.group_id:
        raise _NotOurs("it carries callbacks, webhooks, dependencies or retries; a job of ours has none")
    return Errand(*job.args)


def _waiting_job(match: re.Match[str]) -> WaitingJob:
    study_id, number, preflight_of, attempt = match.groups()
    if preflight_of is not None:
        return WaitingJob(int(preflight_of), None, int(attempt))
    return WaitingJob(int(study_id), int(number), int(attempt))
