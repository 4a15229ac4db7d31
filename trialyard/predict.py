"""`trialyard predict`: the rows of a file to a model of a study, and its answers into a CSV file."""

from __future__ import annotations

import base64
import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TextIO

from trialyard.client import Client
from trialyard.errors import BadInput, InvalidRequest
from trialyard.resources import Prediction, Predictions
from trialyard.separators import BY_ENDING, separator_of

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
MOST_ROWS = 2000  # of a request,
MOST_BYTES = 2**20  # and the most of its text

Row = dict[str, Any] | str
Quoting = Literal[0, 3]  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE


def predict_file(
    client: Client,
    study: str,
    files: Sequence[Path],
    trial: int | None = None,
    ensemble: int | None = None,
    output: Path | None = None,
    *,
    int8: bool = False,
) -> list[str]:
    """Write each row with its prediction; for a classification also the probability of each class.

    Args:
        files: tables, texts and images; a folder stands for the images in it.

    Returns:
        What the model had to put up with in the rows.

    Raises:
        BadInput: a file cannot be read, or its rows do not fit the model; then nothing is written.
    """
    files = [file for each in files for file in _files(each)]
    rows = [row for file in files for row in _read(file, partial(_is_unquoted, client, study))]
    if not rows:
        raise BadInput(f"{files[0]}: there are no rows in it")
    answers = list(_ask(client, study, rows, trial, ensemble, int8=int8))
    names = [str(file) for file in files if file.suffix.lower() in IMAGES]
    with _opened(output) as stream:
        _write(stream, names or rows, answers)
    return list(dict.fromkeys(note for answer in answers for note in answer.notes))


def _files(given: Path) -> list[Path]:
    """A folder stands for the images in it. Raises: BadInput: there are none."""
    if not given.is_dir():
        return [given]
    images = sorted(file for file in given.iterdir() if file.suffix.lower() in IMAGES)
    if not images:
        raise BadInput(f"{given}: there are no images in this folder ({' '.join(IMAGES)})")
    return images


def _is_unquoted(client: Client, study: str) -> bool:
    """Whether a quotation mark is a character like others in the study's files."""
    return bool(client.study(study).definition["trial"].get("data", {}).get("quoting") == "none")


def _read(file: Path, is_unquoted: Callable[[], bool]) -> list[Row]:
    ending = file.suffix.lower()
    try:
        if ending in IMAGES:
            return [base64.b64encode(file.read_bytes()).decode()]
        with file.open(encoding="utf-8-sig", newline="") as stream:
            if ending in BY_ENDING:
                text = stream.read()
                quoting: Quoting = csv.QUOTE_NONE if '"' in text and is_unquoted() else csv.QUOTE_MINIMAL
                return list(_table(text, ending, quoting))
            if ending == ".jsonl":
                return [json.loads(line) for line in stream if line.strip()]
            if ending == ".txt":
                return [line.rstrip("\r\n") for line in stream]
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is no text in UTF-8; save it as such") from error
    except (ValueError, csv.Error) as error:
        raise BadInput(f"{file}: {error}") from error
    endings = " ".join([*BY_ENDING, ".jsonl", ".txt", *IMAGES])
    raise BadInput(f"{file}: rows are read from files that end in {endings}")


def _table(text: str, ending: str, quoting: Quoting) -> Iterator[Row]:
    """Raises: ValueError: a row has more or fewer values than the header has names."""
    separator = separator_of(text.partition("\n")[0], ending)
    lines = io.StringIO(text, newline="")
    reader = csv.DictReader(lines, delimiter=separator, skipinitialspace=True, quoting=quoting)
    names = reader.fieldnames = _column_names([name.strip() for name in reader.fieldnames or ()])
    for row in reader:
        if None in row or None in row.values():
            raise ValueError(f"line {reader.line_num} does not have the header's {len(names)} values")
        yield row


def _column_names(header: Sequence[str]) -> list[str]:
    """As the training calls them: `age`, `age.1` where a name comes again, `Unnamed: 2` where there is none."""
    names: list[str] = []
    for place, given in enumerate(header):
        name = first = given or f"Unnamed: {place}"
        again = 0
        while name in names or (again and name in header):
            again += 1
            name = f"{first}.{again}"
        names.append(name)
    return names


def _ask(
    client: Client, study: str, rows: Sequence[Row], trial: int | None, ensemble: int | None, *, int8: bool
) -> Iterator[Predictions]:
    """In portions, all of one trial. Raises: BadInput: rows do not fit the model."""
    first = 0
    while first < len(rows):
        portion = _portion(rows, first)
        try:
            answer = client.predict(study, portion, trial, ensemble, int8=int8)
        except InvalidRequest as error:
            before = f"behind row {first}: " if first else ""
            raise BadInput(before + str(error)) from error
        yield answer
        trial = answer.trial if trial is None else trial  # a better one may appear meanwhile
        first += len(portion)


def _portion(rows: Sequence[Row], first: int) -> Sequence[Row]:
    size = 0
    for count, row in enumerate(rows[first : first + MOST_ROWS]):
        size += len(json.dumps(row))
        if size > MOST_BYTES and count:
            return rows[first : first + count]
    return rows[first : first + MOST_ROWS]


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as stream:
            yield stream
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror}") from error


def _write(stream: TextIO, rows: Sequence[Row], answers: Sequence[Predictions]) -> None:
    """The rows' own columns (`row` of what is no table), `prediction`, `probability` and those of classes."""
    classes = answers[0].classes
    columns = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)) or ["row"]
    scores = ["probability", *(f"probability of {name}" for name in classes)] if classes else []
    writer = csv.writer(stream)
    writer.writerow([*columns, "prediction", *scores])
    predictions = (each for answer in answers for each in answer.predictions)
    for row, prediction in zip(rows, predictions, strict=True):
        own = [row.get(name, "") for name in columns] if isinstance(row, dict) else [row]
        writer.writerow([*own, *_cells(prediction)])


def _cells(prediction: Prediction) -> list[Any]:
    if prediction.class_ is None:
        return [prediction.value]
    return [prediction.class_, *(f"{each:.6g}" for each in (prediction.probability or 0, *prediction.probabilities))]
