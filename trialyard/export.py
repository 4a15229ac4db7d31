"""The trials of a study as a table for other programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from typing import Any, TextIO

from trialyard.resources import Trial

COLUMNS = ("number", "state", "started_at", "ended_at", "reason")


def write_csv(trials: Iterable[Trial], file: TextIO) -> None:
    """One row a trial, with a column for each parameter, objective value and last metric that any trial has."""
    rows = [_row(trial) for trial in trials]
    columns = dict.fromkeys(COLUMNS) | dict.fromkeys(sorted({name for row in rows for name in row} - set(COLUMNS)))
    writer = csv.DictWriter(file, columns)
    writer.writeheader()
    writer.writerows(rows)


def _row(trial: Trial) -> dict[str, Any]:
    row = trial.model_dump(mode="json", include=set(COLUMNS))
    for prefix, mapping in (("parameters", trial.parameters), ("values", trial.values), ("metrics", trial.metrics)):
        row |= {f"{prefix}.{name}": _cell(value) for name, value in (mapping or {}).items()}
    return row


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict | bool) else value
