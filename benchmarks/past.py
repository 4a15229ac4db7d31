"""A study with a long past, written straight into the database, for benchmarks of what comes after."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Table

from search.definition import parse
from search.rows import Row, batch
from store.models import AttemptRow, ReportRow, StudyRow, StudyState, TrialRow
from store.session import writes

METRIC = "loss"
PORTION = 1000  # trials written at a time


def write_past(engine: Engine, name: str, trials: int, reports: int, **sections: Any) -> int:
    """Make a running study with so many finished trials, each with so many reports; its number."""
    now = datetime.now(UTC)
    document = {
        "name": name,
        "objective": {"metric": METRIC, "direction": "minimize"},
        "parameters": {f"x{place}": {"low": 0.0, "high": 1.0} for place in range(5)},
        "sampler": {"name": "tpe", "seed": 1},
        "pruner": {"name": "hyperband", "min_resource": 1, "max_resource": reports, "reduction_factor": 3},
        "budget": {"trials": 1_000_000, "parallel": 8},
        "trial": {"kind": "objective", "name": "nothing"},
    }
    definition = parse(document | sections).document()
    with writes(engine).begin() as session:
        study = StudyRow(
            name=name, state=str(StudyState.RUNNING), definition=definition, created_at=now, started_at=now
        )
        session.add(study)
    draws = random.Random(1)
    for first in range(0, trials, PORTION):
        rows = [list(_rows(study.id, number, reports, now, draws)) for number in range(first, first + PORTION)]
        with writes(engine).begin() as session, batch(session.connection()) as tables:
            tables.insert(_table(TrialRow), [each[0] for each in rows])
            tables.insert(_table(AttemptRow), [each[1] for each in rows])
            tables.insert(_table(ReportRow), [report for each in rows for report in each[2:]])
    return study.id


def _rows(study_id: int, number: int, reports: int, now: datetime, draws: random.Random) -> Iterator[Row]:
    """A trial, its attempt and its reports."""
    key = {"study_id": study_id, "number": number}
    parameters = {f"x{place}": draws.random() for place in range(5)}
    values = {METRIC: sum(parameters.values()) + draws.random()}
    times = {"started_at": now, "ended_at": now}
    rungs = {"completed_rung_0": values[METRIC]}
    yield {
        **key, **times, "state": "COMPLETE", "parameters": parameters, "system_attrs": rungs, "values": values,
        "metrics": values, "step": reports, "retries": 0, "reason": None, "created_at": now,
    }  # fmt: skip
    yield {**key, **times, "attempt": 1, "worker": "w", "device": "none", "outcome": "finished", "reason": None}
    for step in range(1, reports + 1):
        yield {**key, "attempt": 1, "step": step, "metrics": {METRIC: values[METRIC] + 1 / step}, "at": now}


def _table(row: type[TrialRow | AttemptRow | ReportRow]) -> Table:
    table = row.__table__
    assert isinstance(table, Table)
    return table
