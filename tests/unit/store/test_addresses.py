"""Addresses that lead nowhere are the operator's to mend: each says which setting, and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from store.bus import open_redis
from store.errors import SettingsError
from store.migrate import upgrade
from store.session import connect
from trialyard.local import free_port


@pytest.mark.parametrize("url", ["http://host", "host:6379", "redis://host:port"])
def test_what_is_no_address_of_a_redis_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^TRIALYARD_REDIS_URL: .*; write redis://"):
        open_redis(url)


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
