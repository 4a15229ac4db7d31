"""Addresses that lead nowhere are the operator's to mend: each says which setting, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from store.addresses import without_password
from store.bus import check_redis, open_redis
from store.errors import SettingsError
from store.migrate import upgrade
from store.session import connect
from trialyard.local import free_port


@pytest.mark.parametrize("url", ["http://host", "host:6379", "redis://host:port", "redis://:pass/word@host:1"])
def test_what_is_no_address_of_a_redis_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^TRIALYARD_REDIS_URL: .*; write redis://"):
        open_redis(url)


def test_a_redis_that_does_not_let_us_in_is_told_from_one_that_is_away(redis_url: str) -> None:
    assert check_redis(redis_url) is None
    assert "does not answer yet" in str(check_redis(f"redis://:secret@127.0.0.1:{free_port()}"))
    with pytest.raises(SettingsError, match="does not let us in: ") as caught:  # its default user has no password
        check_redis(redis_url.replace("unix://", "unix://somebody:secret@"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://:secret@host:6379/0", "redis://host:6379/0"),
        ("redis://me:se/cret@host", "redis://host"),  # not quoted
        ("redis://me:s@cret@host", "redis://host"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
        ("redis://host/0?username=me&password=s@cret", "redis://host/0"),
        ("s3://bucket/path", "s3://bucket/path"),
    ],
)
def test_an_address_is_told_without_its_password(url: str, told: str) -> None:
    assert without_password(url) == told


@pytest.mark.parametrize("url", ["somewhere", "postgresql://host:port/name"])
def test_what_is_no_address_of_a_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(
        SettingsError, match=r"^TRIALYARD_DATABASE_URL is no address of a database; write postgresql://"
    ):
        connect(url)


def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/name"

    with pytest.raises(
        SettingsError, match=r"^TRIALYARD_DATABASE_URL: .*127\.0\.0\.1:.* cannot be used: .* refused"
    ) as caught:
        upgrade(url)
    assert "secret" not in str(caught.value)


def test_a_database_cannot_be_made_where_there_is_no_folder() -> None:
    with pytest.raises(SettingsError, match="/proc/nowhere cannot be made for the database: "):
        connect("sqlite:////proc/nowhere/t.db")


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/t.db"
    upgrade(url)
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    engine.dispose()

    with pytest.raises(SettingsError, match=r"changed by a newer Trialyard than this one .*v9999"):
        upgrade(url)
