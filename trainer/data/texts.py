"""Texts: a column of a table as sequences of tokens, whose vocabulary the training part decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainer.config import Data, Words
from trainer.data.document import Document
from trainer.data.schema import Target, as_text
from trainer.data.words import plain_tokens, tokens_by_script
from trainer.errors import DataError

PAD, UNKNOWN = 0, 1
RESERVED = 2
TOKENS: dict[Words, Callable[..., list[str]]] = {"by_script": tokens_by_script, "plain": plain_tokens}


class TextSchema(Document):
    """What the training part says about a text: the tokens that are known, the most frequent first."""

    kind: Literal["text"] = "text"
    column: str
    vocabulary: tuple[str, ...]
    lower_case: bool
    subwords: bool
    max_tokens: int
    words: Words = "plain"  # those written down before there was another way do not say it
    target: Target

    @property
    def tokens(self) -> int:
        """How many there are, with the one for padding and the one for all that are unknown."""
        return RESERVED + len(self.vocabulary)

    @property
    def columns(self) -> list[str]:
        return [self.column]

    def encode(self, table: pd.DataFrame) -> tuple[NDArray[np.int32]]:
        """(rows, length) int32: each row's tokens, then padding; no longer than the longest text needs.

        Raises:
            KeyError: the table lacks the column.
        """
        index = self._index
        rows = [
            [index.get(token, UNKNOWN) for token in tokens[: self.max_tokens]]
            for tokens in _tokenized(table[self.column], self.words, self.lower_case, self.subwords)
        ]
        encoded = np.full((len(rows), max([1, *map(len, rows)])), PAD, np.int32)
        for row, numbers in zip(encoded, rows, strict=True):
            row[: len(numbers)] = numbers
        return (encoded,)

    def facts(self, missing: Mapping[str, int]) -> dict[str, Any]:
        column = {"name": self.column, "kind": "text", "missing": missing[self.column], "tokens": len(self.vocabulary)}
        return {"columns": [column], "excluded": []}

    @cached_property
    def _index(self) -> dict[str, int]:
        return {token: place for place, token in enumerate(self.vocabulary, start=RESERVED)}


def fit_texts(train: pd.DataFrame, data: Data, target: Target) -> TextSchema:
    """Learn the vocabulary from the training part: of equally frequent tokens the first by the alphabet.

    Raises:
        DataError: there is no such column, or no token in it.
    """
    column = str(data.text)
    subwords = data.tokens == "subwords"
    rows = _tokenized(train[column], data.words, data.lower_case, subwords)
    counts = Counter(token for tokens in rows for token in tokens)
    if not counts:
        raise DataError("trial.data.text", f"no row of the training part has a text in {column}", "name another column")
    known = sorted(counts, key=lambda token: (-counts[token], token))[: data.vocabulary]
    return TextSchema(
        column=column,
        vocabulary=tuple(known),
        lower_case=data.lower_case,
        subwords=subwords,
        max_tokens=data.max_tokens,
        words=data.words,
        target=target,
    )


def _tokenized(column: pd.Series, words: Words, lower_case: bool, subwords: bool) -> Iterator[list[str]]:
    """Words and single marks; a missing text has none."""
    divide = TOKENS[words]
    return (divide(text, lower_case=lower_case, subwords=subwords) for text in as_text(column).fillna(""))
