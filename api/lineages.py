"""A population's members as lines: which parameters each had over its steps."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.result_shapes import Lineage, MemberLine, Stretch
from store.models import CopyRow, StudyRow, TrialRow
from store.trials import Trials


def lineage(session: Session, study: StudyRow) -> Lineage:
    """All members of a study whose sampler is pbt; none of another one."""
    if study.definition["sampler"]["name"] != "pbt":
        return Lineage(members=[])
    copies = Trials(session, study).copies()
    columns = (TrialRow.number, TrialRow.state, TrialRow.step, TrialRow.parameters)
    query = select(*columns).where(TrialRow.study_id == study.id).order_by(TrialRow.number)
    return Lineage(
        members=[
            MemberLine(number=number, state=state, stretches=_stretches(copies[number], step or 0, parameters))
            for number, state, step, parameters in session.execute(query)
        ]
    )


def _stretches(copies: Sequence[CopyRow], step: int, parameters: dict[str, object]) -> list[Stretch]:
    """From copy to copy, the last to where the member stands."""
    begins = [(0, None), *((copy.source_step, copy.source) for copy in copies)]
    ends = [*((copy.step, copy.before) for copy in copies), (step, parameters)]
    return [
        Stretch(begin=begin, end=max(begin, end), parameters=values, source=source)
        for (begin, source), (end, values) in zip(begins, ends, strict=True)
    ]
