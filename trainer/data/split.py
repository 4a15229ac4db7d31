"""Which rows train, which validate and which test. The seed of the split alone decides, so that all trials agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from trainer.config import Split
from trainer.errors import DataError

Rows = NDArray[np.int64]
Labels = NDArray[np.object_]


@dataclass(frozen=True)
class Parts:
    """Row numbers of each part; `test` is empty where none is wanted or a fixed test set is given."""

    train: Rows
    validation: Rows
    test: Rows


def split_rows(rows: int, split: Split, *, hold_out_test: bool, labels: Labels | None) -> Parts:
    """Share out the rows.

    Args:
        hold_out_test: whether the test part comes out of these rows.
        labels: (rows,), the class of each row where the parts are to be stratified.

    Raises:
        DataError: a part would be empty, or a class has too few rows to be in each part.
    """
    validation = round(rows * split.validation)
    test = round(rows * split.test) if hold_out_test else 0
    _refuse_empty(rows, validation, test, split, wants_test=hold_out_test and split.test > 0)
    if labels is not None:
        _refuse_rare(labels, parts=3 if test else 2)
    rest, tested = hold_out(np.arange(rows), test, split.seed, labels)
    train, validated = hold_out(rest, validation, split.seed, labels)
    return Parts(train, validated, tested)


def split_groups(groups: Labels, split: Split, *, hold_out_test: bool, labels: Labels | None) -> Parts:
    """Share out whole groups; the shares of the split are those of the groups.

    Args:
        groups: (rows,), the group of each row.
        labels: (rows,), where the parts are to be stratified by the class of each group's first row.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    of_groups = None if labels is None else labels[first]
    parts = split_rows(len(first), split, hold_out_test=hold_out_test, labels=of_groups)
    return Parts(*(np.flatnonzero(np.isin(group, part)) for part in (parts.train, parts.validation, parts.test)))


def split_ordered(times: NDArray[np.generic], split: Split, *, hold_out_test: bool) -> Parts:
    """The latest rows test, those before validate, the others train; rows of one time stay together.

    Args:
        times: (rows,), of an order.
    """
    order = np.argsort(times, kind="stable")
    ordered, rows = times[order], len(times)
    test = first_of_its_time(ordered, rows - round(rows * split.test)) if hold_out_test and split.test else rows
    validation = first_of_its_time(ordered, test - round(rows * split.validation))
    wants_test = hold_out_test and split.test > 0
    _refuse_empty(rows, test - validation, rows - test, split, wants_test=wants_test)
    return Parts(order[:validation], order[validation:test], order[test:])


def first_of_its_time(ordered: NDArray[np.generic], at: int) -> int:
    """Of times in their order, the place of the first one that is as the one at `at`; `at` itself at their end."""
    return int(np.searchsorted(ordered, ordered[at])) if 0 < at < len(ordered) else max(at, 0)


def hold_out(rows: Rows, count: int, seed: int, labels: Labels | None) -> tuple[Rows, Rows]:
    """Some rows, and `count` others; of each class, where there are labels of all rows, by its share.

    Raises:
        DataError: a class has too few rows to be on both sides.
    """
    if not count:
        return rows, rows[:0]
    strata = None if labels is None else labels[rows]
    if strata is not None:
        _refuse_rare(strata, parts=2)
        _refuse_small(strata, count)
    kept, held_out = train_test_split(rows, test_size=count, random_state=seed, stratify=strata)
    return kept, held_out


def _refuse_empty(rows: int, validation: int, test: int, split: Split, *, wants_test: bool) -> None:
    sizes = {"train on": rows - validation - test, "validate on": validation} | (
        {"test on": test} if wants_test else {}
    )
    for purpose, count in sizes.items():
        if count < 1:
            raise DataError(
                "trial.data.split",
                f"validation {split.validation:g} and test {split.test:g} of {rows} rows leave none to {purpose}",
                "change the shares or bring more rows",
            )


def _refuse_rare(labels: Labels, parts: int) -> None:
    names, counts = np.unique(labels, return_counts=True)
    if counts.min() < parts:
        rows = "1 row" if counts.min() == 1 else f"{counts.min()} rows"
        raise DataError(
            "trial.data.split.stratify",
            f"class {names[counts.argmin()]!r} has {rows}, too few to be in each of {parts} parts",
            "bring more rows of it, or set stratify: false",
        )


def _refuse_small(labels: Labels, held_out: int) -> None:
    classes, smaller = len(np.unique(labels)), min(held_out, len(labels) - held_out)
    if smaller < classes:
        raise DataError(
            "trial.data.split.stratify",
            f"a part of {smaller} rows cannot hold each of {classes} classes",
            "change the shares, or set stratify: false",
        )
