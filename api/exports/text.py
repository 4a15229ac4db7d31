"""Trials as CSV and as JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import orjson
from sqlalchemy.orm import Session, sessionmaker

from api.exports.pages import columns_of, names_of, objectives_of, pages, spaces_of
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
    """One row a trial. Lists, mappings, truth values and null are written as JSON; what did not take part is empty. A
    reason that begins like a formula has an apostrophe before it.
    """
    metrics = [objective["metric"] for objective in objectives_of(study)]
    parameters = names_of(spaces_of(study))
    values, given = columns_of(metrics, parameters)
    head = [*values.values(), *given.values()]
    yield _lines([["number", "state", *head, "started_at", "ended_at", "attempts", "reason", "feasible"]])
    for page in pages(sessions, study):
        yield _lines([_row(trial, metrics, parameters) for trial in page])


def _row(trial: Trial, metrics: list[str], parameters: list[str]) -> list[Any]:
    values = [(trial.values or {}).get(metric) for metric in metrics]
    times = [None if at is None else at.isoformat() for at in (trial.started_at, trial.ended_at)]
    given = [_cell(trial.parameters[name]) if name in trial.parameters else None for name in parameters]
    feasible = None if trial.feasible is None else _cell(trial.feasible)
    return [trial.number, trial.state, *values, *given, *times, len(trial.attempts), _words(trial.reason), feasible]


def _words(reason: str | None) -> str | None:
    """With an apostrophe where a spreadsheet would take it for a formula: scripts write it, who have no key."""
    return f"'{reason}" if reason and reason.startswith(("=", "+", "-", "@", "\t", "\r")) else reason


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list | bool | None) else value


def _lines(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
