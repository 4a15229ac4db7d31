"""Learning curves of many trials at once, for drawing."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from store.models import ReportRow, TrialRow

MOST_POINTS = 40_000  # of an answer: about 600 kB
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
        most: so many curves at most; they have MOST_POINTS points in all, unless a single one has more.
        numbers: only these trials.
    """
    query = (
        select(ReportRow.number, TrialRow.state, ReportRow.step, ReportRow.metrics)
        .join(TrialRow, (TrialRow.study_id == ReportRow.study_id) & (TrialRow.number == ReportRow.number))
        .where(ReportRow.study_id == study_id, ReportRow.number >= first)
        .order_by(ReportRow.number, ReportRow.attempt, ReportRow.step)
    )
    if numbers is not None:
        query = query.where(ReportRow.number.in_(numbers))
    curves: list[Curve] = []
    points = 0
    for curve in _curves(session, query, metric):
        points += len(curve.steps)
        if len(curves) == most or (curves and points > MOST_POINTS):
            return CurvePage(curves, curve.number)
        curves.append(curve)
    return CurvePage(curves)


def _curves(session: Session, query: Select[Any], metric: str) -> Iterator[Curve]:
    rows = session.execute(query.execution_options(yield_per=2000))  # whoever has enough curves stops reading
    for (number, state), reports in groupby(rows, key=lambda row: (row.number, row.state)):
        by_step = {report.step: report.metrics[metric] for report in reports if metric in report.metrics}
        if by_step:
            yield _thinned(number, state, sorted(by_step.items()))


def _thinned(number: int, state: str, points: list[tuple[int, float]]) -> Curve:
    stride = -(-len(points) // MOST_POINTS_A_CURVE)
    kept = points[(len(points) - 1) % stride :: stride]
    return Curve(number, state, [step for step, _ in kept], [float(f"{value:.6g}") for _, value in kept])
