from __future__ import annotations

import pytest

from search.inequality import NotLinear, read_inequality


@pytest.mark.parametrize(
    ("text", "coefficients", "bound", "strict"),
    [
        ("model.width_low < model.width_high", {"model.width_low": 1, "model.width_high": -1}, 0, True),
        ("data.augment.a + data.augment.b <= 1", {"data.augment.a": 1, "data.augment.b": 1}, 1, False),
        ("a >= 2 * b + 1", {"a": -1, "b": 2}, -1, False),  # 2b + 1 - a <= 0
        ("3 > a / 2 - -b * 2", {"a": 0.5, "b": 2}, 3, True),
        ("2 * (a - (b + 1) / 4) < 5e-1", {"a": 2, "b": -0.5}, 1, True),  # 2a - b/2 - 1/2 < 1/2
        ("a + b - a < 'learning-rate'", {"b": 1, "learning-rate": -1}, 0, True),
    ],
)
def test_sums_are_brought_to_one_side(text: str, coefficients: dict[str, float], bound: float, strict: bool) -> None:
    read = read_inequality(f"  {text} ")

    assert (read.text, read.coefficients, read.bound, read.strict) == (text, coefficients, bound, strict)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("a << b", 4, "expected a parameter or a number"),
        ("a + b", 6, "expected one of < <= > >="),
        ("a == b", 3, "cannot read '='"),
        ("a < b < c", 7, "one inequality has one sign"),
        ("a * b < 1", 3, "not linear"),
        ("1 / a < 1", 3, "needs a number below it"),
        ("a / 0 < 1", 3, "needs a number below it"),
        ("a ** 2 < 1", 4, "expected a parameter"),
        ("(a + b < 1", 8, "expected )"),
        ("a < 1) ", 6, "cannot go on with ')'"),
        ("a < 3b", 5, "cannot read '3'"),
        ("learning_rate < b; import os", 18, "cannot read ';'"),
        ("a - a < 1", 1, "names no parameter"),
        ("1e308 * a < -1e308 * 10", 1, "too large"),
        ("(" * 21 + "a", 22, "nested more than 20 deep"),
        ("a < " + "-" * 999, 1_001, "1,000 are the most"),
        ("", 1, "expected a parameter"),
    ],
)
def test_what_is_no_linear_inequality_is_refused_with_the_place(text: str, at: int, words: str) -> None:
    with pytest.raises(NotLinear) as refused:
        read_inequality(text)

    assert refused.value.at == at
    assert words in refused.value.message


def test_many_signs_are_no_depth():
    assert read_inequality("-" * 990 + "a < 1").coefficients == {"a": 1.0}


def test_parentheses_that_stand_beside_each_other_are_not_nested() -> None:
    assert read_inequality(" + ".join(["(a)"] * 25) + " <= 1").coefficients == {"a": 25.0}
