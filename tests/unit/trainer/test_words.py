"""What a word is, in scripts of many kinds. Words and characters were divided by hand."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.words import MARKED, plain_tokens, tokens_by_script, unspaced_characters


def tokens(text: str, *, subwords: bool = False) -> list[str]:
    return tokens_by_script(text, lower_case=True, subwords=subwords)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है", "।"], id="Hindi"),
        pytest.param("বাংলা ভাষা", ["বাংলা", "ভাষা"], id="Bengali"),
        pytest.param("தமிழ் மொழி!", ["தமிழ்", "மொழி", "!"], id="Tamil"),
        pytest.param("كِتَابٌ جَدِيدٌ", ["كِتَابٌ", "جَدِيدٌ"], id="Arabic with its vowels"),
        pytest.param("שָׁלוֹם", ["שָׁלוֹם"], id="Hebrew with its points"),
        pytest.param(
            "Cafe\u0301, I\u0307stanbul", ["cafe\u0301", ",", "i\u0307stanbul"], id="letters and accents apart"
        ),
        pytest.param("İstanbul", ["i\u0307stanbul"], id="a small letter of two characters"),
        pytest.param("می\u200cآید", ["می" + "آید"], id="Persian with a joiner"),
        pytest.param("Ver\u00adein \ufeff\u200e", ["verein"], id="what is not seen"),
        pytest.param("한국어 문장", ["한국어", "문장"], id="Korean"),
        pytest.param("我喜欢iPhone手机12", ["我", "喜", "欢", "iphone", "手", "机", "00"], id="Chinese"),
        pytest.param("猫がコーヒーを飲む。", ["猫", "が", "コーヒー", "を", "飲", "む", "。"], id="Japanese"),
        pytest.param("ดีมาก", ["ดี", "ม", "า", "ก"], id="Thai"),
        pytest.param("ລາວ", ["ລ", "າ", "ວ"], id="Lao"),
        pytest.param("ភា\u200bខ្មែរ", ["ភា", "ខ្", "មែ", "រ"], id="Khmer"),
        pytest.param("𠮷", ["𠮷"], id="a rare character"),
        pytest.param("❤\ufe0f \u0301", ["❤\ufe0f", "\u0301"], id="marks without a letter"),
        pytest.param("\u200b \u00ad", [], id="nothing to see"),
    ],
)
def test_what_belongs_together_in_a_script_is_one_token(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_subwords_of_scripts_without_spaces_are_neighbours() -> None:
    # No run goes over a space or a word of another script.
    assert tokens("我喜欢 你a", subwords=True) == ["我", "我喜", "我喜欢", "喜", "喜欢", "欢", "你", "a", "<a>"]
    assert tokens("ดีม", subwords=True) == ["ดี", "ดีม", "ม"]
    assert tokens("लिख", subwords=True) == ["लिख", "<लि", "लिख", "िख>", "<लिख", "लिख>"]


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF, exclude_characters="\u00ad")), st.booleans())
def test_letters_that_are_one_character_are_read_as_they_were(text: str, subwords: bool) -> None:
    assert tokens_by_script(text, lower_case=False, subwords=subwords) == plain_tokens(
        text, lower_case=False, subwords=subwords
    )


@given(st.text())
def test_nothing_that_is_seen_gets_lost(text: str) -> None:
    seen = [each for each in text if not each.isspace() and unicodedata.category(each) not in ("Cf", "Nd")]

    found = "".join(tokens_by_script(text, lower_case=False, subwords=False))

    assert [each for each in found if each != "0" and unicodedata.category(each) != "Cf"] == seen


@pytest.mark.parametrize("text", ["\u0301", "a\u0301", "é字", "字\u0301\u0302", "é\u200c", "é.", "हि", "\U00020000"])
def test_hostile_texts_cost_no_more_than_their_length(text: str) -> None:
    """With a search that begins again at every character these would take hours."""
    found = tokens(text * 300_000, subwords=True)

    assert sum(map(len, found)) < 10 * len(text) * 300_000


def test_all_marks_of_unicode_are_known_of() -> None:
    marks = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)).startswith("M")]

    assert all(any(code in codes for codes in MARKED) for code in marks)


def test_characters_without_spaces_are_counted() -> None:
    assert unspaced_characters("我 like ดี コーヒー") == 2
    assert unspaced_characters("hello") == 0
