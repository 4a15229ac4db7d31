"""A short name for a data set and its split: predictions may be compared and combined where it is the same."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from trainer.config import Data
from trainer.data.schema import as_text
from trainer.data.split import Parts, Rows


def fingerprint(data: Data, target: pd.Series, parts: Parts, fixed_test: pd.Series | None) -> str:
    """From where the rows come, which of them train, validate and test, and what is true of each.

    The preprocessing is left out: trials that differ in it still predict the same rows.
    """
    digest = hashlib.sha256(f"{data.source}\0{data.test_source}\0{target.name}".encode())
    sides: list[tuple[pd.Series, Rows]] = [(target, parts.train), (target, parts.validation), (target, parts.test)]
    if fixed_test is not None:
        sides.append((fixed_test, np.arange(len(fixed_test))))
    for column, rows in sides:
        digest.update(len(rows).to_bytes(8, "little"))
        digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())
        digest.update("\0".join(as_text(column.iloc[rows])).encode(errors="surrogatepass"))
    return digest.hexdigest()
