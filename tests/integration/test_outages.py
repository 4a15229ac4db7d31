"""What the log says while Redis or the database is away, and when they are back."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from api.bell import Bell
from search.scheduler import Scheduler
from store.bus import Caller, open_redis
from store.errors import CutOff
from store.messages import AttemptKey, Decision, Report
from store.migrate import upgrade
from store.roster import read_scheduler
from store.session import connect
from store.settings import Settings
from tests.integration.pools import eventually
from tests.services import RedisServer

Logs = list[MutableMapping[str, Any]]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@contextmanager
def running_scheduler(server: RedisServer, folder: Path) -> Iterator[tuple[Engine, Logs]]:
    """With what it logs, from when it is active."""
    url = f"sqlite:///{folder}/t.db"
    settings = Settings(home_dir=folder, database_url=url, redis_url=server.url, idle_seconds=0.1)
    upgrade(url)
    engine = connect(url)
    with open_redis(settings.redis_url) as client, capture_logs() as logs:
        scheduler = Scheduler(settings, engine, client)
        thread = threading.Thread(target=scheduler.run)
        thread.start()
        try:
            eventually(lambda: "the scheduler is active" in said(logs))
            logs.clear()
            yield engine, logs
        finally:
            scheduler.stop()
            thread.join()
    engine.dispose()


def said(logs: Logs) -> list[str]:
    return [line["event"] for line in logs]


def retried(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether the scheduler has met an error several times."""
    waits: list[float] = []
    wait = threading.Event.wait

    def counted(self: threading.Event, timeout: float | None = None) -> bool:
        if timeout == 0.05:
            waits.append(timeout)
        return wait(self, timeout)

    monkeypatch.setattr("search.scheduler.RETRY_SECONDS", 0.05)
    monkeypatch.setattr(threading.Event, "wait", counted)
    return lambda: len(waits) >= 4


def test_the_scheduler_says_once_that_redis_is_away_and_that_it_is_back(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_retried = retried(monkeypatch)
    with running_scheduler(server, tmp_path) as (_, logs):
        server.stop()
        eventually(has_retried)
        server.start()
        eventually(lambda: "redis is back" in said(logs))

    assert [event for event in said(logs) if event.startswith("redis is ")] == ["redis is away", "redis is back"]


@pytest.mark.parametrize("why", ["memory", "replica", "disk"])
def test_a_redis_that_takes_nothing_is_waited_for(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    report = Report(attempt=AttemptKey(1, 0, 1), step=0, metrics={"loss": 1.0})
    has_retried = retried(monkeypatch)
    with running_scheduler(server, tmp_path) as (_, logs):
        with server.refusing(why):
            eventually(has_retried)
            with pytest.raises(CutOff):
                Caller(open_redis(server.url), "w1").call(report, patience=0.5)
        eventually(lambda: "redis is back" in said(logs))

        assert Caller(open_redis(server.url), "w2").call(report, patience=5) == Decision(decision="stop", stale=True)
    told = [line["event"] for line in logs if "seconds" in line]  # the caller's words have none
    assert told == ["redis is away", "redis is back"]


def test_the_scheduler_says_once_that_the_database_failed_and_that_it_is_back(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_retried = retried(monkeypatch)
    with running_scheduler(server, tmp_path) as (engine, logs):
        rename(engine, "scheduler_lease", "elsewhere")
        eventually(has_retried)
        rename(engine, "elsewhere", "scheduler_lease")
        eventually(lambda: "the database is back" in said(logs))

    told = [event for event in said(logs) if "database" in event]
    assert told == ["the database failed; loading again", "the database is back"]


def test_a_scheduler_whose_database_takes_nothing_does_not_call_itself_active_again_and_again(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_retried = retried(monkeypatch)
    refusal = "BEFORE UPDATE ON scheduler_lease BEGIN SELECT RAISE(FAIL, 'nothing is taken'); END"
    with running_scheduler(server, tmp_path) as (engine, logs):
        with engine.begin() as connection:
            connection.execute(text(f"CREATE TRIGGER refusal {refusal}"))
        eventually(has_retried)
        with open_redis(server.url) as client:
            eventually(lambda: "nothing is taken" in read_scheduler(client)["trouble"])  # to whoever asks why it stands
            with engine.begin() as connection:
                connection.execute(text("DROP TRIGGER refusal"))
            eventually(lambda: "the database is back" in said(logs))
            eventually(lambda: read_scheduler(client)["trouble"] == "")

    told = [event for event in said(logs) if "database" in event or "active" in event]
    assert told == ["the database failed; loading again", "the database is back"]


def test_a_database_that_takes_its_time_is_told_of(
    server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.turn.SLOW_COMMIT_SECONDS", 0.3)
    with running_scheduler(server, tmp_path) as (_, logs):
        with closing(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # nobody else writes meanwhile
            time.sleep(0.8)
        eventually(lambda: [line for line in logs if line["event"].startswith("the database is slow")])
    assert said(logs).count("the database failed; loading again") == 0


def rename(engine: Engine, table: str, name: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {name}"))


def test_the_bell_says_once_that_redis_is_away_and_that_it_is_back(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.bell.RETRY_SECONDS", 0.05)

    async def away_for_a_while() -> None:
        bell = Bell(server.url)
        async with bell.listening():
            await until(lambda: bell.hears)
            server.stop()
            await until(lambda: not bell.hears)
            await asyncio.sleep(0.5)
            server.start()
            await until(lambda: bell.hears)

    # In a thread of its own: a browser that another test has opened keeps a loop running in this one.
    with capture_logs() as logs, ThreadPoolExecutor() as threads:
        threads.submit(asyncio.run, away_for_a_while()).result()

    assert said(logs) == ["redis is away; event streams look at the database instead", "redis is back"]


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not look():
            await asyncio.sleep(0.01)
