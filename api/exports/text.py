"""Trials as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy.orm import Session, sessionmaker

from api.exports.pages import FORMULAS, Columns, columns_of, names_of, pages, reported, spaces_of
from api.shapes import Trial
from store.models import StudyRow


def as_json(sessions: sessionmaker[Session], study: StudyRow, whole: dict[str, Any]) -> Iterator[bytes]:
    """The study's own shape, `whole`, and all trials'."""
    yield b'{"study":' + orjson.dumps(whole) + b',"trials":[\n'
    separator = b""
    for page in pages(sessions, study):
        yield separator + b",\n".join(trial.model_dump_json().encode() for trial in page)
        separator = b",\n"
    yield b"\n]}\n"


def as_csv(sessions: sessionmaker[Session], study: StudyRow) -> Iterator[str]:
    """One row a trial. Lists, mappings, truth values and null are written as JSON; what did not take part is empty.

    Behind the objectives, the parameters and what is said of the trial come the other metrics that it reported last. A
    reason that begins like a formula has an apostrophe before it.
    """
    objectives = [objective["metric"] for objective in study.objectives]
    columns = columns_of(objectives, names_of(spaces_of(study)), reported(sessions, study))
    head = ["number", "state", *columns.values.values(), *columns.parameters.values()]
    told = ["started_at", "ended_at", "attempts", "reason", "feasible"]
    yield _lines([[*head, *told, *columns.metrics.values()]])
    for page in pages(sessions, study):
        yield _lines([_row(trial, columns) for trial in page])


def _row(trial: Trial, columns: Columns) -> list[Any]:
    values = [(trial.values or {}).get(metric) for metric in columns.values]
    metrics = [(trial.metrics or {}).get(metric) for metric in columns.metrics]
    times = [None if at is None else at.isoformat() for at in (trial.started_at, trial.ended_at)]
    given = [_cell(trial.parameters[name]) if name in trial.parameters else None for name in columns.parameters]
    feasible = None if trial.feasible is None else _cell(trial.feasible)
    told = [*times, len(trial.attempts), _words(trial.reason), feasible]
    return [trial.number, trial.state, *values, *given, *told, *metrics]


def _words(text: str | None) -> str | None:
    """With an apostrophe where a spreadsheet would take it for a formula: scripts write it, who have no key."""
    return f"'{text}" if text and text.startswith(FORMULAS) else text


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool | None) else value


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
