"""What a sampler proposes for all parameters together, and what is drawn for one alone."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler

from search.draft import Draft

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(0.0, 1.0),
    "layers": IntDistribution(1, 4),
    "name": CategoricalDistribution(["a", "b"]),
}


class Proposing(RandomSampler):
    """Proposes what it was given, and 0.25, 3 or b where it is asked for one parameter."""

    def __init__(self, proposed: dict[str, Any]) -> None:
        super().__init__()
        self._proposed = proposed

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return SPACE

    def sample_relative(self, *_: Any) -> dict[str, Any]:
        return self._proposed

    def sample_independent(self, *given: Any) -> Any:
        return {"lr": 0.25, "layers": 3, "name": "b"}[given[2]]


def draft(sampler: BaseSampler) -> dict[str, Any]:
    study = optuna.create_study(sampler=sampler)
    draft = Draft(study, study._storage.create_new_trial(study._study_id))
    for name, distribution in SPACE.items():
        draft._suggest(name, distribution)
    return draft.drawn[0]


@pytest.mark.parametrize(
    ("proposed", "drawn"),
    [
        ({"lr": 0.5, "layers": 2, "name": "a"}, {"lr": 0.5, "layers": 2, "name": "a"}),
        ({"lr": 2.0, "layers": 5, "name": "a"}, {"lr": 0.25, "layers": 3, "name": "a"}),  # two lie outside
        ({"name": "a"}, {"lr": 0.25, "layers": 3, "name": "a"}),
    ],
)
def test_what_is_proposed_holds_where_the_distribution_has_it(proposed: dict[str, Any], drawn: dict[str, Any]) -> None:
    assert draft(Proposing(proposed)) == drawn


def test_what_is_drawn_is_of_the_distributions_type_whatever_the_sampler_says() -> None:
    assert repr(draft(Proposing({"lr": 0.5, "layers": 2.0, "name": "a"}))["layers"]) == "2"
