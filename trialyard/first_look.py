"""What `trialyard init` finds out about data by looking at them: how they are to be read, and what is learned from."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from pandas.api import types
from PIL import Image
from pydantic import ValidationError

from search.findings import of_model, problems
from trainer.config import Channels, Data, Split
from trainer.data.dates import ways_to_read
from trainer.data.images import Images
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.same import keys_of
from trainer.data.schema import mark_missing
from trainer.data.sources import Place, first_line, locate, read
from trainer.data.words import unspaced_characters
from trainer.errors import DataError, TrainerError
from trialyard.errors import BadInput
from trialyard.first_target import guess_target
from trialyard.separators import BY_ENDING, separator_of
from trialyard.telling import telling_columns

CPU = torch.device("cpu")
MISSING = "?"  # what pandas does not take for a missing value by itself, and UCI's tables mean by it
FEW_VALUES = 10  # of a column: the training part may have none of them
NUMBER = r"[+-]?\d+([.,]\d+)?"
NUMBER_WITH_COMMA = r"[+-]?\d+(,\d+)?"
PROSE_WORDS = 4
IMAGE_SIDE, IMAGE_SIDE_ON_CPU = 64, 32  # where a search takes minutes; twice the side is four times the time
SOME, MOST = 0.01, 0.5  # shares of repeated rows: fewer flatter no score, more are what such a table is made of
OPTIONS = {  # what a person without a study writes for its keys: the option, and the cure where it is another
    "trial.data.channels": ("--channels", None),
    "trial.data.drop": ("--drop", None),
    "trial.data.missing_values": ("--missing", "--missing names such a word if it means that a value is missing"),
    "trial.data.target": ("--target", None),
}
WITH_TEST = Split(validation=0.2, test=0.0)  # of a source whose test rows are known


@dataclass(frozen=True)
class Given:
    """What a person says. `data`: a file, a folder of images, or a source such as `sklearn:wine`."""

    data: str
    target: str | None = None
    text: str | None = None
    missing: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    channels: Channels = "auto"
    name: str | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Look:
    """How data are to be read, and what a training will find in them."""

    data: Data
    prepared: Prepared
    prose: tuple[str, ...]  # columns of sentences, none of which is learned from
    telling: tuple[tuple[str, float], ...]  # columns that tell the target alone, with how well
    is_headless: bool  # whether the first line looks like a row, and not like names


def look(given: Given, folders: Sequence[Path]) -> Look:
    """Look at the data as a study would that reads files below these folders.

    Raises:
        BadInput: they cannot be read or trained on, or a study could not reach them.
    """
    source = _source(given.data, folders)
    try:
        data, prose = _looked_at(source, given, folders)
        data, prepared = _prepared(data, folders)
    except TrainerError as error:
        raise BadInput(_complaint(error)) from error
    if given.channels != "auto" and prepared.schema.kind != "image":
        raise BadInput(f"--channels: {given.data} holds no images; leave it out")
    unread = () if data.text else tuple(prose)
    return Look(data, prepared, unread, tuple(telling_columns(prepared)), _is_headless(data, folders))


def _complaint(error: TrainerError) -> str:
    """In the words of a person who has no study yet to write a key into."""
    if not isinstance(error, DataError) or error.path not in OPTIONS:
        return str(error)
    option, cure = OPTIONS[error.path]
    return f"{option}: {error.message}; {cure or error.hint.replace('channels: ', '--channels ')}"


def _source(data: str, folders: Sequence[Path]) -> str:
    """What a study calls the data: by a path from the first folder below which they lie."""
    if re.match(r"(sklearn|synthetic|file):", data):
        return data
    path = Path(data).resolve()
    if not path.exists():
        raise BadInput(f"{data}: there is no such file or folder")
    for folder in folders:
        if path.is_relative_to(folder.resolve()):
            return f"file:{path.relative_to(folder.resolve()).as_posix()}"
    raise BadInput(
        f"{data}: a study reads files beside itself or below TRIALYARD_DATA_DIR; "
        f"write it there, as in --output {path.parent / 'study.yaml'}"
    )


def _looked_at(source: str, given: Given, folders: Sequence[Path]) -> tuple[Data, list[str]]:
    """How the data are to be read, and their columns of sentences."""
    found: dict[str, Any] = {"source": source, "target": given.target, "text": given.text}
    found |= {"missing_values": list(given.missing), "delimiter": _separator(source, folders)}
    found |= {"channels": given.channels, "quoting": _quoting(source, found["delimiter"], folders)}
    if (test := _test_source(source, folders)) is not None:
        found |= {"test_source": test, "split": WITH_TEST}
    side = IMAGE_SIDE if torch.cuda.is_available() else IMAGE_SIDE_ON_CPU
    if _picture_side(source, folders) > side:
        return _data(found | {"image_size": side}), []
    try:
        rows, own_test = read(Place("trial.data.source", source), _data(found), data_folders=folders)
    except DataError as error:
        if "image_size" not in error.hint:
            raise
        return Data(**found, image_size=side), []  # pictures of several sizes
    if own_test is not None:
        found["split"] = WITH_TEST
    if isinstance(rows, Images):
        return Data(**found), []
    return _columns_looked_at(rows, found, given)


def _picture_side(source: str, folders: Sequence[Path]) -> int:
    """The longer side of the first picture of a folder; 0 where it is none."""
    if not source.startswith("file:"):
        return 0
    for file in sorted(locate(source.removeprefix("file:"), "trial.data.source", folders).glob("[!.]*/[!.]*")):
        with suppress(OSError), Image.open(file) as image:
            return max(image.size)
    return 0


def _data(found: dict[str, Any]) -> Data:
    """Raises: BadInput: there is no such source, or an option says what cannot be."""
    try:
        return Data(**found)
    except ValidationError as error:
        wrong = problems(of_model(error, Data, ("trial", "data")), {})
        raise BadInput("\n".join(map(str, wrong))) from None


def _ending(source: str) -> str | None:
    """That of a file whose first line names its columns."""
    ending = Path(source.removesuffix(".gz")).suffix
    return ending if ending in BY_ENDING and source.startswith("file:") else None


def _is_headless(data: Data, folders: Sequence[Path]) -> bool:
    """Whether most of the names are numbers; those that count, as pandas names columns, are names."""
    if (ending := _ending(data.source)) is None:
        return False
    line = first_line(Place("trial.data.source", data.source), folders)
    names = next(csv.reader([line], delimiter=data.delimiter or BY_ENDING[ending]), [])
    numbers = [float(name.replace(",", ".")) for name in names if re.fullmatch(NUMBER, name.strip())]
    return len(numbers) > len(names) / 2 and any(after - before != 1 for before, after in pairwise(numbers))


def _separator(source: str, folders: Sequence[Path]) -> str | None:
    """What divides the fields of a table, if it is not what the file's ending says."""
    if (ending := _ending(source)) is None:
        return None
    found = separator_of(first_line(Place("trial.data.source", source), folders), ending)
    return None if found == BY_ENDING[ending] else found


def _quoting(source: str, separator: str | None, folders: Sequence[Path]) -> Literal["standard", "none"]:
    """`none` where a line has a lone quote and all lines have all their fields: else what follows one would be read as
    part of its field, and rows be lost without a word.
    """
    if (ending := _ending(source)) is None:
        return "standard"
    file = locate(source.removeprefix("file:"), "trial.data.source", folders)
    fields, has_lone_quote = set(), False
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        for line in filter(bytes.strip, stream):
            fields.add(line.count((separator or BY_ENDING[ending]).encode()))
            has_lone_quote |= line.count(b'"') % 2 == 1
    return "none" if has_lone_quote and len(fields) == 1 and fields != {0} else "standard"


def _columns_looked_at(table: pd.DataFrame, found: dict[str, Any], given: Given) -> tuple[Data, list[str]]:
    if any((table[column].astype(object) == MISSING).any() for column in table):
        found["missing_values"] = sorted({MISSING, *given.missing})
    if any(map(_has_decimal_commas, (table[column] for column in table))):
        found["decimal"] = ","
    few = min(FEW_VALUES, len(table) / 2)
    scarce = [str(column) for column in table if column != given.target and table[column].count() < few]
    found["drop"] = list(dict.fromkeys([*given.drop, *scarce]))
    table = table.drop(columns=found["drop"], errors="ignore")
    counting = [str(column) for column in table if column != given.target and _counts_rows(table[column])]
    if len(counting) < len(table.columns) - 1:
        found["drop"] += counting
        table = table.drop(columns=counting)
    prose = [str(column) for column in table if column != given.target and _is_prose(table[column])]
    short = [str(column) for column in table if column not in prose]
    if given.target is None and short:
        found["target"] = guess_target(table, short, given.data)
    found["dates"] = _dates_among(table.drop(columns=[*prose, found["target"]], errors="ignore"), found)
    if given.text is None and len(prose) == len(short) == 1:
        found["text"] = prose[0]
    if found["target"] in table and SOME < _repeated(table, found["target"]) / len(table) < MOST:
        found["split"] = found.get("split", Split()).model_copy(update={"duplicates": "together"})
    return Data(**found), prose


def _dates_among(table: pd.DataFrame, found: dict[str, Any]) -> dict[str, str]:
    """The columns of dates that can be read in one way only, with the way."""
    marked = mark_missing(table, found["missing_values"])
    ways = {str(name): ways_to_read(marked[name]) for name in marked}
    return {name: each[0] for name, each in ways.items() if len(each) == 1}


def _repeated(table: pd.DataFrame, target: str) -> int:
    """How many rows are as one before them but for the target."""
    keys = keys_of(table, target)
    return len(keys) - len(set(keys))


def _counts_rows(column: pd.Series) -> bool:
    """As an index does that was written with the table: 0, 1, 2, … or 1, 2, 3, …"""
    if not types.is_integer_dtype(column) or len(column) < FEW_VALUES or column.hasnans:
        return False
    first = column.iloc[0]
    return first in (0, 1) and bool((column.to_numpy() == range(first, first + len(column))).all())


def _has_decimal_commas(column: pd.Series) -> bool:
    if not _is_text(column):
        return False
    values = column.dropna().astype(str).str.strip()
    return bool(values.str.fullmatch(NUMBER_WITH_COMMA).all() and values.str.contains(",").any())


def _test_source(source: str, folders: Sequence[Path]) -> str | None:
    """The file of test rows that lies beside one of training rows and is called like it."""
    if not source.startswith("file:") or "train" not in Path(source).name:
        return None
    path = Path(source.removeprefix("file:"))
    for word in ("test", "t10k"):  # as MNIST and its family call theirs
        other = path.with_name(path.name.replace("train", word))
        if any((folder / other).exists() for folder in folders):
            return f"file:{other.as_posix()}"
    return None


def _is_text(column: pd.Series) -> bool:
    return column.dtype == object or types.is_string_dtype(column)


def _is_prose(column: pd.Series) -> bool:
    if not _is_text(column):
        return False
    values: pd.Series[str] = column.dropna().astype(str)
    return len(values) > 0 and values.nunique() > len(values) / 2 and values.map(_words).mean() > PROSE_WORDS


def _words(text: str) -> float:
    """How many there are, about; of scripts that put no spaces between them, one in two characters begins one."""
    return len(text.split()) + unspaced_characters(text) / 2


def _prepared(data: Data, folders: Sequence[Path]) -> tuple[Data, Prepared]:
    """As a training would prepare them; where a class has too few rows to be in each part, by chance alone."""
    try:
        return data, prepare(data, device=CPU, data_folders=folders)
    except DataError as error:
        if error.path != "trial.data.split.stratify":
            raise
    data = data.model_copy(update={"split": data.split.model_copy(update={"stratify": False})})
    return data, prepare(data, device=CPU, data_folders=folders)
