"""Successive halving and Hyperband by several objectives, where a value is better or worse only along with others.

Optuna's pruners know one objective. The rule here is theirs with the front in the place of the value (Li et al. 2020;
non-dominated sorting: Deb et al. 2002): at a rung a trial goes on if its front is at least as good as the one in which
the best `1 / reduction_factor` of the trials that came there end. So a trial that none beats at a rung is never stopped
there, and with one objective the decisions are those of Optuna.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from search.fronts import ranks

Losses = tuple[float, ...]  # of one trial at one rung, each objective to be minimized


@dataclass
class FrontHalving:
    """Decides for the trials of one study, each at the rungs of its own bracket.

    A rung lies at `min_resource`, times `reduction_factor` for each rung before it and for each bracket before its own.
    """

    min_resource: int
    reduction_factor: int
    bootstrap_count: int
    bracket_of: Callable[[int], int]  # by a trial's number
    _rungs: defaultdict[tuple[int, int], list[tuple[int, Losses]]] = field(default_factory=lambda: defaultdict(list))
    _reached: defaultdict[int, list[Losses]] = field(default_factory=lambda: defaultdict(list))  # by trial

    def load(self, number: int, stored: Sequence[Sequence[float]]) -> None:
        """Take in what `stored` gave for a trial."""
        for losses in stored:
            self._add(number, tuple(losses))

    def stored(self, number: int) -> list[list[float]]:
        """What is to be remembered of a trial."""
        return [list(losses) for losses in self._reached[number]]

    def report(self, number: int, step: int, losses: Sequence[float], last: float = inf) -> bool:
        """Whether a trial goes on from this step, compared with the trials up to the number `last`."""
        while step >= self._level(number):
            rung = self._add(number, tuple(losses))
            if not self._goes_on([known for other, known in rung if other <= last or other == number]):
                return False
        return True

    def _level(self, number: int) -> int:
        """The resource at which the trial's next rung lies."""
        exponent = self.bracket_of(number) + len(self._reached[number])
        return int(self.min_resource * self.reduction_factor**exponent)

    def _add(self, number: int, losses: Losses) -> list[tuple[int, Losses]]:
        """Put a trial into its next rung: those that came there by number, this one last."""
        rung = self._rungs[self.bracket_of(number), len(self._reached[number])]
        rung.append((number, losses))
        self._reached[number].append(losses)
        return rung

    def _goes_on(self, rung: list[Losses]) -> bool:
        if len(rung) <= self.bootstrap_count:
            return False
        share = max(len(rung) // self.reduction_factor, 1)
        found = ranks(np.array(rung), share)
        return bool(found[-1] <= np.sort(found)[share - 1])
