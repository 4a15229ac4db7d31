"""The API as it is served: on a port of its own, over a real database and a real Redis, asked by httpx."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import Engine, select

from api.main import create_app
from search.scheduler import Scheduler
from store.bus import open_redis
from store.models import AttemptRow, EventRow, Outcome, ReportRow, StudyRow, TrialRow, TrialState
from store.session import connect, reads, writes
from store.settings import Settings

METRIC = "val/loss"
START_SECONDS = 20.0

# For what does not depend on the database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def definition(name: str = "s", **sections: Any) -> dict[str, Any]:
    """A small valid study for workers that are not ours; any section may be replaced."""
    document: dict[str, Any] = {
        "name": name,
        "objective": {"metric": METRIC, "direction": "minimize"},
        "parameters": {"x": {"low": 0.0, "high": 1.0}},
        "sampler": {"name": "random", "seed": 7},
        "budget": {"trials": 3},
        "trial": {"kind": "external"},
    }
    return document | sections


@dataclass(frozen=True)
class ApiServer:
    """A running server: `http` asks it, `engine` is the way to its database past it."""

    settings: Settings
    engine: Engine
    http: httpx.Client
    url: str

    def create(self, name: str = "s", **sections: Any) -> None:
        answer = self.http.post("/api/v1/studies", json=definition(name, **sections))
        assert answer.status_code == 201, answer.text

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of a path below /api/v1/studies."""
        answer = self.http.get(f"/api/v1/studies/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None) -> httpx.Response:
        return self.http.post(f"/api/v1/studies/{path}", json=body)

    def study_id(self, name: str = "s") -> int:
        with reads(self.engine)() as session:
            return session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()

    def add_trials(self, values: Sequence[float | TrialState | None], study: str = "s") -> None:
        """A trial each: COMPLETE with a value, FAILED with None, or in an open state. Trial n runs for n seconds."""
        study_id = self.study_id(study)
        with writes(self.engine).begin() as session:
            for number, value in enumerate(values):
                session.add(_trial(study_id, number, value))

    def add_attempt(self, number: int, attempt: int, losses: Sequence[float], study: str = "s", first: int = 0) -> None:
        """An ended attempt of a trial that reported a loss a step, the first one at step `first`."""
        key = {"study_id": self.study_id(study), "number": number, "attempt": attempt}
        with writes(self.engine).begin() as session:
            ended = {"started_at": EPOCH, "ended_at": EPOCH, "outcome": str(Outcome.LOST)}
            session.add(AttemptRow(**key, worker="w", device="cpu", **ended))
            session.flush()
            for step, loss in enumerate(losses, first):
                session.add(ReportRow(**key, step=step, metrics={METRIC: loss, "epoch": step}, at=EPOCH))

    def add_events(self, count: int, study: str = "s") -> None:
        """Report events behind those that there are, each with its own number as its step."""
        with writes(self.engine).begin() as session:
            row = session.scalars(select(StudyRow).where(StudyRow.name == study)).one()
            for sequence in range(row.last_event + 1, row.last_event + 1 + count):
                body = {"number": 0, "attempt": 1, "step": sequence, "metrics": {}}
                session.add(EventRow(study_id=row.id, sequence=sequence, kind="report", body=body, at=EPOCH))
            row.last_event += count

    def scheduling(self) -> AbstractContextManager[None]:
        return scheduling(self.settings, self.engine)


@contextmanager
def scheduling(settings: Settings, engine: Engine) -> Iterator[None]:
    """The real scheduler, in a thread."""
    scheduler = Scheduler(settings, engine, open_redis(settings.redis_url))
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    try:
        yield
    finally:
        scheduler.stop()
        thread.join()


@contextmanager
def serving(settings: Settings) -> Iterator[ApiServer]:
    """The server in a thread of this process."""
    engine = connect(settings.database)
    try:
        with listening(settings) as url, httpx.Client(base_url=url, timeout=30, verify=False) as http:  # noqa: S501 - plain HTTP
            yield ApiServer(settings, engine, http, url)
    finally:
        engine.dispose()


@contextmanager
def listening(settings: Settings) -> Iterator[str]:
    """The server's address; it listens on a free port, in a thread of this process."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{_port(server)}"
    finally:
        server.should_exit = True
        thread.join()


def _port(server: uvicorn.Server) -> int:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.005)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


def _trial(study_id: int, number: int, value: float | TrialState | None) -> TrialRow:
    state = value if isinstance(value, TrialState) else TrialState.FAILED if value is None else TrialState.COMPLETE
    return TrialRow(
        study_id=study_id,
        number=number,
        state=str(state),
        parameters={"x": random.Random(number).random()},
        system_attrs={},
        values={METRIC: value} if isinstance(value, float) else None,
        metrics={METRIC: value} if isinstance(value, float) else None,
        step=0 if isinstance(value, float) else None,
        reason="it diverged" if value is None else None,
        created_at=EPOCH,
        started_at=EPOCH,
        ended_at=EPOCH + timedelta(seconds=number) if state.ended else None,
    )
