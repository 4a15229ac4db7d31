from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from trialyard.study_file import StudyFileError, as_yaml, from_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("-1E5", -1e5),
        ("+3", 3),
        ("012", 12),
        (".5", 0.5),
        ("1.", 1.0),
        ("-.inf", -math.inf),
        ("true", True),
        ("no", "no"),
        ("on", "on"),
        ("~", None),
        ("", None),
        ("null", None),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("2024-01-01", "2024-01-01"),
        ("2h", "2h"),
        ("'1e-4'", "1e-4"),
        ("[64, 1e2, a]", [64, 100.0, "a"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_scalars_are_what_newer_yaml_says(text: str, value: Any) -> None:
    [read] = from_yaml(f"key: {text}\n").values()

    assert (type(read), read) == (type(value), value)


def test_json_is_read_too_with_tabs_and_surrogate_pairs():
    assert from_yaml('{\n\t"a": 1e-4, "b": "\\ud83d\\ude00"}') == {"a": 1e-4, "b": "\U0001f600"}


def test_a_value_may_be_named_and_used_again():
    document = from_yaml("a: &x [1]\nb: *x")

    assert document == {"a": [1], "b": [1]}
    assert document["a"] is not document["b"]  # who reads one by taking it apart leaves the other


def test_aliases_that_would_unfold_to_more_than_a_study_can_hold_are_refused():
    levels = "".join(
        f"{level}: &{level} [{', '.join([f'*{below}'] * 9)}]\n"
        for below, level in zip("abcdefgh", "bcdefghi", strict=True)
    )

    with pytest.raises(StudyFileError, match="stand for more than 1,000,000 values"):
        from_yaml(f"a: &a [x, x, x, x, x, x, x, x, x]\n{levels}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3", ["line 3, column 1", "'a' stands twice"]),
        ('{"a": 1,\n "a": 2}', ["line 2", "'a' stands twice"]),
        ("a: {b: 1, b: 2}", ["line 1, column 11", "'b' stands twice"]),
        ("a:\n\tb: 1", ["line 2, column 1", "a tab; indent with spaces"]),
        ("a: [1, 2", ["line 1", "expected"]),
        ("a: 1\n---\nb: 2", ["line 2", "single document"]),
        ("1: x", ["line 1", "the key 1", "in quotes"]),
        ("- 1", ["line 1", "no keys and values"]),
        ("", ["line 1", "is empty"]),
        ("a: !!python/object/apply:os.getcwd []", ["line 1", "tag", "not known"]),
        ("a: !!set {b}", ["tag", "not known"]),
        ("a: " + "9" * 5000, ["too many digits"]),
        ("a: " + "[" * 3000, ["too deeply"]),
        ("a: &x [*x]", ["alias"]),
        ("a: \x00", ["no text that YAML allows"]),
        ("a: " + "x" * 1_000_000, ["1,000,003 characters"]),
    ],
)
def test_what_is_no_study_is_refused_with_its_place(text: str, words: list[str]) -> None:
    with pytest.raises(StudyFileError) as caught:
        from_yaml(text)

    for word in words:
        assert word in str(caught.value)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=9),
)


@given(st.dictionaries(st.text("ab.c-1e", min_size=1, max_size=4), st.one_of(SCALARS, st.lists(SCALARS, max_size=3))))
@example({"values": ["no", "On", "y", "~", "1e-4", "0x1f", "1:30", "012", ".inf", "<<", "a: b", "a\x85b\u2028c\x7f"]})
@example({"low": 1e-05, "high": 1e22, "step": -5e-324, "no": 1.0, "1e5": -0.0})
def test_what_is_written_reads_the_same_by_yaml_1_1_and_1_2(document: dict[str, Any]):
    text = as_yaml(document)

    assert from_yaml(text) == document
    assert yaml.safe_load(text) == document
    assert "\n" not in text
