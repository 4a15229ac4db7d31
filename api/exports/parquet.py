"""Trials as Parquet: one row a trial, a row group a page."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
import pyarrow as pa
from pyarrow import parquet
from sqlalchemy.orm import Session, sessionmaker

from api.exports.pages import Columns, columns_of, names_of, pages, reported, spaces_of
from api.shapes import Trial
from search.parameters import Choice, Constant, Parameter, Range
from store.models import StudyRow

_AT = pa.timestamp("us", tz="UTC")


def as_parquet(sessions: sessionmaker[Session], study: StudyRow) -> Iterator[bytes]:
    """The columns of the CSV file with their types, and between them `metrics`, all that each trial reported last.

    A parameter is a column of the type that all its values have, be it whole numbers, numbers, text or truth values;
    else of text, in which all but text is JSON.
    """
    objectives = [objective["metric"] for objective in study.objectives]
    spaces = spaces_of(study)
    types = {
        name: _type_of([space.parameters[name] for space in spaces if name in space.parameters])
        for name in names_of(spaces)
    }
    columns = columns_of(objectives, types, reported(sessions, study))
    schema = _schema(columns, types)
    pipe = _Pipe()
    with parquet.ParquetWriter(pipe, schema) as writer:
        for page in pages(sessions, study):
            rows = [_row(trial, columns, types) for trial in page]
            writer.write_table(pa.Table.from_pylist(rows, schema))
            yield pipe.drain()
    yield pipe.drain()


class _Pipe(io.RawIOBase):
    """A file that is only ever appended to, and whose content is taken away as it comes."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._taken = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def tell(self) -> int:
        return self._taken + len(self._waiting)

    def drain(self) -> bytes:
        taken = bytes(self._waiting)
        self._taken += len(taken)
        self._waiting.clear()
        return taken


def _schema(columns: Columns, types: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema(
        [
            pa.field("number", pa.int64(), nullable=False),
            pa.field("state", pa.string(), nullable=False),
            *(pa.field(column, pa.float64()) for column in columns.values.values()),
            *(pa.field(column, types[name]) for name, column in columns.parameters.items()),
            pa.field("started_at", _AT),
            pa.field("ended_at", _AT),
            pa.field("attempts", pa.int64(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("feasible", pa.bool_()),
            pa.field("metrics", pa.map_(pa.string(), pa.float64())),
            *(pa.field(column, pa.float64()) for column in columns.metrics.values()),
        ]
    )


def _row(trial: Trial, columns: Columns, types: Mapping[str, pa.DataType]) -> dict[str, Any]:
    measured, reported_last, parameters = trial.values or {}, trial.metrics or {}, trial.parameters
    given = columns.parameters
    return {
        "number": trial.number,
        "state": trial.state,
        **{column: measured.get(name) for name, column in columns.values.items()},
        **{column: _cell(parameters[name], types[name]) for name, column in given.items() if name in parameters},
        "started_at": trial.started_at,
        "ended_at": trial.ended_at,
        "attempts": len(trial.attempts),
        "reason": trial.reason,
        "feasible": trial.feasible,
        "metrics": None if trial.metrics is None else list(trial.metrics.items()),
        **{column: reported_last.get(name) for name, column in columns.metrics.items()},
    }


def _type_of(versions: Iterable[Parameter]) -> pa.DataType:
    kinds = set().union(*map(_kinds_of, versions))
    if kinds == {int}:
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    return pa.bool_() if kinds == {bool} else pa.string()


def _kinds_of(parameter: Parameter) -> set[type]:
    match parameter:
        case Range():
            return {int if parameter.whole else float}
        case Constant():
            return {type(parameter.value)}
        case Choice():
            return {type(value) for value in parameter.values}


def _cell(value: Any, kind: pa.DataType) -> Any:
    """A value as its column takes it."""
    if kind != pa.string():
        return value
    return value if isinstance(value, str) else orjson.dumps(value).decode()
