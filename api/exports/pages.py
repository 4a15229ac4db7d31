"""The trials of a study, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from api.shapes import Trial
from search.entries import read_parameters
from search.space import Space
from store.models import ReportRow, StudyRow, TrialRow
from store.trials import Place, Sort, Trials

PAGE = 500
MOST_METRICS = 1_000  # columns: a script may give each of its trials names of its own
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a text begins with that spreadsheets work out
# Of a table, beside those of the objective, the parameters and the other metrics
COLUMNS = ("number", "state", "started_at", "ended_at", "attempts", "reason", "feasible", "metrics")


@dataclass(frozen=True)
class Remembered:
    """What the search knows of a trial beside its shape: the sampler's attributes, the objective's values by step."""

    system_attrs: dict[str, Any]
    intermediate: dict[int, float] = field(default_factory=dict)


def pages(sessions: sessionmaker[Session], study: StudyRow) -> Iterator[list[Trial]]:
    """All trials by number; no session is open while the reader is slow."""
    place: Place | None = None
    while True:
        with sessions() as session:
            trials = Trials(session, study)
            page = trials.page((), Sort(), place, PAGE)
            numbers = [trial.number for trial, _ in page]
            attempts, copies = trials.attempts(numbers), trials.copies(numbers)
        if not page:
            return
        yield [Trial.of(trial, attempts[trial.number], copies[trial.number]) for trial, _ in page]
        place = page[-1][1]


def remembered(
    sessions: sessionmaker[Session], study: StudyRow, metric: str | None, first: int, last: int
) -> dict[int, Remembered]:
    """The same trials' memory, by number from `first` to `last`. Where attempts overlap, the newest one's value counts.

    Args:
        metric: whose values by step are read; None for none.
    """
    with sessions() as session:
        attrs = select(TrialRow.number, TrialRow.system_attrs).where(
            TrialRow.study_id == study.id, TrialRow.number.between(first, last)
        )
        found = {number: Remembered(stored) for number, stored in session.execute(attrs)}
        if metric is None:
            return found
        value = ReportRow.metrics[metric].as_float()
        reports = select(ReportRow.number, ReportRow.step, value).where(
            ReportRow.study_id == study.id, ReportRow.number.between(first, last)
        )
        for number, step, reported in session.execute(reports.order_by(ReportRow.attempt)):
            if reported is not None and number in found:
                found[number].intermediate[step] = reported
    return found


def spaces_of(study: StudyRow) -> list[Space]:
    """The spaces that the study has had, version 1 first."""
    sections = [*(past["parameters"] for past in study.past_spaces), study.definition["parameters"]]
    return [Space(read_parameters(section)[0]) for section in sections]


def names_of(spaces: Sequence[Space]) -> list[str]:
    """All parameters of several versions, those of the newest one first."""
    return list(dict.fromkeys(name for space in reversed(spaces) for name in space.parameters))


def reported(sessions: sessionmaker[Session], study: StudyRow) -> list[str]:
    """The metrics, in alphabetical order, that any trial reported last, but for the objectives; not more than fit."""
    names: set[str] = set()
    with sessions() as session:
        rows = select(TrialRow.metrics).where(TrialRow.study_id == study.id, TrialRow.metrics.is_not(None))
        for metrics in session.scalars(rows.execution_options(yield_per=PAGE)):
            names.update(metrics or ())
    return sorted(names - {objective["metric"] for objective in study.objectives})[:MOST_METRICS]


class Columns(NamedTuple):
    """In a table the columns of objectives, of parameters and of other metrics, by name."""

    values: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, str]


def columns_of(values: Iterable[str], parameters: Iterable[str], metrics: Iterable[str]) -> Columns:
    """Who comes to a name that is taken gets a prefix, and so does a metric that a spreadsheet would work out."""
    taken = set(COLUMNS)
    values_of = _named(values, "values.", taken)
    parameters_of = _named(parameters, "parameters.", taken)
    return Columns(values_of, parameters_of, _named(metrics, "metrics.", taken, FORMULAS))


def _named(names: Iterable[str], prefix: str, taken: set[str], avoided: tuple[str, ...] = ()) -> dict[str, str]:
    found = {}
    for name in names:
        column = prefix + name if name.startswith(avoided) else name
        while column in taken:
            column = prefix + column
        found[name] = column
        taken.add(column)
    return found
