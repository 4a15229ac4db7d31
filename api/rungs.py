"""What became of the trials at the rungs of a study's pruner."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.result_shapes import Bracket, Rung, Rungs
from search.definition import parse
from search.stopping import Stopping
from store.models import StudyRow, TrialRow, TrialState, WarmTrialRow


def rungs(session: Session, study: StudyRow) -> Rungs:
    """By bracket and rung, how many trials came there, were stopped there and wait there; no brackets without rungs."""
    definition = parse(study.definition)
    columns = (TrialRow.number, TrialRow.state, TrialRow.step)
    query = select(*columns).where(TrialRow.study_id == study.id).order_by(TrialRow.number)
    rows = [(number, TrialState(state), step or 0) for number, state, step in session.execute(query)]
    warm = session.scalar(select(func.count()).where(WarmTrialRow.study_id == study.id)) or 0
    stopping = Stopping(definition, warm)
    levels = stopping.levels(max((step for *_, step in rows), default=0))
    dealt: defaultdict[int, list[tuple[TrialState, int]]] = defaultdict(list)
    for number, state, step in rows if levels else ():
        dealt[stopping.bracket_of(number)].append((state, step))
    brackets = [
        Bracket(bracket=place, trials=len(dealt[place]), rungs=_rungs(steps, dealt[place]))
        for place, steps in enumerate(levels)
    ]
    return Rungs(pruner=definition.pruner.name, brackets=brackets)


def _rungs(steps: list[int], trials: list[tuple[TrialState, int]]) -> list[Rung]:
    """A trial stands at the last rung that it has come to."""
    beyond = [*map(float, steps[1:]), math.inf]
    found = []
    for here, next_step in zip(steps, beyond, strict=True):
        stand = Counter(state for state, step in trials if here <= step < next_step)
        reached = sum(step >= here for _, step in trials)
        stopped, waiting = stand[TrialState.PRUNED], stand[TrialState.PAUSED]
        found.append(Rung(step=here, reached=reached, stopped=stopped, waiting=waiting))
    return found
