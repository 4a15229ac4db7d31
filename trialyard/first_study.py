"""`trialyard init DATA`: a first study file for a person's own data, in which each choice can be seen and changed."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.console import Console

from store.settings import Settings
from trainer.config import Data
from trainer.data.prepared import Prepared
from trialyard.blueprint import print_facts
from trialyard.errors import BadInput
from trialyard.first_look import Given, Look, look
from trialyard.importing.study import slug
from trialyard.study_file import as_yaml

FOLDS = 5
TRIALS = 40
SMALL_ROWS, FEW_IMAGES = 1_000, 300  # to train on; an image takes longer than a row


class Choice(NamedTuple):
    """A line of the file: a value, and what is to be said about it."""

    value: Any
    comment: str = ""


@dataclass(frozen=True)
class FirstStudy:
    """A study file that was written, and what it was made of."""

    file: Path
    look: Look
    guessed: bool  # nobody named the target


def write_first_study(given: Given, settings: Settings) -> FirstStudy:
    """Look at the data, choose, and write a study file that runs as it is.

    Raises:
        BadInput: the data cannot be read or trained on, a study could not reach them, or the file is there already.
    """
    name = given.name or _name_of(given.data)
    file = (given.output or Path(f"{name}.yaml")).absolute()
    found = look(given, [*settings.data_folders, file.parent])
    guessed = given.target is None and found.prepared.schema.kind != "image"
    text = study_text(name, found.data, found.prepared, guessed=guessed)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise BadInput(f"{file}: is there already; --output names another") from None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    return FirstStudy(file, found, guessed)


def _name_of(data: str) -> str:
    """The file's name without its endings, or what follows `sklearn:`, as far as a study can be called so."""
    last = re.split(r"[/:\\]", data.partition("?")[0].rstrip("/"))[-1]
    return slug(last.partition(".")[0]) or "first-study"


def say(study: FirstStudy, console: Console) -> None:
    """What was found, what was not used, and what to do next."""
    print_facts(study.look.data.source, _facts(study.look.prepared), console)
    for remark in _remarks(study):
        console.print(remark, markup=False, highlight=False)
    file = study.file.relative_to(Path.cwd()) if study.file.is_relative_to(Path.cwd()) else study.file
    console.print(
        f"\nwritten: {file}; change it as you like, then `trialyard run {shlex.quote(str(file))}`", markup=False
    )


def _facts(prepared: Prepared) -> dict[str, Any]:
    """What was found, with the rows divided as the study divides them."""
    facts = prepared.facts()
    if not _is_small(prepared):
        return facts
    test = {part: count for part, count in facts["rows"].items() if part == "test"}
    return facts | {"rows": {f"train and validate in {FOLDS} folds": _known_rows(prepared)} | test}


def _known_rows(prepared: Prepared) -> int:
    """Those that the study trains on, in folds or in a part of their own."""
    return prepared.train.rows + (prepared.validation.rows if _is_small(prepared) else 0)


def _remarks(study: FirstStudy) -> Iterator[str]:
    look = study.look
    target = look.prepared.schema.target.name
    if study.guessed:
        yield f"nobody said what is to be predicted: {target} is a guess, --target names another column"
    for column, score in look.telling:
        yield (
            f"{column} alone tells {target} ({score:.1%}): if it is known only once {target} is, "
            f"--drop {shlex.quote(column)} leaves it out"
        )
    for column in look.prose:
        yield f"{column} holds sentences: --text {shlex.quote(column)} learns from them alone"
    dates = look.data.dates
    if dates and look.data.test_source is None:
        folds = ", with `time_ordered: true` in cross_validation" if _is_small(look.prepared) else ""
        yield (
            f"{', '.join(dates)} {'tells' if len(dates) == 1 else 'tell'} when a row was: if later rows are to be "
            f"foretold, `time: {next(iter(dates))}` in its split tests on the latest{folds}"
        )
    if look.is_headless:
        yield (
            "its first line was taken for the names of the columns, and holds numbers: if it is a row, write a line "
            "with names above it"
        )


def study_text(name: str, data: Data, prepared: Prepared, *, guessed: bool) -> str:
    """The study file: YAML, with comments.

    Args:
        guessed: whether nobody named the target.
    """
    metric = _metric(prepared)
    parameters = dict(_space(prepared))
    trial = _trial(prepared)
    lines = [
        _comment(f"{data.source}: a {prepared.task}, {_known_rows(prepared):,} rows to train on"),
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
    epochs = 9 if rows > (50_000 if kind == "table" else 5_000) else 27
    unlike = {} if _is_in_each_fold(prepared) else {"stratified": False}
    folds = {"cross_validation": Choice({"folds": FOLDS, **unlike}, "of so few rows one validation part says little")}
    fixed = {
        "model": Choice(_model(prepared)),
        "schedule": Choice({"name": "cosine", "warmup_epochs": 1}),
        "early_stopping": Choice({"metric": "val/loss", "patience": max(3, epochs // 3)}),
        "epochs": Choice(epochs),
        **(folds if _is_small(prepared) else {}),
    }
    return fixed if kind == "table" else fixed | {"batch_size": Choice(min(64, _batch_sizes(rows)[-1]))}


def _model(prepared: Prepared) -> dict[str, Any]:
    """What of it is not searched. Each stage of a cnn halves the images."""
    if prepared.schema.kind == "table":
        return {"name": "mlp"}
    if prepared.schema.kind != "image":
        return {"name": "embedding_bag", "hidden": []}
    smallest = min(prepared.train.inputs[0].shape[2:])
    return {"name": "cnn", "depth": 2 if smallest >= 4 else 1, "norm": "batch"}


def _is_small(prepared: Prepared) -> bool:
    return prepared.train.rows < (FEW_IMAGES if prepared.schema.kind == "image" else SMALL_ROWS)


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
    if data.quoting != "standard":
        yield _line("quoting", Choice(data.quoting, "quotes are characters like others"))
    if data.decimal != ".":
        yield _line("decimal", Choice(data.decimal))
    if data.drop:
        yield _line("drop", Choice(data.drop, "counts the rows, or hardly a row has a value"))
    if data.dates:
        yield _line("dates", Choice(data.dates, "learned from: what time has passed, and where in day, week, year"))
    if data.missing_values:
        yield _line("missing_values", Choice(data.missing_values))
    if data.channels != "auto":
        yield _line("channels", Choice(data.channels))
    if data.image_size is not None:
        yield _line(
            "image_size",
            Choice(data.image_size, "all pictures are brought to it; a larger one shows more and takes longer"),
        )
    validation = {} if _is_small(prepared) else {"validation": data.split.validation}
    unlike = {} if data.split.stratify else {"stratify": False}
    copies = _copies(data, prepared)
    why = "" if data.split.stratify else "a class has too few rows to be in each part"
    why = why or ("rows that repeat others would flatter the scores" if copies else "")
    yield _line("split", Choice({**validation, "test": data.split.test, "seed": 0, **unlike, **copies}, why))


def _copies(data: Data, prepared: Prepared) -> dict[str, Any]:
    """What becomes of rows that repeat others; folds do not keep them together."""
    if data.split.duplicates == "anywhere":
        return {}
    return {"duplicates": "drop" if _is_small(prepared) else "together"}


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
