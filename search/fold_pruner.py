"""Stops a trial by what its folds, or its trainings from several seeds, say one by one, and not by their mean alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import WilcoxonPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

FOLDS = "trialyard:folds"  # a trial's system attribute: by step, the objective of each of its models
_ONE = re.compile(r"(?:fold|seed)/([0-9]+)/(.+)")


def values_of_folds(metrics: Mapping[str, float], objective: str) -> list[float]:
    """The objective of each model of a trial, in their order; none of a trial with a single one."""
    found = ((_ONE.fullmatch(name), value) for name, value in metrics.items())
    own = [(int(one[1]), value) for one, value in found if one and f"val/{one[2]}" == objective]
    return [value for _, value in sorted(own)]


class FoldPruner(WilcoxonPruner):
    """Optuna's signed-rank test over steps; where trials have several models, over these at the same step.

    The epochs of one training depend on each other, its folds hardly: a trial is stopped at an epoch at which its folds
    are worse than the same folds of the best trial were by then (Wilcoxon 1945, one-sided).
    """

    def __init__(self, p_threshold: float = 0.1, n_startup_steps: int = 2) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # what Optuna calls experimental is the user's choice
            super().__init__(p_threshold=p_threshold, n_startup_steps=n_startup_steps)
        self._threshold, self._startup = p_threshold, n_startup_steps

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        own: Mapping[str, Sequence[float]] = trial.system_attrs.get(FOLDS, {})
        if not own:
            with warnings.catch_warnings():
                # The best trial may have ended early, or be another study's, without steps: there is less to compare.
                warnings.simplefilter("ignore", UserWarning)
                return super().prune(study, trial)
        step = str(trial.last_step)
        try:
            best: Sequence[float] = study.best_trial.system_attrs.get(FOLDS, {}).get(step, ())
        except ValueError:  # there is none yet
            return False
        if len(own) < self._startup or len(own.get(step, ())) != len(best):
            return False
        from scipy.stats import wilcoxon  # takes a second to import, which every start of the service would wait for

        is_worse = "less" if study.direction is StudyDirection.MAXIMIZE else "greater"
        apart = [mine - its for mine, its in zip(own[step], best, strict=True)]
        # As in Optuna: folds that are alike count half for either side.
        return bool(wilcoxon(apart, alternative=is_worse, zero_method="zsplit").pvalue < self._threshold)
