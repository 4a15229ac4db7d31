"""Importances of parameters, computed once for many who ask."""

from __future__ import annotations

import gc
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from search.analysis import MOST_TRIALS, Method, importances, spread
from search.definition import parse
from store.models import StudyRow, TrialRow, TrialState

KEPT_STUDIES = 256
STALE_SHARE = 0.01  # of new trials; a thousand trials more or less a few say the same

Shares = dict[str, float]  # by parameter
Rows = Sequence[tuple[Mapping[str, Any], Mapping[str, float]]]  # the parameters and values of trials


@dataclass
class Importances:
    """The newest result of each study: how many complete trials it was made of, and the shares by objective."""

    _found: OrderedDict[int, tuple[int, dict[str, Shares]]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _warming: threading.Lock = field(default_factory=threading.Lock)  # taken for good by the first who loads it

    def of(self, session: Session, study: StudyRow) -> tuple[int, dict[str, Shares]]:
        """The number of trials, and the shares by each objective's metric and parameter.

        Computed anew when the trials have grown by a hundredth.
        """
        complete = (TrialRow.study_id == study.id, TrialRow.state == str(TrialState.COMPLETE))
        count = session.scalar(select(func.count()).where(*complete)) or 0
        known, shares = self._found.get(study.id, (-1, {}))
        if known <= count <= known * (1 + STALE_SHARE):
            return known, shares
        with self._lock:  # one at a time: it is work for a processor, and others may come for the same
            known, shares = self._found.get(study.id, (-1, {}))
            if not known <= count <= known * (1 + STALE_SHARE):
                known, rows = sample(session, study, "ped_anova")
                shares = _by_objective(study, rows)
                self._remember(study.id, known, shares)
        return known, shares

    def warm_up(self) -> None:
        """Load what computes them, beside the requests: it comes with scikit-learn, and takes two seconds once."""
        if "optuna.importance" not in sys.modules and self._warming.acquire(blocking=False):
            threading.Thread(target=_load, daemon=True).start()

    def _remember(self, study_id: int, count: int, shares: dict[str, Shares]) -> None:
        self._found[study_id] = (count, shares)
        self._found.move_to_end(study_id)
        while len(self._found) > KEPT_STUDIES:
            self._found.popitem(last=False)


def _load() -> None:
    import_module("optuna.importance")
    gc.freeze()  # its 150,000 objects stay; to look through them takes a tenth of a second, in which nobody is answered


def sample(session: Session, study: StudyRow, method: Method) -> tuple[int, Rows]:
    """How many trials are complete, and those of them that a method looks at: only these are read whole."""
    of_study = TrialRow.study_id == study.id
    complete = select(TrialRow.number).where(of_study, TrialRow.state == str(TrialState.COMPLETE))
    numbers = session.scalars(complete.order_by(TrialRow.number)).all()
    chosen = TrialRow.number.in_(spread(numbers, MOST_TRIALS[method]))
    query = select(TrialRow.parameters, TrialRow.values).where(of_study, chosen).order_by(TrialRow.number)
    return len(numbers), [(parameters, values) for parameters, values in session.execute(query)]


def _by_objective(study: StudyRow, rows: Rows) -> dict[str, Shares]:
    definition = parse(study.definition)
    return {
        each.metric: importances(definition, each, [(parameters, values[each.metric]) for parameters, values in rows])
        for each in definition.objectives
    }
