"""What a word is: how a text is divided into tokens, in the scripts of all languages.

Letters, marks and other kinds of characters are Unicode's general categories. What belongs together follows its default
word boundaries (Unicode Standard Annex 29, section 4) where scripts differ. Time and room grow with the length of a
text, whatever stands in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import NamedTuple

WORD_RUNS = (3, 4)  # letters of a word
UNSPACED_RUNS = (2, 3)  # characters of a script without spaces
# Letters of scripts that put no spaces between words, by block: Chinese characters, hiragana, and those of South East
# Asia whose lines are broken by dictionaries (Unicode Standard Annex 14, class SA). Katakana spell whole words.
UNSPACED = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF), (0x3005, 0x3007),
    (0x3040, 0x309F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF),
    (0x11700, 0x1174F), (0x1B000, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
MARKED = (range(0x300, 0x20000), range(0xE0100, 0xE01F0))  # where combining marks are

_DIGIT = re.compile(r"\d")
_PLAIN = re.compile(r"\w+|[^\w\s]")
_BREAKS = re.compile("\u200b+")  # a space that is not seen
# Not seen either, and no part of a word: where lines may break, how letters join, which way they run, the byte order.
_UNSEEN = re.compile("[\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]+")


def plain_tokens(text: str, *, lower_case: bool, subwords: bool) -> list[str]:
    """Letters and digits side by side are a word, every other character is one token: also a mark above a letter."""
    words = _PLAIN.findall(_folded(text, lower_case))
    return list(chain.from_iterable(map(_parts, words))) if subwords else words


def tokens_by_script(text: str, *, lower_case: bool, subwords: bool) -> list[str]:
    """Words with the marks above and below their letters, and single characters where a script has no spaces."""
    if text.isascii():
        return plain_tokens(text, lower_case=lower_case, subwords=subwords)
    patterns, folded = _patterns(), _folded(_UNSEEN.sub("", _BREAKS.sub(" ", text)), lower_case)
    if not subwords:
        return patterns.token.findall(folded)
    pieces = patterns.piece.finditer(folded)
    return list(chain.from_iterable(_with_runs(piece[1]) if piece[1] else _parts(piece[0]) for piece in pieces))


def unspaced_characters(text: str) -> int:
    """How many characters of a text are of scripts that put no spaces between words."""
    return 0 if text.isascii() else len(_patterns().character.findall(text))


def _folded(text: str, lower_case: bool) -> str:
    """Of numbers only how long they are is told apart."""
    return _DIGIT.sub("0", text.lower() if lower_case else text)


def _parts(word: str) -> list[str]:
    """A word and the runs of letters in it, its ends marked (Bojanowski et al. 2017, section 3.2)."""
    marked = f"<{word}>"
    return [word] + [marked[at : at + length] for length in WORD_RUNS for at in range(len(marked) - length + 1)]


def _with_runs(unspaced: str) -> Iterator[str]:
    """Each character, and the runs that begin with it."""
    characters = _patterns().character.findall(unspaced)
    for at, character in enumerate(characters):
        yield character
        for length in UNSPACED_RUNS:
            if at + length <= len(characters):
                yield "".join(characters[at : at + length])


class _Patterns(NamedTuple):
    token: re.Pattern[str]
    character: re.Pattern[str]  # of a script without spaces, with its marks
    piece: re.Pattern[str]  # a token, or all such characters that stand side by side: these are its group


@cache
def _patterns() -> _Patterns:
    """No two parts that follow each other begin alike, so that nothing is looked at twice."""
    marks = _any_of(code for codes in MARKED for code in codes if _category(code) == "M")
    letters = ((code for code in range(first, last + 1) if _category(code) in "LN") for first, last in UNSPACED)
    unspaced = _any_of(chain.from_iterable(letters))
    spaced = rf"[^\W{unspaced}]"
    word = rf"{spaced}+(?:[{marks}]+{spaced}*)*"
    character = rf"[{unspaced}][{marks}]*"
    others = rf"{word}|[^\w\s][{marks}]*"
    return _Patterns(*map(re.compile, (f"{character}|{others}", character, f"((?:{character})+)|{others}")))


def _category(code: int) -> str:
    return unicodedata.category(chr(code))[0]


def _any_of(codes: Iterable[int]) -> str:
    """What stands between the brackets of a pattern for characters in ascending order."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in ranges)
