from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import Connection, Engine, Table, select
from sqlalchemy.exc import DBAPIError

from search.rows import Batch, Row, batch
from store.models import EventRow, StudyRow
from store.pipeline import Pipeline
from store.session import writes

AT = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
STUDIES, EVENTS = StudyRow.__table__, EventRow.__table__
assert isinstance(STUDIES, Table)
assert isinstance(EVENTS, Table)

STUDY = {"id": 7, "name": "seven", "state": "RUNNING", "definition": {"β": [1, None]}, "errors": None, "last_event": 0}
STUDY |= {"system_attrs": {}, "past_spaces": [], "last_task": 0, "created_at": AT, "started_at": None}


def event(number: int) -> Row:
    return {"kind": "trial", "body": {"number": number}, "at": AT}


def write(connection: Connection, *steps: Callable[[Batch], None]) -> None:
    with batch(connection) as rows:
        for step in steps:
            step(rows)


def bodies(connection: Connection) -> list[tuple[int, dict[str, int]]]:
    found = connection.execute(select(EventRow.sequence, EventRow.body).order_by(EventRow.sequence))
    return [(sequence, body) for sequence, body in found]


def test_rows_are_read_as_they_were_given(engine: Engine) -> None:
    with engine.connect() as connection, batch(connection) as rows:
        rows.insert(STUDIES, [STUDY])
        last = rows.append(EVENTS, STUDIES.c.last_event, 7, [event(1), event(2)])
        nobodys = rows.append(EVENTS, STUDIES.c.last_event, 8, [event(1)])
    assert (last(), nobodys()) == (2, None)
    with writes(engine)() as session:
        study = session.get_one(StudyRow, 7)
        assert (study.definition, study.errors, study.created_at, study.last_event) == ({"β": [1, None]}, None, AT, 2)
        assert bodies(session.connection()) == [(1, {"number": 1}), (2, {"number": 2})]


def test_of_a_batch_that_fails_nothing_is_written(engine: Engine) -> None:
    again = STUDY | {"name": "its number is taken"}
    with engine.connect() as connection:
        with pytest.raises(DBAPIError):
            write(connection, lambda rows: rows.insert(STUDIES, [STUDY]), lambda rows: rows.insert(STUDIES, [again]))
        connection.invalidate()
    with engine.connect() as connection:
        assert bodies(connection) == []
        assert connection.scalar(select(StudyRow.id)) is None


def test_what_must_be_found_and_is_not_undoes_the_batch(engine: Engine) -> None:
    with engine.connect() as connection:
        change = "UPDATE study SET last_event = 5 WHERE id = {number}"
        with pytest.raises(KeyError):
            write(
                connection,
                lambda rows: rows.insert(STUDIES, [STUDY]),
                lambda rows: rows.require(change, 8, KeyError(8)),
            )
        connection.invalidate()
    with engine.connect() as connection:
        assert connection.scalar(select(StudyRow.id)) is None


def test_a_batch_is_part_of_a_transaction_that_has_begun(engine: Engine) -> None:
    with writes(engine)() as session:
        assert session.scalar(select(StudyRow.id)) is None
        with batch(session.connection()) as rows:
            rows.insert(STUDIES, [STUDY])
        assert session.scalar(select(StudyRow.id)) == 7
        session.rollback()
    with engine.connect() as connection:
        assert connection.scalar(select(StudyRow.id)) is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_of_a_server_that_ends_its_own_word_is_told(engine: Engine) -> None:
    """One that has no room for its log ends all its connections; the reason is in the first answer."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        pipeline = Pipeline(driver, set())
        pipeline.add("SELECT pg_terminate_backend(pg_backend_pid())")
        pipeline.add("SELECT 1")
        with pytest.raises(psycopg.errors.AdminShutdown, match="terminating connection"):
            pipeline.finish()
        pipeline.abandon()
        connection.invalidate()
