"""The schema on both databases: migrated equals fresh, wrong states are impossible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase

from store.errors import SettingsError
from store.migrate import config, upgrade
from store.models import AttemptRow, Base, SchedulerLeaseRow, StudyRow, TaskRow, TrialRow
from store.session import connect, reads, writes

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def a_study(**columns: Any) -> StudyRow:
    return StudyRow(**({"id": 1, "name": "s", "state": "RUNNING", "definition": {}, "created_at": NOW} | columns))


def a_trial(**columns: Any) -> TrialRow:
    plain = {"study_id": 1, "number": 0, "state": "RUNNING", "parameters": {}, "system_attrs": {}, "created_at": NOW}
    return TrialRow(**(plain | columns))


def an_attempt(**columns: Any) -> AttemptRow:
    plain = {"study_id": 1, "number": 0, "attempt": 1, "worker": "w", "device": "cpu", "started_at": NOW}
    return AttemptRow(**(plain | columns))


def store(engine: Engine, *rows: DeclarativeBase) -> None:
    with writes(engine).begin() as session:
        for row in rows:
            session.add(row)
            session.flush()


def store_definitions(engine: Engine, *definitions: dict[str, Any]) -> None:
    store(engine, *(a_study(id=n, name=f"s{n}", definition=each) for n, each in enumerate(definitions, 1)))


def stored_definitions(engine: Engine) -> list[dict[str, Any]]:
    with reads(engine)() as session:
        return list(session.scalars(select(StudyRow.definition).order_by(StudyRow.id)))


def test_the_migrated_schema_is_the_fresh_one(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_upgrading_twice_changes_nothing_and_down_leaves_nothing(database_url: str, engine: Engine) -> None:
    upgrade(database_url)
    with engine.begin() as connection:
        command.downgrade(config(connection), "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_attempts_that_ended_before_it_was_counted_are_given_their_device_time(
    database_url: str, engine: Engine
) -> None:
    ended = {"ended_at": NOW + timedelta(seconds=90.5), "outcome": "finished"}
    store(engine, a_study(), a_trial(), an_attempt(**ended), an_attempt(attempt=2))
    with engine.begin() as connection:
        command.downgrade(config(connection), "0008")
    upgrade(database_url)

    with reads(engine)() as session:
        seconds = session.scalars(select(AttemptRow.device_seconds).order_by(AttemptRow.attempt)).all()
    assert seconds == [pytest.approx(90.5, abs=0.01), None]  # SQLite's days have no more digits


def test_studies_under_asha_keep_the_rungs_that_they_have(database_url: str, engine: Engine) -> None:
    """A study went by a factor of 3 where none is written down; whoever had written one goes on with that."""
    pruners = [{"name": "asha"}, {"name": "asha", "reduction_factor": 4}, {"name": "hyperband"}]
    store_definitions(engine, *({"pruner": each} for each in pruners), {"name": "s4"})
    with engine.begin() as connection:
        command.downgrade(config(connection), "0012")
    upgrade(database_url)

    kept = [{"name": "asha", "reduction_factor": 3}, {"name": "asha", "reduction_factor": 4}, {"name": "hyperband"}]
    assert stored_definitions(engine) == [*({"pruner": each} for each in kept), {"name": "s4"}]


def test_studies_of_texts_keep_what_is_a_word_to_them(database_url: str, engine: Engine) -> None:
    trials: list[dict[str, Any]] = [
        {"data": {"source": "file:a.csv", "text": "t"}},
        {"data": {"text": "t", "words": "by_script"}},
        {"data": {"text": "t"}, "model": {"name": "pretrained"}},
        {"data": {"text": None}},
        {"kind": "external"},
    ]
    store_definitions(engine, *({"trial": each} for each in trials), {})
    with engine.begin() as connection:
        command.stamp(config(connection), "0014")
    upgrade(database_url)

    as_it_was = {"data": {"source": "file:a.csv", "text": "t", "words": "plain"}}
    assert stored_definitions(engine) == [*({"trial": each} for each in (as_it_was, *trials[1:])), {}]

    with engine.begin() as connection:
        command.downgrade(config(connection), "0014")
    assert all("words" not in each.get("trial", {}).get("data", {}) for each in stored_definitions(engine))


def test_studies_of_tables_go_on_leaving_dates_out(database_url: str, engine: Engine) -> None:
    trials: list[dict[str, Any]] = [
        {"data": {"source": "file:a.csv", "text": None}, "epochs": 3},
        {"data": {"source": "dataset:rows@1"}},
        {"data": {"source": "file:a.csv", "find_dates": True, "dates": {"d": "iso"}}},
        {"data": {"source": "file:a.csv", "text": "t"}},
        {"data": {"source": "sklearn:iris"}},
        {"kind": "external"},
    ]
    store_definitions(engine, *({"trial": each} for each in trials), {})
    with engine.begin() as connection:
        command.stamp(config(connection), "0015")
    upgrade(database_url)

    as_they_were = [each | {"data": each["data"] | {"find_dates": False}} for each in trials[:2]]
    assert stored_definitions(engine) == [*({"trial": each} for each in (*as_they_were, *trials[2:])), {}]

    with engine.begin() as connection:
        command.downgrade(config(connection), "0015")
    unknown_before = {"data": {"source": "file:a.csv"}}
    assert stored_definitions(engine) == [*({"trial": each} for each in (*trials[:2], unknown_before, *trials[3:])), {}]


def test_ensembles_that_there_are_keep_their_numbers(database_url: str, engine: Engine) -> None:
    request: dict[str, Any] = {"request": {}, "state": "QUEUED", "created_at": NOW}
    tasks = [
        TaskRow(study_id=1, number=number, kind=kind, **request) for number, kind in ((1, "predict"), (4, "ensemble"))
    ]
    store(engine, a_study(last_task=4), a_study(id=2, name="other"), *tasks)
    with engine.begin() as connection:
        command.downgrade(config(connection), "0010")
    upgrade(database_url)

    with reads(engine)() as session:
        ordinals = session.execute(select(TaskRow.number, TaskRow.ordinal).order_by(TaskRow.number)).all()
        last = session.scalars(select(StudyRow.last_ensemble).order_by(StudyRow.id)).all()
    assert (ordinals, last) == ([(1, None), (4, 4)], [4, 0])


@pytest.mark.parametrize(
    "rows",
    [
        [a_study(state="DONE")],
        [a_study(), a_study(id=2)],
        [a_study(state="COMPLETE")],  # ended, and no time of it
        [a_study(ended_at=NOW)],
        [a_study(), a_trial(state="COMPLETE", ended_at=NOW)],  # complete without values
        [a_study(), a_trial(state="FAILED", ended_at=NOW)],  # failed without a reason
        [a_study(), a_trial(ended_at=NOW)],
        [a_trial()],  # of no study
        [a_study(), a_trial(), an_attempt(), an_attempt(attempt=2)],  # two open attempts of one trial
        [a_study(), a_trial(), an_attempt(ended_at=NOW)],  # ended, nobody says how
        [a_study(), a_trial(), an_attempt(ended_at=NOW, outcome="vanished")],
        [a_study(), a_trial(), an_attempt(attempt=0)],
        [SchedulerLeaseRow(id=2, holder="h", fence=1, beat=0)],
    ],
)
def test_a_wrong_state_cannot_be_stored(engine: Engine, rows: list[DeclarativeBase]) -> None:
    copies = [type(row)(**{key: value for key, value in vars(row).items() if key[0] != "_"}) for row in rows]
    with pytest.raises(IntegrityError):
        store(engine, *copies)


def test_times_come_back_in_utc_and_keys_in_their_order(engine: Engine) -> None:
    definition = {"zeta": 1, "a": {"y": None, "b": [1.5, "ü"]}}
    with writes(engine).begin() as session:
        session.add(a_study(definition=definition))
    with reads(engine)() as session:
        row = session.get_one(StudyRow, 1)
        assert row.created_at == NOW
        assert list(row.definition) == ["zeta", "a"]
        assert row.definition == definition
        assert row.errors is None


def test_deleting_a_study_takes_all_of_it_along(engine: Engine) -> None:
    store(engine, a_study(), a_trial(), an_attempt())
    with writes(engine).begin() as session:
        session.delete(session.get_one(StudyRow, 1))
    with reads(engine)() as session:
        assert session.query(AttemptRow).count() == session.query(TrialRow).count() == 0


def test_an_id_is_never_given_twice(engine: Engine) -> None:
    ids = []
    for name in ("one", "two"):
        with writes(engine).begin() as session:
            row = StudyRow(name=name, state="RUNNING", definition={}, created_at=NOW)
            session.add(row)
            session.flush()
            ids.append(row.id)
        with writes(engine).begin() as session:
            session.delete(session.get_one(StudyRow, row.id))
    assert ids[1] > ids[0]


def test_sqlite_on_a_network_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.session._file_system_of", lambda _folder: "nfs4")
    with pytest.raises(SettingsError, match="is on nfs4, where SQLite loses data; use a local disk or PostgreSQL"):
        connect(f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize("url", ["mysql://h/db", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="TRIALYARD_DATABASE_URL"):
        connect(url)
