"""Learning curves of many trials at once, for drawing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from store.models import ReportRow, TrialRow

MOST_REPORTS = 20_000  # read for one answer: less than 200 ms, and about 300 kB
MOST_POINTS_A_CURVE = 1_000  # more than a screen has columns for


@dataclass(frozen=True)
class Curve:
    """One metric of one trial by step, to six digits. Where attempts overlap, the newest one's value counts."""

    number: int
    state: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class CurvePage:
    """Curves by trial number. `next_number`: the trial to go on with; None after the last one."""

    curves: list[Curve]
    next_number: int | None = None


def read_curves(
    session: Session, study_id: int, metric: str, first: int, most: int, numbers: Collection[int] | None = None
) -> CurvePage:
    """The curves of a metric, without those that have no point.

    A curve of very many steps is thinned evenly, and keeps its last one.

    Args:
        first: the trial number to begin with.
        most: so many curves at most; fewer where they are long, and perhaps none of those looked at.
        numbers: only these trials.
    """
    number = ReportRow.number
    # Not both: SQLite would follow the range, and look at all reports of the study.
    wanted = number >= first if numbers is None else number.in_([each for each in numbers if each >= first])
    query = (
        select(number, TrialRow.state, ReportRow.step, ReportRow.metrics)
        .join(TrialRow, (TrialRow.study_id == ReportRow.study_id) & (TrialRow.number == ReportRow.number))
        .where(ReportRow.study_id == study_id, wanted)
        .order_by(ReportRow.number, ReportRow.attempt, ReportRow.step)
    )
    with session.execute(query.execution_options(yield_per=2000)) as rows:
        return _gather(rows, metric, most)


def _gather(rows: Iterable[Row[int, str, int, dict[str, Any]]], metric: str, most: int) -> CurvePage:
    curves: list[Curve] = []
    read = 0
    for (number, state), reports in groupby(rows, key=lambda row: (row.number, row.state)):
        if len(curves) == most or read >= MOST_REPORTS:
            return CurvePage(curves, number)
        by_step: dict[int, float] = {}
        for report in reports:
            read += 1
            if metric in report.metrics:
                by_step[report.step] = report.metrics[metric]
        if by_step:
            curves.append(_thinned(number, state, sorted(by_step.items())))
    return CurvePage(curves)


def _thinned(number: int, state: str, points: list[tuple[int, float]]) -> Curve:
    stride = -(-len(points) // MOST_POINTS_A_CURVE)
    kept = points[(len(points) - 1) % stride :: stride]
    return Curve(number, state, [step for step, _ in kept], [float(f"{value:.6g}") for _, value in kept])
