"""Reads a `source` into a table: a data set that scikit-learn ships, one made up, or a file below a folder that is
allowed."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import datasets

from trainer import generators
from trainer.config import BUNDLED, Channels, Data
from trainer.data.image_sources import array_images, digits, idx_images, read_folder, read_idx
from trainer.data.images import Images
from trainer.data.synthetic import generate
from trainer.errors import DataError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
_OTHER_SEPARATORS = (";", "\t", "|")  # spreadsheets of half of Europe write .csv files with semicolons
ENDINGS = (".csv", ".tsv", ".parquet", ".jsonl", ".npz")
IDX_NAME = re.compile(r"idx\d-ubyte(\.gz)?$|\.idx(\.gz)?$")
QUOTING: dict[str, Literal[0, 3]] = {"standard": csv.QUOTE_MINIMAL, "none": csv.QUOTE_NONE}
# Parse errors of pandas and pyarrow are ValueErrors.
_BROKEN = (ValueError, RecursionError, EOFError, zlib.error, zipfile.BadZipFile, pd.errors.ParserWarning)
UNREADABLE = (*_BROKEN, OSError, MemoryError)  # a small file may say that it holds petabytes

_FIELDS = "every row has as many fields as the first line names; data.delimiter says what divides them"
_OBJECT = 'every line is one JSON object, as in {"age": 31, "job": "cook"}'
_LONGEST_HEADER = 2**20
CURES = {UnicodeDecodeError: "save it as UTF-8", MemoryError: "there is not so much memory; save fewer rows or columns"}
HINTS = {".csv": _FIELDS, ".tsv": _FIELDS, ".jsonl": _OBJECT}


@dataclass(frozen=True)
class Place:
    """Where a source stands in the study, for errors, what it says, and where its labels are if it says so."""

    path: str
    source: str
    labels: str | None = None


class Found(NamedTuple):
    """The rows of a source, as they stand there, and those that it sets apart for the test."""

    rows: pd.DataFrame | Images
    test: pd.DataFrame | Images | None = None


def read(at: Place, data: Data, *, data_folders: Sequence[Path], as_images: bool = False) -> Found:
    """What a source holds: a table, or images.

    Args:
        at: `sklearn:<name>`, `synthetic:<generator>` or `file:<path>`.
        data: how files are to be read; its own sources are not looked at.
        data_folders: the only folders that `file:` may read; a relative path is looked for in each, in order.
        as_images: reads `sklearn:digits` as images.

    Raises:
        DataError: the source is of another kind, is not there, is not allowed, or cannot be read.
    """
    kind, _, name = at.source.partition(":")
    if kind == "sklearn":
        return Found(digits() if as_images and name == "digits" else _bundled(name, at.path))
    if kind == "file":
        return _file(locate(name, at.path, data_folders), at, data, data_folders)
    if kind == "synthetic":
        return Found(generate(generators.parse(name)))
    raise DataError(
        at.path, f"{kind}: sources cannot be read", "sklearn:<name>, file:<path> and synthetic:<generator> can"
    )


def _bundled(name: str, path: str) -> pd.DataFrame:
    """A data set of scikit-learn's, with the names of its classes in the last column, `target`."""
    if name not in BUNDLED:
        raise DataError(path, f"scikit-learn's {name!r} is not offered", f"one of {', '.join(BUNDLED)}")
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    table: pd.DataFrame = bunch.frame
    if name != "diabetes":
        table["target"] = [str(bunch.target_names[label]) for label in table["target"]]
    return table


def locate(name: str, path: str, folders: Sequence[Path]) -> Path:
    """The file itself, symbolic links resolved: what counts is where it lies, not how it is reached.

    Raises:
        DataError: there is none, or it lies outside the folders that may be read.
    """
    allowed = [Path(os.path.realpath(folder)) for folder in folders]
    where = ", ".join(map(str, folders))
    if not allowed:
        raise DataError(path, "this worker may not read files", "TRIALYARD_DATA_DIR names the folders that it may read")
    candidates = [Path(os.path.realpath(folder / name)) for folder in allowed]
    inside = [file for file in candidates if any(file.is_relative_to(folder) for folder in allowed)]
    if not inside:
        raise DataError(path, f"{name} lies outside the folders that may be read", f"TRIALYARD_DATA_DIR allows {where}")
    for file in inside:
        if os.path.exists(file):  # noqa: PTH110 - unlike Path.exists it takes a name too long for a plain no
            return file
    cure = "; TRIALYARD_DATA_DIR names the folders of data to those who start the workers"
    raise DataError(path, f"there is no file {name}", f"looked for it below {where}{cure}")


def _file(file: Path, at: Place, data: Data, folders: Sequence[Path]) -> Found:
    if file.is_dir():
        return Found(read_folder(file, at.path, [Path(os.path.realpath(each)) for each in folders], data.image_size))
    endings = [ending for ending in file.suffixes[-2:] if ending != ".gz"]
    ending = endings[-1] if endings else ""
    if ending not in ENDINGS and not IDX_NAME.search(file.name):
        hint = f"{' '.join(ENDINGS)} and IDX files can be read, each also as .gz, and folders of images"
        raise DataError(at.path, f"{file.name}: unknown ending", hint)
    try:
        if IDX_NAME.search(file.name):
            return Found(_idx(file, at, data.channels, folders))
        if ending == ".npz":
            return _arrays(file, at.path, data.channels)
        table = _parse(file, ending, data)
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = next((hint for kind, hint in CURES.items() if isinstance(error, kind)), HINTS.get(ending, ""))
        raise DataError(at.path, f"{file.name} cannot be read as {ending or 'IDX'}: {reason}", hint) from error
    table.columns = [str(column) for column in table.columns]
    _check_divided(table, file, at)
    return Found(table)


def _check_divided(table: pd.DataFrame, file: Path, at: Place) -> None:
    """Raises: DataError: the columns stand in one, as something else divides them than was taken for it."""
    if len(table.columns) != 1:
        return
    name = table.columns[0]
    separator = max(_OTHER_SEPARATORS, key=name.count)
    if separator in name:
        hint = f"say what divides the fields, as in data.delimiter: {json.dumps(separator)}"
        raise DataError(at.path, f"{file.name} has its fields all in one column, {name[:60]!r}", hint)


def _idx(file: Path, at: Place, channels: Channels, folders: Sequence[Path]) -> Images:
    """Images with their labels: of the file that is named, or that which the MNIST family calls by the same name."""
    path = at.path.replace("source", "labels")
    if at.labels is not None:
        labels = locate(at.labels.partition(":")[2], path, folders)
    else:
        labels = locate(str(file).replace("images-idx3", "labels-idx1"), path, folders)
    with _opened(file) as images, _opened(labels) as numbers:
        return idx_images(read_idx(images), read_idx(numbers), path, channels)


def _arrays(file: Path, path: str, channels: Channels) -> Found:
    """`X_train`, `y_train` and, if they are there, `X_test`, `y_test`; or `X`, `y`."""
    with _opened(file) as stream, np.load(stream, allow_pickle=False) as arrays:
        names = set(arrays.files)
        if not ({"X", "y"} <= names or {"X_train", "y_train"} <= names):
            held = ", ".join(sorted(names)) or "nothing"
            raise DataError(
                path, f"{file.name} holds {held}", "name its arrays X and y, or X_train, y_train, X_test, y_test"
            )
        train = ("X_train", "y_train") if "X_train" in names else ("X", "y")
        rows = _array_rows(arrays[train[0]], arrays[train[1]], path, channels)
        tested = {"X_test", "y_test"} <= names and "X_train" in names
        return Found(rows, _array_rows(arrays["X_test"], arrays["y_test"], path, channels) if tested else None)


def _array_rows(x: NDArray[Any], y: NDArray[Any], path: str, channels: Channels) -> pd.DataFrame | Images:
    if y.ndim != 1 or len(x) != len(y):
        raise DataError(
            path, f"X of shape {x.shape} and y of shape {y.shape} do not go together", "one y for each row of X"
        )
    if x.ndim != 2:
        return array_images(x, y, path, channels)
    return pd.DataFrame(x, columns=[f"x{column}" for column in range(x.shape[1])]).assign(y=y)


def _opened(file: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file)) if file.suffix == ".gz" else file.open("rb")


def first_line(at: Place, data_folders: Sequence[Path]) -> str:
    """Of a file of rows the line that names the columns, as it stands there. Raises: DataError: it may not be read."""
    with _opened(locate(at.source.partition(":")[2], at.path, data_folders)) as stream:
        return stream.readline(_LONGEST_HEADER).decode("utf-8-sig", errors="replace")


def _parse(file: Path, ending: str, data: Data) -> pd.DataFrame:
    if file.stat().st_size == 0:
        return pd.DataFrame()
    with _opened(file) as stream:
        if ending == ".parquet":
            return pd.read_parquet(io.BytesIO(stream.read()))  # it seeks from the end, which packed files cannot
        if ending == ".jsonl":
            return pd.DataFrame([json.loads(line) for line in stream if line.strip()])
        return _parse_lines(stream, data.delimiter or SEPARATORS[ending], data)


def _parse_lines(stream: IO[bytes], separator: str, data: Data) -> pd.DataFrame:
    with warnings.catch_warnings():
        # Rows longer than the header would lose their last fields with no more than a warning.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        return pd.read_csv(
            stream,
            sep=separator,
            decimal=data.decimal,
            quoting=QUOTING[data.quoting],
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
        )
