"""What became of the trials at the rungs of a study's pruner."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.result_shapes import Bracket, Rung, Rungs
from search.definition import Definition, parse
from search.pruners import make_pruner
from search.sections import Asha, Hyperband, Patient, SuccessiveHalving
from search.sorted_pruners import SortedHyperbandPruner
from store.models import StudyRow, TrialRow, TrialState, WarmTrialRow

MOST_RUNGS = 31


def rungs(session: Session, study: StudyRow) -> Rungs:
    """By bracket and rung, how many trials came there, were stopped there and wait there; no brackets without rungs."""
    definition = parse(study.definition)
    columns = (TrialRow.number, TrialRow.state, TrialRow.step)
    query = select(*columns).where(TrialRow.study_id == study.id).order_by(TrialRow.number)
    rows = [(number, TrialState(state), step or 0) for number, state, step in session.execute(query)]
    levels = _levels(definition, max((step for *_, step in rows), default=0))
    bracket_of = _dealing(session, study, definition)
    dealt: defaultdict[int, list[tuple[TrialState, int]]] = defaultdict(list)
    for number, state, step in rows if levels else ():
        dealt[bracket_of(number)].append((state, step))
    brackets = [
        Bracket(bracket=place, trials=len(dealt[place]), rungs=_rungs(steps, dealt[place]))
        for place, steps in enumerate(levels)
    ]
    return Rungs(pruner=definition.pruner.name, brackets=brackets)


def _levels(definition: Definition, farthest: int) -> list[list[int]]:
    """The steps of the rungs of each bracket; of a pruner that knows no last step those that a trial has come to."""
    pruner = definition.pruner
    if isinstance(pruner, Patient):
        pruner = pruner.wrapped or pruner
    match pruner:
        case Hyperband():
            whole = _powers(pruner.min_resource, pruner.reduction_factor, pruner.max_resource)
            return [whole[first:] for first in range(len(whole))]
        case Asha():
            return [_powers(pruner.min_resource, pruner.reduction_factor, pruner.max_resource)]
        case SuccessiveHalving():
            first = pruner.min_resource * pruner.reduction_factor**pruner.min_early_stopping_rate
            return [_powers(first, pruner.reduction_factor, max(farthest, first))]
    return []


def _powers(first: int, factor: int, last: int) -> list[int]:
    steps = [first * factor**power for power in range(MOST_RUNGS)]
    return [step for step in steps if step <= last]


def _dealing(session: Session, study: StudyRow, definition: Definition) -> Callable[[int], int]:
    """The bracket of each trial; trials that the study began with count in Optuna's numbers."""
    pruner = make_pruner(definition)
    pruner = getattr(pruner, "_wrapped_pruner", None) or pruner
    if not isinstance(pruner, SortedHyperbandPruner):
        return lambda _: 0
    warm = session.scalar(select(func.count()).where(WarmTrialRow.study_id == study.id)) or 0
    deal = pruner.dealing(study.name)
    return lambda number: deal(warm + number)


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
