"""What Prometheus may ask: requests as they were served, and the state of things at the moment of asking."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from redis.exceptions import RedisError
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.openapi import PREFIX
from api.parts import Parts
from search.definition import Resources
from store.bus import REFUSED_KEY
from store.models import StudyRow, StudyState, TrialRow, TrialState
from store.queue import read_queue_name
from store.roster import read_workers, whole_number
from store.studies import Studies

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
KIND = ["pool", "gpu", "gpus"]  # labels of a kind of slot

Labels = TypeVar("Labels", bound=tuple[str, ...])

log = structlog.get_logger(__name__)


class ServiceCollector:
    """Counts studies, trials, queued jobs and workers anew at every scrape."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time: registering must not need a database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        try:
            workers, from_redis = self._workers(), list(self._from_redis())
        except RedisError as error:
            log.warning("redis is away; its metrics are left out", error=str(error))
            workers, from_redis = Counter(), []
        yield from self._from_sql([kind[:-1] for kind in workers])
        yield from from_redis
        yield _gauge("trialyard_workers", "Live workers by pool, GPUs a slot and state.", [*KIND, "state"], workers)

    def _workers(self) -> Counter[tuple[str, ...]]:
        workers = read_workers(self._parts.redis)
        return Counter(
            (*_kind(each.get("pool", ""), whole_number(each, "gpus") or 0), each.get("state", "")) for each in workers
        )

    def _from_sql(self, there: Iterable[tuple[str, ...]]) -> Iterable[Metric]:
        """`there`: kinds of slots of which there are some. That none is wanted any more must be said, too."""
        with self._parts.reads() as session:
            studies = _by_state(session, StudyRow, StudyState)
            trials = _by_state(session, TrialRow, TrialState)
            wanted = _wanted_slots(session)
        yield _gauge(
            "trialyard_wanted_slots",
            "Slots that the open studies could use now, by pool and GPUs a slot: what a pool may be scaled to.",
            KIND,
            dict.fromkeys(there, 0) | wanted,
        )
        yield _gauge("trialyard_studies", "Studies by state.", ["state"], studies)
        yield _gauge("trialyard_trials", "Trials of all studies by state.", ["state"], trials)

    def _from_redis(self) -> Iterable[Metric]:
        queues = Queue.all(self._parts.redis, serializer=JSONSerializer)
        depth = {_kind(*kind): len(queue) for queue in queues if (kind := read_queue_name(queue.name)) is not None}
        yield _gauge("trialyard_queue_jobs", "Jobs that no worker has taken yet, by pool and GPUs a slot.", KIND, depth)
        refused = int(self._parts.redis.get(REFUSED_KEY) or 0)
        yield CounterMetricFamily(
            "trialyard_refused_messages", "Messages of attempts that had ended without their worker.", value=refused
        )


class TimeRequests:
    """Measures every request by method, route and status, up to the start of the answer."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._seconds = Histogram(
            "trialyard_request_seconds",
            "From a request to the start of its answer.",
            ["method", "route", "status"],
            buckets=BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"
                self._seconds.labels(method, _pattern(scope), message["status"]).observe(time.perf_counter() - started)
            await send(message)

        await self._app(scope, receive, observed)


_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def _pattern(scope: Scope) -> str:
    """Only that of the route, paths are as many as people care to invent; with the prefix of the API, which its routes
    do not know of, as a study and its page would count as one without.
    """
    pattern: str = getattr(scope.get("route"), "path", "none")
    is_below = scope["path"].startswith(f"{PREFIX}/") and pattern.startswith("/")
    return f"{PREFIX}{pattern}" if is_below and not pattern.startswith(PREFIX) else pattern


def _by_state(
    session: Session, row: type[StudyRow] | type[TrialRow], states: type[StudyState] | type[TrialState]
) -> dict[tuple[str], int]:
    found = dict(session.execute(select(row.state, func.count()).group_by(row.state)).all())
    return {(state.lower(),): found.get(state, 0) for state in states}


def _wanted_slots(session: Session) -> Counter[tuple[str, ...]]:
    """One for a study's preflight; then what its budget lets run at once, and no more than it has trials left."""
    open_states = (StudyState.PREPARING, StudyState.RUNNING)
    query = select(StudyRow.id, StudyRow.state, StudyRow.definition).where(StudyRow.state.in_(map(str, open_states)))
    studies = session.execute(query).all()
    ended = Studies(session).counts([study.id for study in studies])
    wanted: Counter[tuple[str, ...]] = Counter()
    for study in studies:
        if study.definition["trial"].get("kind") == "external":
            continue
        resources = Resources.model_validate(study.definition.get("resources", {}))
        budget = study.definition["budget"]
        left = budget["trials"] - sum(count for state, count in ended[study.id].items() if state.ended)
        slots = 1 if study.state == StudyState.PREPARING else min(left, budget.get("parallel") or left)
        wanted[_kind(resources.pool, resources.gpus)] += max(0, slots)
    return wanted


def _kind(pool: str, gpus: int) -> tuple[str, str, str]:
    """As `KIND` names it."""
    return pool, "yes" if gpus else "no", str(gpus)


def _gauge(
    name: str,
    text: str,
    labels: list[str],
    values: Mapping[Labels, int],
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family
