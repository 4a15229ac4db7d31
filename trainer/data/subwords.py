"""Texts for models from elsewhere: tokens as the model's own tokenizer makes them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainer.data.document import Document
from trainer.data.schema import Target, as_text


class SubwordSchema(Document):
    """A text column and the tokenizer of a pretrained model, whole: to predict, nothing else is needed."""

    kind: Literal["subwords"] = "subwords"
    column: str
    tokenizer: str  # the JSON of the package tokenizers
    tokens: int  # how many there are
    pad: int  # the one that stands for nothing
    max_tokens: int
    target: Target

    @property
    def columns(self) -> list[str]:
        return [self.column]

    def encode(self, table: pd.DataFrame) -> tuple[NDArray[np.int32]]:
        """(rows, length) int32: each row's tokens, then padding; no longer than the longest text needs.

        Raises:
            KeyError: the table lacks the column.
        """
        texts = as_text(table[self.column]).fillna("").tolist()
        rows = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        encoded = np.full((len(rows), max([1, *map(len, rows)])), self.pad, np.int32)
        for row, numbers in zip(encoded, rows, strict=True):
            row[: len(numbers)] = numbers
        return (encoded,)

    def facts(self, missing: Mapping[str, int]) -> dict[str, Any]:
        column = {"name": self.column, "kind": "text", "missing": missing[self.column], "tokens": self.tokens}
        return {"columns": [column], "excluded": []}

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.tokenizer)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_tokens)
        return tokenizer
