"""The pruner that a definition asks for."""

from __future__ import annotations

from optuna.pruners import BasePruner, NopPruner

from search.definition import Definition
from search.sections import Hyperband, Median
from search.sorted_pruners import SortedHyperbandPruner, SortedMedianPruner


def make_pruner(definition: Definition) -> BasePruner:
    """A new pruner. Hyperband deals trials to its brackets by the study's name and the trial's number: keep both."""
    pruner = definition.pruner
    if isinstance(pruner, Median):
        return SortedMedianPruner(**pruner.options)
    if isinstance(pruner, Hyperband):
        return SortedHyperbandPruner(**pruner.options)
    return NopPruner()
