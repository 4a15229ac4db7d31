"""Which trials have the same parameters, also where a space was changed from whole numbers to floats."""

from __future__ import annotations

from typing import Any

import pytest

from search.definition import parse
from search.optuna_study import OptunaStudy
from search.optuna_trials import PastTrial
from search.twins import digest
from store.models import TrialState
from tests.unit.search.documents import external

FLOATS = {"low": 1.0, "high": 3.0, "step": 1.0}
ONCE_WHOLE = [
    PastTrial(number, TrialState.COMPLETE, {"a": number + 1}, values=[0.5], is_of_this_space=False)
    for number in range(2)
]


def study(duplicates: str, seed: int = 0) -> OptunaStudy:
    sampler = {"name": "random", "seed": seed}
    return OptunaStudy(parse(external({"a": FLOATS}, duplicates=duplicates, sampler=sampler)))


@pytest.mark.parametrize("seed", range(5))
def test_what_was_tried_as_a_whole_number_is_not_proposed_as_a_float(seed: int) -> None:
    rebuilt = study("resample", seed)
    rebuilt.load(ONCE_WHOLE, {})

    assert rebuilt.propose().parameters == {"a": 3.0}


def test_the_result_of_a_whole_number_is_taken_over_by_the_same_float() -> None:
    rebuilt = study("reuse")
    rebuilt.load(ONCE_WHOLE, {})

    assert [rebuilt.enqueue({"a": value}).twin for value in (1, 2.0, 3)] == [0, 1, None]


@pytest.mark.parametrize(
    ("one", "other", "are_same"),
    [
        ({"a": 1, "b": 2}, {"b": 2.0, "a": 1.0}, True),
        ({"a": [64, {"n": 1}]}, {"a": [64.0, {"n": 1.0}]}, True),
        ({"a": 0}, {"a": -0.0}, True),
        ({"a": 2**53}, {"a": 2.0**53}, True),
        ({"a": 1e300}, {"a": 2e300}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": None}, {}, False),
        ({"a": 0.1}, {"a": 0.1 + 2**-56}, False),
    ],
)
def test_numbers_are_compared_by_what_they_are(one: dict[str, Any], other: dict[str, Any], are_same: bool) -> None:
    assert (digest(one) == digest(other)) == are_same
