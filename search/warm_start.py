"""Complete trials of another study for a new one's sampler to learn from, taken over once, when the study is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from search.definition import Definition
from search.findings import Finding, problems
from search.fitting import Fitting
from search.sections import WarmStart
from store.errors import DefinitionError, Problem
from store.models import StudyRow, TrialRow, TrialState, WarmTrialRow

MOST_REASONS = 20


@dataclass
class WarmTrials:
    """What a study begins with, and why some trials were left out: by reason, how many and the first one's number."""

    study: str
    rows: list[WarmTrialRow] = field(default_factory=list)
    left_out: dict[str, list[int]] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        reasons = sorted(self.left_out.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]
        told = [{"reason": why, "trials": len(numbers), "first": numbers[0]} for why, numbers in reasons]
        return {"study": self.study, "taken": len(self.rows), "left_out": told}


def warm_trials(session: Session, definition: Definition, wanted: WarmStart) -> WarmTrials:
    """The newest complete trials of the study that is wanted, as far as they are points of the new one's space.

    Raises:
        DefinitionError: there is no such study, or it searched by another metric or in another direction.
    """
    source = session.scalar(select(StudyRow).where(StudyRow.name == wanted.study))
    if source is None:
        raise _refusal(
            definition, f"there is no study named {wanted.study!r}", "name one that has trials to learn from"
        )
    ours, theirs = definition.document()["objective"], source.definition["objective"]
    if ours != theirs:
        hint = "values of another objective teach nothing about this one"
        raise _refusal(definition, f"{wanted.study!r} searched by {theirs}, and this study by {ours}", hint)
    found = WarmTrials(wanted.study)
    fitting = Fitting(definition)
    for trial in _newest(session, source.id, wanted.trials):
        reason = fitting.reason(trial.parameters) or _untold(definition, trial)
        if reason is not None:
            found.left_out.setdefault(str(reason), []).append(trial.number)
        elif trial.values is not None:
            bounded = {each.metric: (trial.metrics or {})[each.metric] for each in definition.constraints}
            values, place = bounded | trial.values, len(found.rows)
            found.rows.append(
                WarmTrialRow(position=place, number=trial.number, parameters=trial.parameters, values=values)
            )
    return found


def _untold(definition: Definition, trial: TrialRow) -> Problem | None:
    """Why it cannot be told whether a trial keeps the new study's constraints."""
    known = trial.metrics or {}
    lacking = (place for place, each in enumerate(definition.constraints) if each.metric not in known)
    if (place := next(lacking, None)) is None:
        return None
    return Problem(f"constraints[{place}].metric", f"it reported no {definition.constraints[place].metric}")


def _newest(session: Session, study_id: int, most: int) -> list[TrialRow]:
    """In the order of their numbers."""
    complete = (TrialRow.study_id == study_id, TrialRow.state == str(TrialState.COMPLETE))
    query = select(TrialRow).where(*complete).order_by(TrialRow.number.desc()).limit(most)
    return list(session.scalars(query))[::-1]


def _refusal(definition: Definition, message: str, hint: str) -> DefinitionError:
    return DefinitionError(problems([Finding(("warm_start", "study"), message, hint)], definition.document()))
