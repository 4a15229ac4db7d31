"""Trials judged by several objectives: which beats which, what stands in front, and how much the front covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank, _is_pareto_front

from search.sections import Objective

Losses = NDArray[np.float64]  # (trials, objectives), each to be minimized

MARGIN = 0.1  # of an objective's range: so far the reference point lies behind the worst trial
MOST_POINTS = {1: 200, 2: 200, 3: 50, 4: 10}  # of a curve of hypervolumes: each costs more, the more objectives


def losses_of(objectives: Sequence[Objective], values: ArrayLike) -> Losses:
    """Values by trial and objective, in the direction of minimizing."""
    signs = np.array([1.0 if objective.direction == "minimize" else -1.0 for objective in objectives])
    return np.asarray(np.asarray(values, dtype=float).reshape(-1, len(signs)) * signs)


def front(losses: Losses) -> NDArray[np.bool_]:
    """Which trials no other beats: is at least as good by every objective and better by one. Shape (trials,)."""
    if not len(losses):
        return np.zeros(0, dtype=bool)
    return np.asarray(_is_pareto_front(losses, assume_unique_lexsorted=False))


def ranks(losses: Losses, exact: int | None = None) -> NDArray[np.int_]:
    """Each trial's front, from 0: the trials that none beats, those that only these beat, … (Deb et al. 2002).

    Args:
        exact: for so many of the best trials the front is told exactly, for the others only that it is a worse one.
    """
    return np.asarray(_fast_non_domination_rank(losses, n_below=exact))


def best_first(losses: Losses, most: int) -> list[int]:
    """The places of the `most` best trials, front by front.

    Within a front the best by the first objective comes first, and then always the one that is farthest from those
    before it, with each objective's range taken as 1: whoever is let on first, spreads over the front (the epsilon-net
    of Schmucker et al. 2021, Multi-objective Asynchronous Successive Halving).
    """
    if most <= 0:
        return []
    spread = np.ptp(losses, axis=0)
    scaled = losses / np.where(spread > 0, spread, 1.0)
    found, chosen = ranks(losses, most), list[int]()
    for rank in np.unique(found):
        members = np.flatnonzero(found == rank)
        members = members[np.lexsort(losses[members].T[::-1])]
        chosen += _spread(members, scaled[members], most - len(chosen))
        if len(chosen) >= most:
            break
    return chosen


def _spread(members: NDArray[np.intp], points: Losses, most: int) -> list[int]:
    """At most `most` of the members, from the first on always the farthest from those that were taken."""
    taken = [0]
    distances = np.linalg.norm(points - points[0], axis=1)
    distances[0] = -1.0
    while len(taken) < min(most, len(members)):
        taken.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(points - points[taken[-1]], axis=1))
        distances[taken] = -1.0  # also where others are equal to them
    return [int(members[place]) for place in taken]


def reference_point(losses: Losses) -> NDArray[np.float64]:
    """A tenth of each objective's range behind the worst trial, so that the ends of the front count too.

    Shape (objectives,); an objective that has one value only is given a range of 1. At least one trial is needed.
    """
    worst = losses.max(axis=0)
    spread = worst - losses.min(axis=0)
    return np.asarray(worst + MARGIN * np.where(spread > 0, spread, 1.0))


def hypervolumes(losses: Losses, reference: NDArray[np.float64]) -> list[tuple[int, float]]:
    """How much of the space before the reference point is covered after each trial that changed the front.

    Trials behind the reference point cover nothing.

    Returns:
        The trial's place in `losses` and the volume, in order; evenly thinned out if they are many, the last one kept.
    """
    inside = np.all(losses <= reference, axis=1)
    changes = _changes(losses, inside)
    most = min(MOST_POINTS[losses.shape[1]], len(changes))
    kept = sorted({len(changes) - 1 - round(share) for share in np.linspace(0, len(changes) - 1, most)})
    return [
        (place, float(compute_hypervolume(losses[: place + 1][inside[: place + 1]], reference)))
        for place in (changes[at] for at in kept)
    ]


def _changes(losses: Losses, inside: NDArray[np.bool_]) -> list[int]:
    """The places of the trials that were in front, among those inside, when they came."""
    changes, standing = [], losses[:0]
    for place in np.flatnonzero(inside):
        candidate = losses[place]
        if not np.any(np.all(standing <= candidate, axis=1)):
            standing = np.vstack([standing[~np.all(candidate <= standing, axis=1)], candidate])
            changes.append(int(place))
    return changes
