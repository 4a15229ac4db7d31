"""Reads a `source` into a table: a data set that scikit-learn ships, or a file below a folder that is allowed."""

from __future__ import annotations

import gzip
import io
import json
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from sklearn import datasets

from trainer.errors import DataError

BUNDLED = ("iris", "wine", "breast_cancer", "digits", "diabetes")
SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl")
# Parse errors of pandas and pyarrow are ValueErrors.
UNREADABLE = (ValueError, OSError, EOFError, zlib.error, pd.errors.ParserWarning)


def read(source: str, *, path: str, delimiter: str | None, data_folders: Sequence[Path]) -> pd.DataFrame:
    """The table that a source names, as it stands there.

    Args:
        source: `sklearn:<name>` or `file:<path>`.
        path: where in the study the source stands, for errors.
        data_folders: the only folders that `file:` may read; a relative path is looked for in each, in order.

    Raises:
        DataError: the source is of another kind, is not there, is not allowed, or cannot be read.
    """
    kind, _, name = source.partition(":")
    if kind == "sklearn":
        return _bundled(name, path)
    if kind == "file":
        return _file(_locate(name, path, data_folders), path, delimiter)
    raise DataError(path, f"{kind}: sources cannot be read", "sklearn:<name> and file:<path> can")


def _bundled(name: str, path: str) -> pd.DataFrame:
    """A data set of scikit-learn's, with the names of its classes in the last column, `target`."""
    if name not in BUNDLED:
        raise DataError(path, f"scikit-learn's {name!r} is not offered", f"one of {', '.join(BUNDLED)}")
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    table: pd.DataFrame = bunch.frame
    if name != "diabetes":
        table["target"] = [str(bunch.target_names[label]) for label in table["target"]]
    return table


def _locate(name: str, path: str, folders: Sequence[Path]) -> Path:
    """The file itself, symbolic links resolved: what counts is where it lies, not how it is reached."""
    allowed = [Path(os.path.realpath(folder)) for folder in folders]
    where = ", ".join(map(str, folders))
    if not allowed:
        raise DataError(path, "this worker may not read files", "TRIALYARD_DATA_DIR names the folders that it may read")
    candidates = [Path(os.path.realpath(folder / name)) for folder in allowed]
    inside = [file for file in candidates if any(file.is_relative_to(folder) for folder in allowed)]
    if not inside:
        raise DataError(path, f"{name} lies outside the folders that may be read", f"TRIALYARD_DATA_DIR allows {where}")
    for file in inside:
        if os.path.isfile(file):  # noqa: PTH113 - unlike Path.is_file it takes a name too long for a plain no
            return file
    raise DataError(path, f"there is no file {name}", f"looked for it below {where} (set by TRIALYARD_DATA_DIR)")


def _file(file: Path, path: str, delimiter: str | None) -> pd.DataFrame:
    endings = [ending for ending in file.suffixes[-2:] if ending != ".gz"]
    ending = endings[-1] if endings else ""
    if ending not in ENDINGS:
        raise DataError(path, f"{file.name}: unknown ending", f"{' '.join(ENDINGS)} can be read, each also as .gz")
    try:
        table = _parse(file, ending, delimiter)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(path, f"{file.name} cannot be read as {ending}: {reason}") from error
    table.columns = [str(column) for column in table.columns]
    return table


def _parse(file: Path, ending: str, delimiter: str | None) -> pd.DataFrame:
    if file.stat().st_size == 0:
        return pd.DataFrame()
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        if ending == ".parquet":
            return pd.read_parquet(io.BytesIO(stream.read()))  # it seeks from the end, which packed files cannot
        if ending == ".jsonl":
            return pd.DataFrame([json.loads(line) for line in stream if line.strip()])
        return _parse_lines(stream, delimiter or SEPARATORS[ending])


def _parse_lines(stream: io.BufferedIOBase, separator: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        # Rows longer than the header would lose their last fields with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(stream, sep=separator, index_col=False, skipinitialspace=True, low_memory=False)
