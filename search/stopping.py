"""Where the rungs of a pruner lie, and what is said of a trial that it stops."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from search.definition import Definition
from search.sections import Asha, Hyperband, Patient, SuccessiveHalving
from search.sorted_pruners import SortedHyperbandPruner

MOST_RUNGS = 31


class Stopping:
    """How a study's pruner goes about it, for people to read."""

    def __init__(self, definition: Definition, warm: int = 0) -> None:
        """`warm`: so many trials of another study it began with."""
        pruner = definition.pruner
        self._definition = definition
        self._warm = warm
        self._comparing = (pruner.wrapped or pruner) if isinstance(pruner, Patient) else pruner

    def levels(self, farthest: int) -> list[list[int]]:
        """The steps of the rungs of each bracket; no brackets without rungs.

        Args:
            farthest: where they end, of a pruner that knows no last step.
        """
        pruner = self._comparing
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

    @cached_property
    def bracket_of(self) -> Callable[[int], int]:
        """The bracket of a trial, by its number."""
        if not isinstance(self._comparing, Hyperband):
            return lambda _: 0
        deal = SortedHyperbandPruner(**self._comparing.options).dealing(self._definition.name)
        # Of several objectives the trials count as ours do, of one as Optuna's, where those of the other study are too.
        before = self._warm if len(self._definition.objectives) == 1 else 0
        return lambda number: deal(before + number)

    def why(self, number: int, step: int) -> str:
        """Why a trial has ended that was stopped at this step."""
        sentence, levels = f"{self._definition.pruner.name} stopped it at step {step}", self.levels(step)
        if not levels:
            return sentence
        bracket = self.bracket_of(number)
        rung = f"rung {max(level for level in levels[bracket] if level <= step)}"
        return f"{sentence} ({rung} of bracket {bracket})" if len(levels) > 1 else f"{sentence} ({rung})"


def _powers(first: int, factor: int, last: int) -> list[int]:
    steps = [first * factor**power for power in range(MOST_RUNGS)]
    return [step for step in steps if step <= last]
