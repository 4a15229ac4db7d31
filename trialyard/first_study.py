"""`trialyard init DATA`: a first study file for a person's own data, in which each choice can be seen and changed."""

from __future__ import annotations

import csv
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from pandas.api import types
from rich.console import Console

from store.settings import Settings
from trainer.config import Data, Split
from trainer.data.images import Images
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.sources import Place, first_line, read
from trainer.data.words import unspaced_characters
from trainer.errors import DataError, TrainerError
from trialyard.blueprint import print_facts
from trialyard.errors import BadInput
from trialyard.importing.study import slug
from trialyard.separators import BY_ENDING, separator_of
from trialyard.study_file import as_yaml

CPU = torch.device("cpu")
MISSING = "?"  # what pandas does not take for a missing value by itself, and UCI's tables mean by it
FEW_VALUES = 10  # of a column: the training part may have none of them
FOLDS = 5
NUMBER = r"[+-]?\d+([.,]\d+)?"
NUMBER_WITH_COMMA = r"[+-]?\d+(,\d+)?"
PROSE_WORDS = 4
IMAGE_SIDE = 64
TRIALS = 40
SMALL_ROWS = 1_000
WITH_TEST = Split(validation=0.2, test=0.0)  # of a source whose test rows are known


@dataclass(frozen=True)
class Given:
    """What a person says. `data`: a file, a folder of images, or a source such as `sklearn:wine`."""

    data: str
    target: str | None = None
    text: str | None = None
    missing: tuple[str, ...] = ()
    name: str | None = None
    output: Path | None = None


class Choice(NamedTuple):
    """A line of the file: a value, and what is to be said about it."""

    value: Any
    comment: str = ""


@dataclass(frozen=True)
class FirstStudy:
    """A study file that was written, and what it was made of."""

    file: Path
    data: Data
    prepared: Prepared
    prose: tuple[str, ...]  # columns of sentences, none of which is learned from
    is_headless: bool  # whether its first line looks like a row, and not like names


def write_first_study(given: Given, settings: Settings) -> FirstStudy:
    """Look at the data, choose, and write a study file that runs as it is.

    Raises:
        BadInput: the data cannot be read or trained on, a study could not reach them, or the file is there already.
    """
    name = given.name or _name_of(given.data)
    file = (given.output or Path(f"{name}.yaml")).absolute()
    folders = [*settings.data_folders, file.parent]
    source = _source(given.data, folders)
    try:
        data, prose = _looked_at(source, given, folders)
        data, prepared = _prepared(data, folders)
    except TrainerError as error:
        raise BadInput(str(error)) from error
    text = study_text(name, data, prepared, guessed=given.target is None)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise BadInput(f"{file}: is there already; --output names another") from None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    return FirstStudy(file, data, prepared, () if data.text else tuple(prose), _is_headless(data, folders))


def _prepared(data: Data, folders: Sequence[Path]) -> tuple[Data, Prepared]:
    """As a training would prepare them; where a class has too few rows to be in each part, by chance alone."""
    try:
        return data, prepare(data, device=CPU, data_folders=folders)
    except DataError as error:
        if error.path != "trial.data.split.stratify":
            raise
    data = data.model_copy(update={"split": data.split.model_copy(update={"stratify": False})})
    return data, prepare(data, device=CPU, data_folders=folders)


def _name_of(data: str) -> str:
    """The file's name without its endings, or what follows `sklearn:`, as far as a study can be called so."""
    last = re.split(r"[/:\\]", data.partition("?")[0].rstrip("/"))[-1]
    return slug(last.partition(".")[0]) or "first-study"


def say(study: FirstStudy, console: Console) -> None:
    """What was found, what was not used, and what to do next."""
    print_facts(study.data.source, study.prepared.facts(), console)
    for column in study.prose:
        console.print(f"{column} holds sentences: --text {shlex.quote(column)} learns from them alone", markup=False)
    if study.is_headless:
        console.print(
            "its first line was taken for the names of the columns, and holds numbers: if it is a row, write a line "
            "with names above it",
            markup=False,
        )
    file = study.file.relative_to(Path.cwd()) if study.file.is_relative_to(Path.cwd()) else study.file
    console.print(
        f"\nwritten: {file}; change it as you like, then `trialyard run {shlex.quote(str(file))}`", markup=False
    )


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
    if (test := _test_source(source, folders)) is not None:
        found |= {"test_source": test, "split": WITH_TEST}
    try:
        rows, own_test = read(Place("trial.data.source", source), Data(**found), data_folders=folders)
    except DataError as error:
        if "image_size" not in error.hint:
            raise
        return Data(**found, image_size=IMAGE_SIDE), []  # pictures of several sizes
    if own_test is not None:
        found["split"] = WITH_TEST
    if isinstance(rows, Images):
        return Data(**found), []
    return _columns_looked_at(rows, found, given)


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


def _columns_looked_at(table: pd.DataFrame, found: dict[str, Any], given: Given) -> tuple[Data, list[str]]:
    if any((table[column].astype(object) == MISSING).any() for column in table):
        found["missing_values"] = sorted({MISSING, *given.missing})
    if any(map(_has_decimal_commas, (table[column] for column in table))):
        found["decimal"] = ","
    few = min(FEW_VALUES, len(table) / 2)
    found["drop"] = [str(column) for column in table if column != given.target and table[column].count() < few]
    table = table.drop(columns=found["drop"])
    counting = [str(column) for column in table if column != given.target and _counts_rows(table[column])]
    if len(counting) < len(table.columns) - 1:
        found["drop"] += counting
        table = table.drop(columns=counting)
    prose = [str(column) for column in table if column != given.target and _is_prose(table[column])]
    short = [str(column) for column in table if column not in prose]
    if given.target is None and short:
        found["target"] = short[-1]
    if given.text is None and len(prose) == len(short) == 1:
        found["text"] = prose[0]
    return Data(**found), prose


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


def study_text(name: str, data: Data, prepared: Prepared, *, guessed: bool) -> str:
    """The study file: YAML, with comments.

    Args:
        guessed: whether nobody named the target.
    """
    rows = prepared.train.rows
    metric = _metric(prepared)
    parameters = dict(_space(prepared))
    trial = _trial(prepared)
    lines = [
        _comment(f"{data.source}: a {prepared.task}, {rows:,} rows to train on"),
        f"name: {as_yaml(name)}",
        _line("objective", metric),
        "",
        "parameters:   # what is searched; `trialyard doctor knobs` lists all that can be",
        *_aligned(parameters),
        "",
        f"budget: {{trials: {TRIALS}}}   # no sampler and no pruner: the default ones",
        "",
        "trial:",
        "  kind: train",
        "  data:",
        *(f"    {line}" for line in _data_lines(data, prepared, guessed)),
        *(f"  {_line(key, choice)}" for key, choice in trial.items()),
        "",
        _line("resources", Choice({"gpus": int(torch.cuda.is_available())}, "1: a GPU for each trial")),
    ]
    return "\n".join(lines) + "\n"


def _metric(prepared: Prepared) -> Choice:
    """Of two classes the area under the curve where one is rare, of more the mean over them: a model that always names
    the frequent one would be right often.
    """
    if prepared.task == "regression":
        return Choice({"metric": "val/rmse", "direction": "minimize"})
    counts = prepared.train.y.bincount(minlength=len(prepared.classes))
    share = float(counts.max() / counts.sum())
    if share < (0.75 if len(counts) == 2 else 2 / len(counts)):
        return Choice({"metric": "val/accuracy", "direction": "maximize"})
    most = prepared.classes[int(counts.argmax())]
    metric: Literal["val/auc", "val/balanced_accuracy"] = "val/auc" if len(counts) == 2 else "val/balanced_accuracy"
    return Choice({"metric": metric, "direction": "maximize"}, f"{share:.0%} are {most}: accuracy says little")


def _space(prepared: Prepared) -> Iterator[tuple[str, Choice]]:
    kind, rows = prepared.schema.kind, prepared.train.rows
    if kind == "table":
        yield "model.hidden", Choice({"values": [[128], [256, 128], [256, 256]]})
        if prepared.train.inputs[0].shape[1]:
            yield "model.numbers", Choice({"values": ["plain", "periodic"]}, "periodic: each number as waves")
            scale = {"low": 0.05, "high": 2.0, "log": True, "when": {"model.numbers": "periodic"}}
            yield "model.frequency_scale", Choice(scale)
        yield "batch_size", Choice({"values": _batch_sizes(rows)})
    elif kind == "image":
        yield "model.width", Choice({"values": [16, 32]})
        yield "data.augment.translation", Choice({"values": [0.0, 0.1]}, "data.augment.flip: if mirrored is the same")
    else:
        yield "model.name", Choice({"values": ["embedding_bag", "text_cnn"]})
        yield "model.width", Choice({"values": [64, 128]})
    yield "optimizer.lr", Choice({"low": 0.0005, "high": 0.01, "log": True})
    yield "optimizer.weight_decay", Choice({"low": 0.001, "high": 1.0, "log": True})
    yield "regularization.dropout", Choice({"low": 0.0, "high": 0.5, "step": 0.1})


def _batch_sizes(rows: int) -> list[int]:
    """Three powers of two from about a fiftieth of the rows on, as far as there are rows."""
    least = 2 ** min(7, max(3, int(math.log2(rows / 48 + 1))))
    return [size for size in (least, 2 * least, 4 * least) if size <= rows] or [rows]


def _trial(prepared: Prepared) -> dict[str, Choice]:
    """What is not searched. The smaller the data, the more often they are gone through."""
    kind, rows = prepared.schema.kind, prepared.train.rows
    models: dict[str, dict[str, Any]] = {
        "table": {"name": "mlp"},
        "image": {"name": "cnn", "depth": 2, "norm": "batch"},
    }
    epochs = 9 if rows > (50_000 if kind == "table" else 5_000) else 27
    unlike = {} if _is_in_each_fold(prepared) else {"stratified": False}
    folds = {"cross_validation": Choice({"folds": FOLDS, **unlike}, "of so few rows one validation part says little")}
    fixed = {
        "model": Choice(models.get(kind, {"name": "embedding_bag", "hidden": []})),
        "schedule": Choice({"name": "cosine", "warmup_epochs": 1}),
        "early_stopping": Choice({"metric": "val/loss", "patience": max(3, epochs // 3)}),
        "epochs": Choice(epochs),
        **(folds if _is_small(prepared) else {}),
    }
    return fixed if kind == "table" else fixed | {"batch_size": Choice(min(64, _batch_sizes(rows)[-1]))}


def _is_small(prepared: Prepared) -> bool:
    return prepared.train.rows < SMALL_ROWS


def _is_in_each_fold(prepared: Prepared) -> bool:
    """Whether each class has rows enough; the folds have more to share than the training part."""
    return not prepared.classes or int(prepared.train.y.bincount(minlength=len(prepared.classes)).min()) >= FOLDS


def _data_lines(data: Data, prepared: Prepared, guessed: bool) -> Iterator[str]:
    yield _line("source", Choice(data.source))
    if data.test_source is not None:
        yield _line("test_source", Choice(data.test_source))
    if prepared.schema.kind != "image":
        said = Choice(prepared.schema.target.name, "a guess; --target names another" if guessed else "")
        yield _line("target", said)
        if len(prepared.classes) > 2 and all(map(str.isdigit, prepared.classes)):
            yield _comment("task: regression   # if these classes are amounts, and not names")
    if data.text is not None:
        yield _line("text", Choice(data.text))
    if data.delimiter is not None:
        yield _line("delimiter", Choice(data.delimiter))
    if data.decimal != ".":
        yield _line("decimal", Choice(data.decimal))
    if data.drop:
        yield _line("drop", Choice(data.drop, "counts the rows, or hardly a row has a value"))
    if data.missing_values:
        yield _line("missing_values", Choice(data.missing_values))
    if data.image_size is not None:
        yield _line("image_size", Choice(data.image_size, "the pictures are of several sizes"))
    validation = {} if _is_small(prepared) else {"validation": data.split.validation}
    unlike = {} if data.split.stratify else {"stratify": False}
    why = "" if data.split.stratify else "a class has too few rows to be in each part"
    yield _line("split", Choice({**validation, "test": data.split.test, "seed": 0, **unlike}, why))


def _aligned(choices: dict[str, Choice]) -> Iterator[str]:
    width = max(map(len, choices)) + 1
    for name, choice in choices.items():
        yield f"  {name + ':':<{width}} {_commented(choice)}"


def _line(key: str, choice: Choice) -> str:
    return f"{key}: {_commented(choice)}"


def _commented(choice: Choice) -> str:
    return as_yaml(choice.value) + (f"   {_comment(choice.comment)}" if choice.comment else "")


def _comment(text: str) -> str:
    """On one line, whatever names are in it."""
    return "# " + "".join(character if character.isprintable() else " " for character in text)
