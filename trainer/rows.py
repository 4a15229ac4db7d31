"""Rows to predict for, as people send them: held against what a model was trained on before they are encoded.

What does not fit is told with its row and column. What a model can live with is told, too: a category that was never
seen, a value that is missing, a column that it does not use.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from trainer.data.calendar import Date
from trainer.data.dates import read_dates
from trainer.data.image_sources import has_deep_pixels, has_several_pictures
from trainer.data.images import ImageSchema, Pixels
from trainer.data.numeric import Numeric
from trainer.data.prepared import AnySchema
from trainer.data.schema import Categorical, Schema, as_text
from trainer.data.subwords import SubwordSchema
from trainer.data.texts import TextSchema
from trainer.errors import Problem, TrainerError

# What pandas reads as a missing value in a file, and so did the training.
MISSING = frozenset(
    {"", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan", "null", "NULL", "None", "#N/A", "#NA", "1.#QNAN"}
)
MOST_PROBLEMS = 20
SHOWN = 3  # values of a column that a note quotes

Rows = pd.DataFrame | Pixels


class _Column(NamedTuple):
    """A column of the rows: as a model takes it, what it had to put up with there, and what does not fit."""

    column: pd.Series
    notes: list[str]
    problems: Sequence[Problem] = ()


class WrongRows(TrainerError):
    """Rows do not fit what the model was trained on."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MOST_PROBLEMS])
        left = len(problems) - len(self.problems)
        more = f"\nand {left} more" if left else ""
        super().__init__("\n".join(map(str, self.problems)) + more)


def read_rows(schema: AnySchema, rows: Sequence[Any]) -> tuple[Rows, list[str]]:
    """Rows out of JSON as a model takes them, and notes on what it had to put up with.

    Args:
        rows: of a table mappings of column to value, where a number may also be written as a text; of texts mappings or
            plain texts; of images nested lists of pixels, or encoded files (PNG, JPEG) in base64.

    Raises:
        WrongRows: they do not fit; each problem names its row and column.
    """
    if not rows:
        raise WrongRows([Problem("rows", "there are none", "send at least one")])
    if isinstance(schema, ImageSchema):
        return _images(schema, rows), []
    if isinstance(schema, TextSchema | SubwordSchema):
        rows = [{schema.column: row} if isinstance(row, str) else row for row in rows]
    table = _table(schema, rows)
    if isinstance(schema, TextSchema | SubwordSchema):
        return table, _not_used(table, schema)
    return _checked(schema, table)


def in_common(schemas: Sequence[AnySchema]) -> AnySchema:
    """What rows are read by for several models: of tables all their columns, with what any of them knows."""
    first, tables = schemas[0], [each for each in schemas if isinstance(each, Schema)]
    if not isinstance(first, Schema):
        return first
    numeric = {column.name: column for each in reversed(tables) for column in each.numeric}
    categorical: dict[str, Categorical] = {}
    for column in (column for each in tables for column in each.categorical):
        known = categorical.setdefault(column.name, column).categories
        both = tuple(dict.fromkeys((*known, *column.categories)))
        categorical[column.name] = column.model_copy(update={"categories": both})
    dates = {column.name: column for each in reversed(tables) for column in each.dates}
    columns = {"numeric": tuple(numeric.values()), "dates": tuple(dates.values())}
    return first.model_copy(update=columns | {"categorical": tuple(categorical.values())})


def _table(schema: Schema | TextSchema | SubwordSchema, rows: Sequence[Any]) -> pd.DataFrame:
    wrong = [place for place, row in enumerate(rows) if not isinstance(row, dict)]
    if wrong:
        hint = f"as in {{{', '.join(repr(name) + ': …' for name in schema.columns[:2])}}}"
        raise WrongRows([Problem(f"rows[{place}]", "is no mapping of columns to values", hint) for place in wrong])
    lacking = [_lacking(name, places) for name in schema.columns if (places := _without(name, rows))]
    if lacking:
        raise WrongRows(lacking)
    return pd.DataFrame(list(rows), dtype=object)


def _without(name: str, rows: Sequence[Any]) -> list[int]:
    return [place for place, row in enumerate(rows) if name not in row]


def _lacking(name: str, places: Sequence[int]) -> Problem:
    what = f"the column {name} is missing{_in_further(places)}"
    return Problem(f"rows[{places[0]}].{name}", what, "give all columns of the training; null is a gap")


def _in_further(places: Sequence[int]) -> str:
    return f", as in {len(places) - 1} further rows" if len(places) > 1 else ""


def _checked(schema: Schema, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The table with typed columns."""
    markers = {*schema.missing_values} | MISSING
    checked = [_number(column, _gaps(table[column.name], markers), schema.decimal) for column in schema.numeric]
    checked += [_date(column, _gaps(table[column.name], markers)) for column in schema.dates]
    checked += [_category(column, table[column.name], markers) for column in schema.categorical]
    if problems := [problem for each in checked for problem in each.problems]:
        raise WrongRows(problems)
    notes = _not_used(table, schema) + [note for each in checked for note in each.notes]
    return pd.DataFrame({name: each.column for name, each in zip(schema.columns, checked, strict=True)}), notes


def _number(known: Numeric, column: pd.Series, decimal: str) -> _Column:
    values = _numbers(column, decimal)
    bad = np.flatnonzero(column.notna().to_numpy() & values.isna().to_numpy()).tolist()
    gaps = _gaps_noted(column, known.name, f"{known.fill:g}")
    return _Column(values, gaps, [_no_number(known.name, bad, column.iloc[bad[0]])] if bad else [])


def _date(known: Date, column: pd.Series) -> _Column:
    found = read_dates(column, known.written)
    if wrong := known.unlike(found):
        what = known.complaint(column.iloc[wrong[0]], is_date=not found.wrong[wrong[0]]) + _in_further(wrong)
        hint = f"write it as {known.example}; null is a gap"
        return _Column(found.given, [], [Problem(f"rows[{wrong[0]}].{known.name}", what, hint)])
    notes = _gaps_noted(column, known.name, known.fill)
    if outside := known.outside(found):
        span = f"{known.first[:10]} to {known.last[:10]}"
        notes.append(f"{known.name}: {_rows_have(outside)} a date outside those of the training, {span}")
    return _Column(found.given, notes)


def _category(known: Categorical, column: pd.Series, markers: set[str]) -> _Column:
    names = set(known.categories)
    column = _gaps(_flags(column, names), markers - names)
    return _Column(column, [note] if (note := _unseen(column, known)) else [])


def _gaps_noted(column: pd.Series, name: str, fill: str) -> list[str]:
    gaps = int(column.isna().sum())
    return [f"{name}: {_rows_have(gaps)} no value; it was taken as {fill}, as in training"] if gaps else []


def _gaps(column: pd.Series, markers: set[str]) -> pd.Series:
    column = column.map(lambda value: value.strip() if isinstance(value, str) else value)
    return column.mask(column.isin(markers))


def _numbers(column: pd.Series, decimal: str) -> pd.Series:
    """As floats; what is no finite number is missing. Truth values are none: no numeric column was trained on them."""
    plain = column.map(lambda value: None if isinstance(value, bool | list | dict) else value)
    if decimal != ".":
        plain = plain.map(lambda value: value.replace(decimal, ".") if isinstance(value, str) else value)
    return pd.to_numeric(plain, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def _no_number(name: str, places: Sequence[int], value: Any) -> Problem:
    what = f"{str(value)[:80]!r} is no number{_in_further(places)}"
    return Problem(f"rows[{places[0]}].{name}", what, f"the column {name} is numeric; null is a gap")


def _flags(column: pd.Series, known: set[str]) -> pd.Series:
    """Truth values that a file spells in another way than the training's."""
    if not known or not known <= {"True", "False"}:
        return column
    return column.map(lambda value: value.strip().capitalize() if isinstance(value, str) else value)


def _unseen(column: pd.Series, known: Categorical) -> str | None:
    unseen = as_text(column)[(known.places(column) < 0) & column.notna().to_numpy()]
    if unseen.empty:
        return None
    names = list(dict.fromkeys(unseen))
    shown = ", ".join(repr(name[:40]) for name in names[:SHOWN]) + (" …" if len(names) > SHOWN else "")
    return f"{column.name}: {_rows_have(len(unseen))} a value never seen in training ({shown}); taken as missing"


def _not_used(table: pd.DataFrame, schema: Schema | TextSchema | SubwordSchema) -> list[str]:
    unused = [str(name) for name in table if name not in {*schema.columns, schema.target.name}]
    return [f"not used: {', '.join(unused)}"] if unused else []


def _rows_have(count: int) -> str:
    return "1 row has" if count == 1 else f"{count} rows have"


def _images(schema: ImageSchema, rows: Sequence[Any]) -> Pixels:
    images: list[NDArray[np.uint8]] = []
    problems = []
    for place, row in enumerate(rows):
        try:
            images.append(_image(schema, row))
        except ValueError as error:
            size = f"{schema.width} × {schema.height} with {schema.channels} channel{'s' * (schema.channels > 1)}"
            problems.append(Problem(f"rows[{place}]", str(error), f"the model takes {size}, bytes from 0 to 255"))
    if problems:
        raise WrongRows(problems)
    return np.stack(images)


def _image(schema: ImageSchema, row: Any) -> NDArray[np.uint8]:
    """(channels, height, width). Raises: ValueError: it is no such image."""
    wanted = (schema.channels, schema.height, schema.width)
    pixels = _decoded(row, schema) if isinstance(row, str) else _pixels(row)
    if pixels.ndim == 2:
        pixels = pixels[np.newaxis]
    elif pixels.ndim == 3 and (isinstance(row, str) or pixels.shape != wanted):
        pixels = pixels.transpose(2, 0, 1)
    if pixels.shape != wanted:
        raise ValueError(f"an array of shape {pixels.shape} is no such image")
    return pixels


def _pixels(row: Any) -> NDArray[np.uint8]:
    try:
        array = np.asarray(row, dtype=np.float64)
    except (ValueError, TypeError):
        raise ValueError("is no array of numbers, nor an image file in base64") from None
    if not np.isin(array, np.arange(256)).all():
        raise ValueError("holds values that are no whole numbers from 0 to 255")
    return array.astype(np.uint8)


def _decoded(text: str, schema: ImageSchema) -> NDArray[np.uint8]:
    """An image file, made as large as those of the training."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            if has_deep_pixels(image):
                raise ValueError("has more than 8 bits a pixel")
            if has_several_pictures(image):
                raise ValueError("moves or has several pages")
            mode = {1: "L", 3: "RGB", 4: "RGBA"}[schema.channels]
            fitted = image.convert(mode).resize((schema.width, schema.height), Image.Resampling.BILINEAR)
            return np.asarray(fitted, dtype=np.uint8)
    except (OSError, SyntaxError, TypeError, binascii.Error, Image.DecompressionBombError):
        raise ValueError("is no image file in base64") from None
