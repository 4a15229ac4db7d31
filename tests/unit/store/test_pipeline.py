from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import URL

from store.pipeline import Pipeline


@pytest.fixture
def address(postgres_template: URL) -> str:
    return postgres_template.set(database="postgres").render_as_string(hide_password=False)


@pytest.fixture
def driver(address: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(address, prepare_threshold=None, autocommit=True) as driver:
        driver.execute("CREATE TEMPORARY TABLE pipelined (n INTEGER PRIMARY KEY)")
        yield driver


def numbers(driver: psycopg.Connection) -> list[int]:
    return [n for (n,) in driver.execute("SELECT n FROM pipelined ORDER BY n")]


def insert(driver: psycopg.Connection, prepared: set[bytes], *values: int) -> list[str | None]:
    pipeline = Pipeline(driver, prepared)
    for value in values:
        pipeline.add("INSERT INTO pipelined VALUES ($1::int) RETURNING n", str(value))
    return pipeline.finish()


def test_statements_find_values_and_are_committed_together(driver: psycopg.Connection) -> None:
    prepared: set[bytes] = set()
    assert insert(driver, prepared, 1, 2) == ["1", "2"]
    assert insert(driver, prepared, 3) == ["3"]
    assert numbers(driver) == [1, 2, 3]


def test_of_a_pipeline_that_fails_nothing_is_done_and_the_next_one_goes_on(driver: psycopg.Connection) -> None:
    prepared: set[bytes] = set()
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(driver, prepared, 1, 2, 2, 3)

    assert insert(driver, prepared, 4) == ["4"]
    assert numbers(driver) == [4]


def test_within_a_transaction_it_is_a_part_of_it(driver: psycopg.Connection) -> None:
    driver.autocommit = False
    driver.execute("INSERT INTO pipelined VALUES (1)")
    insert(driver, set(), 2)
    driver.rollback()

    assert numbers(driver) == []


def test_a_connection_that_is_lost_is_an_error_of_the_database(driver: psycopg.Connection, address: str) -> None:
    pipeline = Pipeline(driver, set())
    pipeline.add("SELECT 1")
    with psycopg.connect(address, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (driver.info.backend_pid,))
    with pytest.raises(psycopg.OperationalError):
        pipeline.finish()
    pipeline.abandon()

    assert driver.closed
