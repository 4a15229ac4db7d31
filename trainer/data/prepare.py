"""From a `data` section to tensors on a device: read, split, fit on the training part, encode, all once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.config import CrossValidation, Data, Synthetic, TrainConfig
from trainer.data.dates import with_dates
from trainer.data.fingerprint import fingerprint
from trainer.data.folds import fold_rows
from trainer.data.images import Images, ImageSchema, Pixels, fit_images, rescaled
from trainer.data.prepared import AnySchema, Folds, Part, Prepared
from trainer.data.resample import with_synthetic
from trainer.data.same import first_of_each, keys_of, times_of
from trainer.data.schema import Schema, Target, as_text, fit_schema, is_number, mark_missing, refuse_mixed
from trainer.data.sources import Place, read
from trainer.data.split import Labels, Parts, split_groups, split_ordered, split_rows
from trainer.data.target import encode_target, find_target, scaled
from trainer.data.texts import fit_texts
from trainer.errors import DataError

NOTHING_MADE_UP = Synthetic()


@dataclass(frozen=True)
class _Rows:
    """What a source holds: a table, its target column among the others, or the pixels of images; and the target."""

    features: pd.DataFrame | Pixels
    target: pd.Series

    def take(self, rows: NDArray[np.int64]) -> _Rows:
        features = self.features.iloc[rows] if isinstance(self.features, pd.DataFrame) else self.features[rows]
        return _Rows(features, self.target.iloc[rows])


@dataclass(frozen=True)
class Given:
    """What a pretrained model says about how its rows are prepared; None: the training part says it."""

    schema: AnySchema | None = None
    scale: tuple[float, float] | None = None  # of images: the mean and the deviation of a pixel


OF_THEIR_OWN = Given()


def prepare(
    data: Data,
    *,
    device: torch.device,
    data_folders: Sequence[Path],
    as_images: bool = False,
    given: Given = OF_THEIR_OWN,
) -> Prepared:
    """Read the source, split it, learn the preprocessing from the training part, and put all of it on the device.

    Args:
        as_images: reads a source that may be either (`sklearn:digits`) as images, and not as a table.

    Raises:
        DataError: the source cannot be read, or cannot be trained on as told.
    """
    rows, fixed_test = _read(data, data_folders, as_images)
    target = find_target(rows.target, data.task)
    parts = _divided(rows, target, data, hold_out_test=fixed_test is None)
    rows = _without(_no_feature(data), rows)
    return _prepared(rows, parts, fixed_test, target, data, device, given)


def prepare_whole(
    config: TrainConfig, *, device: torch.device, data_folders: Sequence[Path], given: Given = OF_THEIR_OWN
) -> Prepared:
    """All rows that train or validate, on one split or in folds, to train on together: nothing validates, and the test
    part is the one that it always is. The fingerprint is that of the data as they were divided for the search.

    Raises:
        DataError: the source cannot be read, trained on, or divided as told.
    """
    data, rule = config.data, config.cross_validation
    rows, fixed_test = _read(data, data_folders, config.takes_images)
    target, holds_out = find_target(rows.target, data.task), fixed_test is None
    if rule is None:
        divided = [_divided(rows, target, data, hold_out_test=holds_out)]
        rows, searched = _without(_no_feature(data), rows), divided[0]
    else:
        divided = _folded(rows, target, data, rule, hold_out_test=holds_out)
        rows, searched = _without(rule.groups or _no_feature(data), rows), _everyone(divided)
    known = np.unique(np.concatenate([each for parts in divided for each in (parts.train, parts.validation)]))
    prepared = _prepared(rows, Parts(known, known[:0], divided[0].test), fixed_test, target, data, device, given)
    told = fingerprint(data, rows.target, searched, fixed_test.target if fixed_test else None)
    return replace(prepared, fingerprint=told)


def _divided(rows: _Rows, target: Target, data: Data, *, hold_out_test: bool) -> Parts:
    split = data.split
    times = _times(rows, data)
    if times is not None:
        return split_ordered(times, split, hold_out_test=hold_out_test)
    if split.groups is not None:
        groups = as_text(_column(rows, split.groups, "groups")).to_numpy(dtype=object)
        return split_groups(groups, split, hold_out_test=hold_out_test, labels=None)
    labels = _labels(rows, target) if split.stratify else None
    if split.duplicates == "together":
        same = keys_of(rows.features, str(rows.target.name))
        return split_groups(same, split, hold_out_test=hold_out_test, labels=labels)
    return split_rows(len(rows.target), split, hold_out_test=hold_out_test, labels=labels)


def prepare_folds(
    data: Data,
    rule: CrossValidation,
    *,
    device: torch.device,
    data_folders: Sequence[Path],
    as_images: bool = False,
    given: Given = OF_THEIR_OWN,
) -> Folds:
    """The same for each fold: what is learned, it learns from its own training part.

    Raises:
        DataError: the source cannot be read, trained on, or divided as told.
    """
    rows, fixed_test = _read(data, data_folders, as_images)
    target = find_target(rows.target, data.task)
    divided = _folded(rows, target, data, rule, hold_out_test=fixed_test is None)
    rows = _without(rule.groups or _no_feature(data), rows)
    return Folds(
        parts=tuple(_prepared(rows, parts, fixed_test, target, data, device, given) for parts in divided),
        validated=tuple(parts.validation for parts in divided),
        repeats=rule.repeats,
        fingerprint=fingerprint(data, rows.target, _everyone(divided), fixed_test.target if fixed_test else None),
    )


def _everyone(folds: Sequence[Parts]) -> Parts:
    """All rows that validate in one fold or another, and those that test."""
    validated = np.unique(np.concatenate([parts.validation for parts in folds]))
    return Parts(np.empty(0, np.int64), validated, folds[0].test)


def prepare_for(
    config: TrainConfig, *, device: torch.device, data_folders: Sequence[Path], given: Given = OF_THEIR_OWN
) -> Prepared | Folds:
    """The data that a training is to be given. Raises: DataError."""
    data, rule, images = config.data, config.cross_validation, config.takes_images
    if rule is None:
        return prepare(data, device=device, data_folders=data_folders, as_images=images, given=given)
    return prepare_folds(data, rule, device=device, data_folders=data_folders, as_images=images, given=given)


def _folded(rows: _Rows, target: Target, data: Data, rule: CrossValidation, *, hold_out_test: bool) -> list[Parts]:
    return fold_rows(
        len(rows.target),
        rule,
        data.split,
        hold_out_test=hold_out_test,
        labels=_labels(rows, target) if rule.stratified and not rule.time_ordered else None,
        groups=_groups(rows, rule.groups) if rule.groups is not None else None,
        times=_times(rows, data),
    )


def _times(rows: _Rows, data: Data) -> NDArray[np.generic] | None:
    """(rows,), what orders the rows, where a column does."""
    if data.split.time is None:
        return None
    return times_of(_column(rows, data.split.time, "time"), guess=not data.find_dates)


def _no_feature(data: Data) -> str | None:
    """The column that is there to divide the rows alone; one that is said to be a date is learned from, too."""
    return data.split.groups or (None if data.split.time in data.dates else data.split.time)


def _without(divider: str | None, rows: _Rows) -> _Rows:
    """The rows without the column that has divided them."""
    if divider is None or not isinstance(rows.features, pd.DataFrame):
        return rows
    return _Rows(rows.features.drop(columns=divider), rows.target)


def _labels(rows: _Rows, target: Target) -> Labels | None:
    """The class of each row, (rows,); a regression has none."""
    return as_text(rows.target).to_numpy(dtype=object) if target.task == "classification" else None


def _groups(rows: _Rows, column: str) -> Labels:
    """The group of each row, (rows,)."""
    return as_text(_column(rows, column, "groups", "trial.cross_validation")).to_numpy(dtype=object)


def _column(rows: _Rows, column: str, key: str, section: str = "trial.data.split") -> pd.Series:
    """A column that divides the rows, with a value in each."""
    path = f"{section}.{key}"
    if not isinstance(rows.features, pd.DataFrame):
        raise DataError(path, "images have no columns to divide them by", "leave it out")
    _refuse_unknown(column, rows.features, path)
    if column == rows.target.name:
        raise DataError(path, f"{column} is the target", "name another column, or set data.target")
    if rows.features[column].isna().any():
        raise DataError(path, f"{column} has no value in some rows", "take those rows out")
    return rows.features[column]


def _prepared(
    rows: _Rows,
    parts: Parts,
    fixed_test: _Rows | None,
    target: Target,
    data: Data,
    device: torch.device,
    given: Given,
) -> Prepared:
    train = rows.take(parts.train)
    schema = _as_given(given, train.features, data, scaled(target, train.target))
    test = rows.take(parts.test) if fixed_test is None else _like_source(fixed_test, schema)
    encoded = _encode(train, schema, device, rule=data.synthetic, seed=data.split.seed)
    return Prepared(
        schema=schema,
        train=encoded,
        validation=_encode(rows.take(parts.validation), schema, device),
        test=_encode(test, schema, device, "trial.data.test_source") if len(test.target) else None,
        class_weight=_class_weight(encoded.y, schema) if data.class_weight == "balanced" else None,
        missing={
            name: _missing(rows, name) + (_missing(fixed_test, name) if fixed_test else 0) for name in schema.columns
        },
        fingerprint=fingerprint(data, rows.target, parts, fixed_test.target if fixed_test else None),
    )


def _read(data: Data, folders: Sequence[Path], as_images: bool) -> tuple[_Rows, _Rows | None]:
    """The rows of the source, and those of a fixed test set where there is one."""
    at = Place("trial.data.source", data.source, data.labels)
    source = read(at, data, data_folders=folders, as_images=as_images)
    rows = _rows(source.rows, data, at)
    if data.split.duplicates == "drop":
        rows = rows.take(first_of_each(keys_of(rows.features, str(rows.target.name)), rows.target))
    if data.test_source is None:
        test = None if source.test is None else _rows(source.test, data, at, str(rows.target.name))
        return rows, test
    at = Place("trial.data.test_source", data.test_source, data.test_labels)
    fixed = read(at, data, data_folders=folders, as_images=as_images)
    return rows, _rows(fixed.rows, data, at, str(rows.target.name))


def _rows(found: pd.DataFrame | Images, data: Data, at: Place, target: str | None = None) -> _Rows:
    """The rows with their target: of a fixed test set the column that is the source's."""
    if isinstance(found, Images):
        if data.text is not None:
            raise DataError("trial.data.text", f"{at.source} holds images, not a table with a text", "leave text out")
        if not len(found.labels):
            raise DataError(at.path, f"{at.source} holds no images", "at least a few are needed")
        return _Rows(found.pixels, found.labels)
    table = _table(found, data, at)
    if data.text is not None:
        _refuse_unknown(data.text, table, "trial.data.text")
    name = target or _target_name(table, data)
    _refuse_unknown(name, table, at.path)
    for date in data.dates:
        _refuse_unknown(date, table, "trial.data.dates")
        if date in (name, data.text):
            what = "the target" if date == name else "the text"
            raise DataError("trial.data.dates", f"{date} is {what}", "leave it out there")
    table = with_dates(table, data, frozenset((name, data.text, data.split.groups, *data.categorical)))
    return _Rows(table, table[name])


def _as_given(given: Given, train: pd.DataFrame | Pixels, data: Data, target: Target) -> AnySchema:
    """How the rows become numbers: as a pretrained model's did, as far as it says so."""
    if given.schema is None:
        schema = _fit(train, data, target)
        return rescaled(schema, given.scale) if given.scale and isinstance(schema, ImageSchema) else schema
    path, schema = "trial.data.source", given.schema
    if isinstance(train, pd.DataFrame) == isinstance(schema, ImageSchema):
        raise DataError(path, "one of it and the pretrained model's data holds images, the other a table")
    if isinstance(train, pd.DataFrame):
        for name in schema.columns:
            _refuse_unknown(name, train, path)
        _refuse_other_kinds(train, schema, path, "the pretrained model knows numbers")
    return schema.model_copy(update={"target": target})


def _fit(train: pd.DataFrame | Pixels, data: Data, target: Target) -> AnySchema:
    if not isinstance(train, pd.DataFrame):
        return fit_images(train, data, target)
    return fit_schema(train, data, target) if data.text is None else fit_texts(train, data, target)


def _table(table: pd.DataFrame, data: Data, at: Place) -> pd.DataFrame:
    """The columns that are not dropped, with missing values as NaN."""
    if table.empty:
        raise DataError(at.path, f"{at.source} has no rows", "a header line and at least a few rows are needed")
    for name in data.drop:
        _refuse_unknown(name, table, "trial.data.drop")
    for name in data.categorical:
        _refuse_unknown(name, table, "trial.data.categorical")
    table = table.drop(columns=data.drop)
    for column in table.columns:
        _refuse_nested(table[column])
    table = mark_missing(table, data.missing_values)
    otherwise = (data.text, *data.categorical, *data.dates)
    refuse_mixed(table.drop(columns=[name for name in otherwise if name in table]))
    return table


def _target_name(table: pd.DataFrame, data: Data) -> str:
    """The column to predict: the named one, or the last that is not dropped."""
    if data.target is None:
        if table.columns.empty:
            raise DataError("trial.data.drop", "no column is left", "drop fewer")
        return str(table.columns[-1])
    _refuse_unknown(data.target, table, "trial.data.target")
    return data.target


def _refuse_unknown(name: str, table: pd.DataFrame, path: str) -> None:
    if name not in table:
        nearest = get_close_matches(name, list(table.columns), n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(table.columns[:20])}"
        raise DataError(path, f"there is no column {name!r}", hint)


def _refuse_nested(column: pd.Series) -> None:
    if column.dtype == object and column.map(lambda value: isinstance(value, list | dict | np.ndarray)).any():
        raise DataError("trial.data.drop", f"column {column.name} holds lists or objects, not values", "drop it")


def _like_source(test: _Rows, schema: AnySchema) -> _Rows:
    """The fixed test set, once it is sure to be like the source."""
    if isinstance(test.features, pd.DataFrame) == isinstance(schema, ImageSchema):
        raise DataError("trial.data.test_source", "one of it and the source holds images, the other a table")
    if isinstance(schema, ImageSchema) or not isinstance(test.features, pd.DataFrame):
        return test
    for name in schema.columns:
        _refuse_unknown(name, test.features, "trial.data.test_source")
    _refuse_other_kinds(test.features, schema, "trial.data.test_source", "numbers in the source")
    return test


def _refuse_other_kinds(table: pd.DataFrame, schema: AnySchema, path: str, wanted: str) -> None:
    if not isinstance(schema, Schema):
        return
    for column in schema.numeric:
        if not is_number(table[column.name]):
            message = f"column {column.name} holds strings, and {wanted}"
            raise DataError(path, message, "list its markers of missing values in missing_values")
    for date in schema.dates:
        date.clock(table[date.name], path)


def _encode(
    rows: _Rows,
    schema: AnySchema,
    device: torch.device,
    path: str = "trial.data.target",
    *,
    rule: Synthetic = NOTHING_MADE_UP,
    seed: int = 0,
) -> Part:
    """The rows as tensors; of a training part with the synthetic ones that a rule makes of them."""
    inputs: tuple[NDArray[Any], ...] = schema.encode(rows.features)  # type: ignore[arg-type]  # _fit chose by its type
    y = encode_target(rows.target, schema.target, path)
    if rule.method != "none":
        _refuse_without_classes(schema)
        numbers, categories, y = with_synthetic(inputs[0], inputs[1], y, rule, seed)
        inputs = (numbers, categories)
    return Part(tuple(torch.from_numpy(array).to(device) for array in inputs), torch.from_numpy(y).to(device))


def _refuse_without_classes(schema: AnySchema) -> None:
    if schema.kind != "table" or schema.target.task == "regression":
        what = f"{schema.kind}s" if schema.kind != "table" else "a regression"
        message = f"synthetic rows are made of numbers and categories, class by class; this is about {what}"
        raise DataError("trial.data.synthetic.method", message, "set it to none")


def _class_weight(y: Tensor, schema: AnySchema) -> Tensor | None:
    """n / (classes * n_c), as scikit-learn's `balanced` has it; 1 for a class that the training part lacks."""
    if schema.target.task == "regression":
        return None
    counts = y.bincount(minlength=len(schema.target.classes))
    return torch.where(counts > 0, len(y) / (len(counts) * counts), 1.0)


def _missing(rows: _Rows, name: str) -> int:
    return int(rows.features[name].isna().sum()) if isinstance(rows.features, pd.DataFrame) else 0
