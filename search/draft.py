"""A trial while its parameters are drawn, all of them at once."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import _get_single_value as single_value
from optuna.pruners import _filter_study as filter_study
from optuna.trial import FrozenTrial
from typing_extensions import override

from search.optuna_trials import shallow


class Draft(optuna.Trial):
    """Draws what `optuna.Trial` draws, by the same sampler and in the same order.

    Optuna copies the trial into its storage anew with every parameter. Here the storage gets them together, from
    `drawn`, when all are drawn.
    """

    def __init__(self, study: optuna.Study, trial_id: int) -> None:
        super().__init__(study, trial_id)
        self._cached_frozen_trial = _without_parameters(self._cached_frozen_trial)

    @property
    def drawn(self) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """The parameters and their distributions."""
        return self._cached_frozen_trial.params, self._cached_frozen_trial.distributions

    @override
    def _suggest(self, name: str, distribution: BaseDistribution) -> Any:
        params, distributions = self.drawn
        value = self._value(name, distribution)
        params[name] = distribution.to_external_repr(distribution.to_internal_repr(value))
        distributions[name] = distribution
        return value

    def _value(self, name: str, distribution: BaseDistribution) -> Any:
        if self._is_fixed_param(name, distribution):
            return self._fixed_params[name]
        if distribution.single():
            return single_value(distribution)
        if self._is_relative_param(name, distribution):
            return self.relative_params[name]
        return self.study.sampler.sample_independent(self._visible_study, self._so_far, name, distribution)

    @override
    def _is_relative_param(self, name: str, distribution: BaseDistribution) -> bool:
        """As Optuna has it, without comparing each choice of a distribution with itself."""
        if name in self.relative_params and (self.relative_search_space or {}).get(name) is distribution:
            return distribution._contains(distribution.to_internal_repr(self.relative_params[name]))
        return super()._is_relative_param(name, distribution)

    @cached_property
    def _visible_study(self) -> optuna.Study:
        """What of the study a sampler sees: under Hyperband the trial's bracket, for which Optuna makes a class."""
        return filter_study(self.study, self._cached_frozen_trial)

    @cached_property
    def _so_far(self) -> FrozenTrial:
        """The trial as a sampler sees it: what is drawn appears in it."""
        return self._get_latest_trial()


def _without_parameters(trial: FrozenTrial) -> FrozenTrial:
    blank = shallow(trial)
    blank.params, blank.distributions = {}, {}
    return blank
