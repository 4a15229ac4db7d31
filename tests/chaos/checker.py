"""Reads what the database says afterwards, and compares it with what must be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from store.models import AttemptRow, EventRow, ReportRow, StudyRow, TrialRow

STEPS = {0, 1, 2, 3}  # that an attempt which comes to its end has reported


@dataclass(frozen=True)
class Verdict:
    """What is wrong (nothing, if all is well), and how many attempts the trials took."""

    wrong: list[str]
    trials: int
    attempts: int
    best: float
    longest_gap: float  # seconds without a trial's end


def check(engine: Engine, name: str, trials: int, folder: Path) -> Verdict:
    with Session(engine) as session:
        study = session.scalars(select(StudyRow).where(StudyRow.name == name)).one()
        rows = session.scalars(select(TrialRow).where(TrialRow.study_id == study.id).order_by(TrialRow.number)).all()
        attempts = session.scalars(
            select(AttemptRow).where(AttemptRow.study_id == study.id).order_by(AttemptRow.number, AttemptRow.attempt)
        ).all()
        steps: dict[tuple[int, int], list[int]] = {}
        for row in session.scalars(select(ReportRow).where(ReportRow.study_id == study.id)):
            steps.setdefault((row.number, row.attempt), []).append(row.step)
        events = session.scalars(
            select(EventRow.sequence).where(EventRow.study_id == study.id).order_by(EventRow.sequence)
        ).all()
    wrong = [] if study.state == "COMPLETE" else [f"the study is {study.state}: {study.reason}"]
    if [row.number for row in rows] != list(range(trials)):
        wrong.append(f"there are {len(rows)} trials, not {trials}")
    by_trial: dict[int, list[AttemptRow]] = {row.number: [] for row in rows}
    for attempt in attempts:
        by_trial[attempt.number].append(attempt)
    for row in rows:
        wrong += [f"{name} trial {row.number}: {what}" for what in _of_trial(row, by_trial[row.number], steps)]
    if list(events) != list(range(1, len(events) + 1)):
        wrong.append("the event log has gaps")
    if (folder / "two-on-one-slot").exists():
        wrong.append("two processes worked on one slot")
    values = [row.values["loss"] for row in rows if row.values]
    ends = sorted(row.ended_at for row in rows if row.ended_at)
    return Verdict(wrong, len(rows), len(attempts), min(values, default=float("nan")), _longest_gap(study, ends))


def _of_trial(row: TrialRow, attempts: Sequence[AttemptRow], steps: dict[tuple[int, int], list[int]]) -> list[str]:
    wrong = []
    if row.state != "COMPLETE":
        return [f"it is {row.state}: {row.reason}"]
    ends = [attempt.outcome for attempt in attempts]
    if ends.count("finished") != 1 or ends[-1] != "finished" or not set(ends) <= {"finished", "lost", "returned"}:
        wrong.append(f"its attempts ended {ends}")
    if [attempt.attempt for attempt in attempts] != list(range(1, len(attempts) + 1)):
        wrong.append("its attempts are not numbered one by one")
    for earlier, later in pairwise(attempts):
        if earlier.ended_at is None or later.started_at < earlier.ended_at:
            wrong.append(f"attempt {later.attempt} began before the one before it had ended")
    reported = steps.get((row.number, len(attempts)), [])
    if sorted(reported) != sorted(STEPS):
        wrong.append(f"its last attempt reported the steps {sorted(reported)}")
    x, y = row.parameters["x"], row.parameters["y"]
    expected = (x - 0.3) ** 2 + (y - 0.7) ** 2
    if row.values is None or row.values["loss"] != expected:
        wrong.append(f"its value is {row.values}, not {expected}")
    return wrong


def _longest_gap(study: StudyRow, ends: Sequence[datetime]) -> float:
    times = [study.started_at or study.created_at, *ends]
    return max(((b - a).total_seconds() for a, b in pairwise(times)), default=0.0)
