"""Trials that came to exactly what an earlier one had come to: they say nothing new, wherever their points lie.

It happens where a parameter has no effect, where a training rounds it, and where a metric answers for whole regions.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping

FIRST = 3  # reports that must agree: of a coarse metric two may do so by chance

Shown = tuple[float, ...]


def rounded(value: float) -> float:
    """To the precision of float32, in which networks are trained: what differs by less differs by rounding alone."""
    return float(f"{value:.7g}")


class Repeats:
    """Told apart by their first reports, and the same whatever the order in which these came."""

    def __init__(self) -> None:
        self._shown: dict[int, Shown] = {}  # by trial
        self._alike: defaultdict[Shown, list[int]] = defaultdict(list)  # the trials that showed it, in order

    def note(self, number: int, reports: Mapping[int, float]) -> None:
        """A trial's values by step, in place of what was known of it; none, if it is to be left out."""
        shown = tuple(rounded(reports[step]) for step in sorted(reports)[:FIRST])
        # Where nothing moves nothing is trained: all networks that have diverged are alike, and no repeats.
        shown = shown if len(shown) == FIRST and len(set(shown)) > 1 else ()
        known = self._shown.get(number, ())
        if shown != known:
            self._forget(number, known)
            if shown:
                self._shown[number] = shown
                insort(self._alike[shown], number)

    def __contains__(self, number: int) -> bool:
        """Whether a trial that was proposed before it has shown the same."""
        shown = self._shown.get(number)
        return shown is not None and self._alike[shown][0] != number

    @property
    def share(self) -> float:
        """Of the trials that have shown enough, in [0, 1)."""
        return 1 - len(self._alike) / len(self._shown) if self._shown else 0.0

    def _forget(self, number: int, known: Shown) -> None:
        if known:
            del self._shown[number]
            self._alike[known].remove(number)
            if not self._alike[known]:
                del self._alike[known]
