"""Where each trial of a study stands among the others, whatever the resource that it has come to.

Values at one resource are compared with each other and never with values at another. At the first level all trials that
came there are put in order. Each further level puts those that came to it into a new order, over the places that the
same trials had before. So a trial that was stopped early keeps the place of its early value, one that disappoints later
falls behind those with which it went on, and a monotone change of the metric changes nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def standings(values: Floats) -> Floats:
    """Put trials in order.

    Args:
        values: (trials, levels), smaller is better; NaN where a trial did not come. The last level is a trial's end.

    Returns:
        (trials,), each from 0, the best, to 1, equal values at the mean of their places; NaN for who came to no level.
    """
    places = np.full(len(values), np.nan)
    for column in values.T:
        came = np.flatnonzero(~np.isnan(column))
        if len(came):
            order = came[np.argsort(column[came], kind="stable")]
            in_order = column[order]
            before = places[order]
            new = np.isnan(before)  # they skipped the levels below, if there are any
            before[new] = ((np.arange(len(order)) + 0.5) / len(order))[new]
            places[order] = shared(in_order, np.sort(before))
    return places


def shared(values: Floats, places: Floats) -> Floats:
    """Places for ascending values, of which equal ones share the mean of theirs."""
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    counts = np.diff(np.append(first, len(values)))
    means: Floats = np.repeat(np.add.reduceat(places, first) / counts, counts)
    return means
