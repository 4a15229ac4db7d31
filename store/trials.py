"""The trials of a study as people read them: one, a sorted page, the best, their attempts and reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Float, Select, cast, extract, func, null, or_, select, tuple_
from sqlalchemy.orm import Session, defer

from store.errors import NotFound
from store.messages import AttemptKey
from store.models import AttemptRow, CopyRow, ReportRow, StudyRow, TrialRow, TrialState

SortColumn = Literal["number", "value", "duration", "started_at", "ended_at"]
SortKey = float | datetime | None


@dataclass(frozen=True)
class Sort:
    """An order of trials. Those that have no key yet come last in either direction; ties go by number."""

    column: SortColumn = "number"
    descending: bool = False


@dataclass(frozen=True)
class Place:
    """Where a page ended: the key and the number of its last trial."""

    key: SortKey
    number: int


class Trials:
    """Reads the trials of one study in one database session."""

    def __init__(self, session: Session, study: StudyRow) -> None:
        self._session = session
        self._study = study
        self._objectives = study.objectives

    def get(self, number: int) -> TrialRow:
        """Raises: NotFound."""
        trial = self._session.get(TrialRow, (self._study.id, number), options=[_WITHOUT_ATTRS])
        if trial is None:
            raise NotFound(f"the study {self._study.name!r} has no trial {number}")
        return trial

    def best(self) -> TrialRow | None:
        """The COMPLETE and feasible trial with the best value of the objective, of several the first; None for none.

        None too where the study has several objectives: no trial is the best by all of them.
        """
        if len(self._objectives) > 1:
            return None
        return next(iter(self.ranked(1)), None)

    def ranked(self, most: int) -> list[TrialRow]:
        """At most so many of the COMPLETE and feasible trials, the best by the first objective first."""
        value = self._key("value")
        by_value = value.asc() if self._objectives[0]["direction"] == "minimize" else value.desc()
        query = self._of_study().where(_COUNTED).order_by(by_value, TrialRow.number)
        return list(self._session.scalars(query.limit(most)))

    def values(self) -> list[tuple[int, Mapping[str, float]]]:
        """The numbers and values of all COMPLETE and feasible trials, by number."""
        query = select(TrialRow.number, TrialRow.values).where(TrialRow.study_id == self._study.id, _COUNTED)
        return [(number, values) for number, values in self._session.execute(query.order_by(TrialRow.number))]

    def parameters(self, numbers: Collection[int]) -> dict[int, dict[str, Any]]:
        """The parameters of the trials of these numbers, by number."""
        query = select(TrialRow.number, TrialRow.parameters).where(TrialRow.study_id == self._study.id)
        query = query.where(TrialRow.number.in_(numbers)).order_by(TrialRow.number)
        return {row.number: row.parameters for row in self._session.execute(query)}

    def several(self, numbers: Collection[int]) -> list[TrialRow]:
        """The trials of these numbers, by number."""
        query = self._of_study().where(TrialRow.number.in_(numbers)).order_by(TrialRow.number)
        return list(self._session.scalars(query))

    def page(
        self, states: Collection[TrialState], sort: Sort, after: Place | None, most: int
    ) -> list[tuple[TrialRow, Place]]:
        """At most `most` trials in one of the states (all, if none is named) that follow a place, each with its own."""
        key = self._key(sort.column)
        query = self._of_study().add_columns(key).limit(most)
        if states:
            query = query.where(TrialRow.state.in_([str(state) for state in states]))
        if after is not None:
            query = query.where(_follows(key, sort, after))
        by_key = (key.desc() if sort.descending else key.asc()).nulls_last()
        order = (by_key,) if sort.column == "number" else (by_key, TrialRow.number)
        return [(trial, Place(found, trial.number)) for trial, found in self._session.execute(query.order_by(*order))]

    def attempts(self, numbers: Collection[int]) -> dict[int, list[AttemptRow]]:
        """The attempts of several trials, in order."""
        attempts: dict[int, list[AttemptRow]] = defaultdict(list)
        query = select(AttemptRow).where(AttemptRow.study_id == self._study.id, AttemptRow.number.in_(numbers))
        for attempt in self._session.scalars(query.order_by(AttemptRow.number, AttemptRow.attempt)):
            attempts[attempt.number].append(attempt)
        return attempts

    def copies(self, numbers: Collection[int] | None = None) -> dict[int, list[CopyRow]]:
        """Of members of a population, or of all of them, what each went on from, in order."""
        copies: dict[int, list[CopyRow]] = defaultdict(list)
        if self._study.definition["sampler"]["name"] != "pbt":
            return copies
        query = select(CopyRow).where(CopyRow.study_id == self._study.id)
        if numbers is not None:
            query = query.where(CopyRow.number.in_(numbers))
        for copy in self._session.scalars(query.order_by(CopyRow.number, CopyRow.turn)):
            copies[copy.number].append(copy)
        return copies

    def attempt(self, key: AttemptKey) -> AttemptRow | None:
        return self._session.get(AttemptRow, key)

    def newest_attempt(self, number: int) -> AttemptKey | None:
        query = select(func.max(AttemptRow.attempt)).where(AttemptRow.study_id == self._study.id)
        newest = self._session.scalar(query.where(AttemptRow.number == number))
        return None if newest is None else AttemptKey(self._study.id, number, newest)

    def last_step(self, key: AttemptKey) -> int | None:
        """The highest step that an attempt has reported."""
        of_attempt = (ReportRow.study_id, ReportRow.number, ReportRow.attempt)
        return self._session.scalar(select(func.max(ReportRow.step)).where(tuple_(*of_attempt) == tuple_(*key)))

    def reports(self, number: int, after: tuple[int, int] | None, most: int) -> Sequence[ReportRow]:
        """At most `most` reports of a trial by attempt and step, behind the (attempt, step) `after`."""
        query = select(ReportRow).where(ReportRow.study_id == self._study.id, ReportRow.number == number)
        if after is not None:
            query = query.where(tuple_(ReportRow.attempt, ReportRow.step) > after)
        return self._session.scalars(query.order_by(ReportRow.attempt, ReportRow.step).limit(most)).all()

    def _of_study(self) -> Select[TrialRow]:
        return select(TrialRow).where(TrialRow.study_id == self._study.id).options(_WITHOUT_ATTRS)

    def _key(self, column: SortColumn) -> ColumnElement[Any]:
        match column:
            case "value":
                value: ColumnElement[float] = TrialRow.values[self._objectives[0]["metric"]].as_float()
                return value
            case "duration":
                return _duration(self._session.get_bind().dialect.name)
            case "started_at":
                return TrialRow.started_at.expression
            case "ended_at":
                return TrialRow.ended_at.expression
            case "number":
                return TrialRow.number.expression


_COUNTED = (TrialRow.state == str(TrialState.COMPLETE)) & (func.coalesce(TrialRow.violation, 0) <= 0)
_WITHOUT_ATTRS = defer(TrialRow.system_attrs, raiseload=True)  # large, and only the sampler's business


def _duration(dialect: str) -> ColumnElement[float]:
    """Seconds from the start of a trial's first attempt to its end."""
    if dialect == "sqlite":
        return (func.julianday(TrialRow.ended_at) - func.julianday(TrialRow.started_at)) * 86_400.0
    return cast(extract("epoch", TrialRow.ended_at - TrialRow.started_at), Float)


def _follows(key: ColumnElement[Any], sort: Sort, after: Place) -> ColumnElement[bool]:
    """Whether a trial comes behind a place in an order."""
    if sort.column == "number":
        return TrialRow.number < after.number if sort.descending else TrialRow.number > after.number
    behind_by_number = TrialRow.number > after.number
    if after.key is None:
        return (key == null()) & behind_by_number
    farther = key < after.key if sort.descending else key > after.key
    return or_(farther, (key == after.key) & behind_by_number, key == null())
