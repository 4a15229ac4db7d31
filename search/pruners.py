"""The pruner that a definition asks for."""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner

from search.definition import Definition
from search.sections import Hyperband, Median


def make_pruner(definition: Definition) -> BasePruner:
    """A new pruner. Hyperband deals trials to its brackets by the study's name and the trial's number: keep both."""
    pruner = definition.pruner
    if isinstance(pruner, Median):
        return MedianPruner(**pruner.options)
    if isinstance(pruner, Hyperband):
        return HyperbandPruner(**pruner.options)
    return NopPruner()
