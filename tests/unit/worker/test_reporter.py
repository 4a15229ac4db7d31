from decimal import Decimal

import numpy as np
import pytest

from worker.reporter import NotANumber, UnfitName, finite


def test_numbers_of_all_kinds_become_plain_floats() -> None:
    metrics = finite({"a": 1, "b": np.float32(0.5), "c": Decimal("0.25"), "d": True}, "at step 1")

    assert metrics == {"a": 1.0, "b": 0.5, "c": 0.25, "d": 1.0}
    assert {type(value) for value in metrics.values()} == {float}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "val/loss is nan at step 1; a metric must be finite"),
        (np.float64("-inf"), "val/loss is -inf at step 1; a metric must be finite"),
        ("low", "val/loss is 'low' at step 1; a metric must be a number"),
        (None, "val/loss is None at step 1; a metric must be a number"),
    ],
)
def test_what_is_no_finite_number_is_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(NotANumber, match=message):
        finite({"val/loss": value}, "at step 1")  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "told"), [("loss \ud800", r"'loss \\ud800'"), ("", "''"), ("x" * 129, f"'{'x' * 60}'")]
)
def test_a_name_that_cannot_be_stored_is_refused_in_words(name: str, told: str) -> None:
    with pytest.raises(UnfitName, match=f"a metric cannot be called {told}: it must be 1 to 128 characters"):
        finite({name: 1.0}, "at step 1")
