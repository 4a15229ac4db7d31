"""The kernels of one parameter by their means: who comes or goes changes how wide those beside it are."""

from __future__ import annotations

from array import array
from bisect import bisect_left

from search.kernels import Floats

NARROWEST, WIDEST = 0.01, 1.0  # of many kernels; the range is from -0.5 to 0.5

Changed = list[tuple[float, int, float]]  # kernels with another width than before: their means, trials and widths


class Order:
    """No two means are equal. In arrays of numbers a place is found at half the cost of lists of objects."""

    def __init__(self, means: Floats, numbers: Floats) -> None:
        """`means` ascend; `numbers` are the trials'."""
        self._means, self._numbers = array("d", means.tolist()), array("q", numbers.tolist())

    def enter(self, mean: float, number: int) -> Changed | None:
        """One more kernel; its width, and those that it changes. None if another has the same mean."""
        place = bisect_left(self._means, mean)
        if place < len(self._means) and self._means[place] == mean:
            return None
        own, beside = self._beside(place, mean)
        self._means.insert(place, mean)
        self._numbers.insert(place, number)
        return [(mean, number, own), *((of, trial, after) for of, trial, before, after in beside if before != after)]

    def leave(self, mean: float) -> Changed:
        """A kernel less; the widths that this changes."""
        place = bisect_left(self._means, mean)
        del self._means[place], self._numbers[place]
        _, beside = self._beside(place, mean)
        return [(of, trial, without) for of, trial, without, before in beside if before != without]

    def _beside(self, place: int, mean: float) -> tuple[float, list[tuple[float, int, float, float]]]:
        """The width of a kernel that would stand at this place; the two beside it with theirs, without and with it."""
        means, count = self._means, len(self._means)
        across = means[place] - means[place - 1] if 0 < place < count else 0.0
        left = right = 0.0
        beside = []
        if place > 0:
            left = mean - means[place - 1]
            beyond = means[place - 1] - means[place - 2] if place > 1 else 0.0
            widths = _width(beyond, across), _width(beyond, left)
            beside.append((means[place - 1], self._numbers[place - 1], *widths))
        if place < count:
            right = means[place] - mean
            beyond = means[place + 1] - means[place] if place + 1 < count else 0.0
            widths = _width(beyond, across), _width(beyond, right)
            beside.append((means[place], self._numbers[place], *widths))
        return _width(left, right), beside


def _width(left: float, right: float) -> float:
    """The wider of the gaps beside it, within limits."""
    widest = left if left > right else right
    return NARROWEST if widest < NARROWEST else min(widest, WIDEST)
