"""Learning curves of many trials at once, for drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from store.models import ReportRow

MOST_POINTS = 40_000  # of an answer: about 600 kB
MOST_POINTS_A_CURVE = 1_000  # more than a screen has columns for


@dataclass
class Curve:
    """One metric of one trial by step. Where attempts overlap, the newest one's value counts."""

    number: int
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


def read_curves(session: Session, study_id: int, metric: str, first: int, most: int) -> tuple[list[Curve], int | None]:
    """The curves of trials from number `first` on, by number, without those that have no point.

    A curve of very many steps is thinned evenly, and keeps its last one.

    Returns:
        At most `most` curves with at most MOST_POINTS points in all (but at least one curve), and the number of the
        trial to go on with; None after the last one.
    """
    curves: list[Curve] = []
    points = 0
    for curve in _all_from(session, study_id, metric, first):
        points += len(curve.steps)
        if len(curves) == most or (curves and points > MOST_POINTS):
            return curves, curve.number
        curves.append(curve)
    return curves, None


def _all_from(session: Session, study_id: int, metric: str, first: int) -> Iterator[Curve]:
    query = select(ReportRow.number, ReportRow.step, ReportRow.metrics).where(
        ReportRow.study_id == study_id, ReportRow.number >= first
    )
    ordered = query.order_by(ReportRow.number, ReportRow.attempt, ReportRow.step)
    rows = session.execute(ordered.execution_options(yield_per=2000))  # the caller stops when it has enough
    for number, reports in groupby(rows, key=lambda row: row[0]):
        by_step = {step: metrics[metric] for _, step, metrics in reports if metric in metrics}
        if by_step:
            yield _thinned(number, sorted(by_step.items()))


def _thinned(number: int, points: list[tuple[int, float]]) -> Curve:
    stride = -(-len(points) // MOST_POINTS_A_CURVE)
    kept = points[(len(points) - 1) % stride :: stride]
    return Curve(number, [step for step, _ in kept], [float(f"{value:.6g}") for _, value in kept])
