"""Studies with a long past, the same in ours and in Optuna's storages, written straight into their databases."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import create_trial
from sqlalchemy import Engine, Table, func, select

from search.definition import parse
from search.rows import Row, batch
from store.models import AttemptRow, ReportRow, StudyRow, StudyState, TrialRow
from store.session import writes

METRIC = "loss"
PORTION = 1000  # trials written at a time
SPACE = {f"x{place}": FloatDistribution(0.0, 1.0) for place in range(5)}

Point = dict[str, float]


def loss(parameters: Point) -> float:
    return sum((parameters[name] - 0.3) ** 2 for name in SPACE)


def value_at(final: float, step: int) -> float:
    return final + 1 / step


def past_of(trials: int) -> Iterator[tuple[Point, float]]:
    """So many random trials, always the same: parameters and what they came to."""
    draws = random.Random(1)
    for _ in range(trials):
        parameters = {name: draws.random() for name in SPACE}
        yield parameters, loss(parameters)


# Ours


def write_past(
    engine: Engine, name: str, trials: int, reports: int, state: StudyState = StudyState.RUNNING, **sections: Any
) -> int:
    """Make a study with so many finished trials, each with so many reports; its number."""
    now = datetime.now(UTC)
    document = {
        "name": name,
        "objective": {"metric": METRIC, "direction": "minimize"},
        "parameters": {name: {"low": 0.0, "high": 1.0} for name in SPACE},
        "sampler": {"name": "tpe", "seed": 1},
        "pruner": {"name": "hyperband", "min_resource": 1, "max_resource": reports, "reduction_factor": 3},
        "budget": {"trials": 1_000_000, "parallel": 8},
        "trial": {"kind": "objective", "name": "nothing"},
    }
    definition = parse(document | sections).document()
    started_at = None if state is StudyState.PREPARING else now
    past = list(enumerate(past_of(trials)))
    with writes(engine).begin() as session:  # all at once: a scheduler takes up a study as soon as there is one
        study = StudyRow(name=name, state=str(state), definition=definition, created_at=now, started_at=started_at)
        session.add(study)
        session.flush()
        for first in range(0, trials, PORTION):
            portion = past[first : first + PORTION]
            rows = [list(_rows(study.id, number, *each, reports, now)) for number, each in portion]
            with batch(session.connection()) as tables:
                tables.insert(_table(TrialRow), [each[0] for each in rows])
                tables.insert(_table(AttemptRow), [each[1] for each in rows])
                tables.insert(_table(ReportRow), [report for each in rows for report in each[2:]])
    return study.id


def _rows(study_id: int, number: int, parameters: Point, final: float, reports: int, now: datetime) -> Iterator[Row]:
    """A trial, its attempt and its reports."""
    key = {"study_id": study_id, "number": number}
    values = {METRIC: final}
    times = {"started_at": now, "ended_at": now}
    rungs = {"completed_rung_0": value_at(final, 1)}
    yield {
        **key, **times, "state": "COMPLETE", "parameters": parameters, "system_attrs": rungs, "values": values,
        "metrics": values, "step": reports, "retries": 0, "reason": None, "created_at": now,
    }  # fmt: skip
    yield {**key, **times, "attempt": 1, "worker": "w", "device": "none", "outcome": "finished", "reason": None}
    for step in range(1, reports + 1):
        yield {**key, "attempt": 1, "step": step, "metrics": {METRIC: value_at(final, step)}, "at": now}


def _table(row: type[TrialRow | AttemptRow | ReportRow]) -> Table:
    table = row.__table__
    assert isinstance(table, Table)
    return table


# Optuna's


def write_peers_past(study: optuna.Study, trials: int, reports: int) -> None:
    """The same past for a study of a peer, which has no trials yet."""
    if isinstance(study._storage, optuna.storages._CachedStorage):
        _write_rows(study._storage._backend, study._study_id, trials, reports)
        return
    for parameters, final in past_of(trials):
        study.add_trial(
            create_trial(
                params=parameters,
                distributions=SPACE,
                value=final,
                intermediate_values={step: value_at(final, step) for step in range(1, reports + 1)},
                system_attrs={"completed_rung_0": value_at(final, 1)},
            )
        )


def _write_rows(storage: RDBStorage, study_id: int, trials: int, reports: int) -> None:
    """What `add_trial` writes row by row, which would take minutes."""
    with storage.engine.begin() as connection:
        first = (connection.scalar(select(func.max(models.TrialModel.trial_id))) or 0) + 1
        tables: dict[Any, list[Row]] = defaultdict(list)
        for number, (parameters, final) in enumerate(past_of(trials)):
            tables[models.TrialModel].append(
                {**_ENDED, "trial_id": first + number, "number": number, "study_id": study_id}
            )
            for table, rows in _peers_rows(parameters, final, reports):
                tables[table] += [{"trial_id": first + number, **row} for row in rows]
        for table, rows in tables.items():
            connection.execute(table.__table__.insert(), rows)
        if connection.dialect.name == "postgresql":  # whose sequence does not see that they brought their own
            last = first + trials - 1
            connection.exec_driver_sql(f"SELECT setval(pg_get_serial_sequence('trials', 'trial_id'), {last})")


def _peers_rows(parameters: Point, final: float, reports: int) -> Iterator[tuple[Any, list[Row]]]:
    """What a trial has beside its own row, by table."""
    drawn = [(name, parameters[name], distribution_to_json(each)) for name, each in SPACE.items()]
    names = ("param_name", "param_value", "distribution_json")
    yield models.TrialParamModel, [dict(zip(names, each, strict=True)) for each in drawn]
    yield models.TrialValueModel, [{"objective": 0, "value": final, "value_type": "FINITE"}]
    steps = [(step, value_at(final, step), "FINITE") for step in range(1, reports + 1)]
    names = ("step", "intermediate_value", "intermediate_value_type")
    yield models.TrialIntermediateValueModel, [dict(zip(names, each, strict=True)) for each in steps]
    rung = {"key": "completed_rung_0", "value_json": json.dumps(value_at(final, 1))}
    yield models.TrialSystemAttributeModel, [rung]


_NOW = datetime.now(UTC).replace(tzinfo=None)  # as Optuna writes it
_ENDED = {"datetime_start": _NOW, "datetime_complete": _NOW, "state": "COMPLETE"}
