"""A study's front as the API shows it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from api.result_shapes import ObjectiveShape, Pareto, Volume
from api.shapes import Best
from search.definition import Definition
from search.fronts import front, hypervolumes, losses_of, reference_point
from store.errors import Problem, Unprocessable
from store.trials import Trials


def pareto(trials: Trials, definition: Definition, reference: Sequence[float] | None) -> Pareto:
    """Raises: Unprocessable: the reference point has not as many values as there are objectives."""
    objectives = definition.objectives
    if reference is not None and len(reference) != len(objectives):
        wrong = Problem("reference", f"has {len(reference)} values", f"the study has {len(objectives)} objectives")
        raise Unprocessable(str(wrong), [wrong])
    valued = trials.values()
    metrics = [objective.metric for objective in objectives]
    losses = losses_of(objectives, [[values[metric] for metric in metrics] for _, values in valued])
    numbers = [number for number, _ in valued]
    ahead = trials.several([numbers[place] for place in np.flatnonzero(front(losses))])
    best_first = sorted(filter(None, map(Best.of, ahead)), key=lambda best: losses[numbers.index(best.number)][0])
    behind, volumes = None, []
    if numbers:
        behind = reference_point(losses) if reference is None else losses_of(objectives, reference)[0]
        volumes = hypervolumes(losses, behind)
        behind = losses_of(objectives, behind)[0]  # back in the objectives' own directions
    return Pareto(
        objectives=[ObjectiveShape(**objective.model_dump()) for objective in objectives],
        trials=len(numbers),
        front=best_first,
        reference=None if behind is None else dict(zip(metrics, behind.tolist(), strict=True)),
        volumes=[Volume(number=numbers[place], hypervolume=volume) for place, volume in volumes],
    )
