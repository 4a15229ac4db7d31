"""Which rows validate in which fold. The seed of the split decides, and the repeat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from trainer.config import CrossValidation, Split
from trainer.data.split import Labels, Parts, Rows, hold_out
from trainer.errors import DataError


def fold_rows(
    rows: int,
    rule: CrossValidation,
    split: Split,
    *,
    hold_out_test: bool,
    labels: Labels | None,
    groups: Labels | None,
) -> list[Parts]:
    """Divide the rows, after `split.test` of them have been held out: the last ones where order counts, whole groups
    where there are groups.

    Args:
        hold_out_test: whether the test part comes out of these rows.
        labels: (rows,), the class of each row where the folds are to be stratified.
        groups: (rows,), the group of each row where there are any.

    Raises:
        DataError: there are too few rows, groups, or rows of a class.
    """
    count = round(rows * split.test) if hold_out_test else 0
    if rule.time_ordered:
        rest, test = np.arange(rows - count), np.arange(rows - count, rows)
    elif groups is not None and count:
        rest, test = _held_out_groups(groups, split)
    else:
        rest, test = hold_out(np.arange(rows), count, split.seed, labels)
    _refuse_too_few(rest, rule, labels, groups)
    return [Parts(rest[train], rest[held], test) for train, held in _divided(rest, rule, split, labels, groups)]


def _held_out_groups(groups: Labels, split: Split) -> tuple[Rows, Rows]:
    if len(np.unique(groups)) < 2:
        raise DataError("trial.cross_validation.groups", "all rows are of one group", "name another column")
    shuffled = GroupShuffleSplit(1, test_size=split.test, random_state=split.seed)
    rest, test = next(shuffled.split(groups, groups=groups))
    return rest, test


def _divided(
    rest: Rows, rule: CrossValidation, split: Split, labels: Labels | None, groups: Labels | None
) -> Iterator[tuple[Rows, Rows]]:
    """Of each fold of each repeat the positions that train, and those that validate."""
    of_classes = None if labels is None else labels[rest]
    of_groups = None if groups is None else groups[rest]
    for repeat in range(rule.repeats):
        seed = (split.seed + repeat) % 2**32
        folds: Iterable[tuple[Rows, Rows]]
        if rule.time_ordered:
            folds = TimeSeriesSplit(rule.folds).split(rest)
        elif of_groups is not None and of_classes is not None:
            divider = StratifiedGroupKFold(rule.folds, shuffle=True, random_state=seed)
            folds = divider.split(rest, of_classes, of_groups)
        elif of_groups is not None:
            folds = GroupKFold(rule.folds, shuffle=True, random_state=seed).split(rest, groups=of_groups)
        elif of_classes is not None:
            folds = StratifiedKFold(rule.folds, shuffle=True, random_state=seed).split(rest, of_classes)
        else:
            folds = KFold(rule.folds, shuffle=True, random_state=seed).split(rest)
        yield from folds


def _refuse_too_few(rest: Rows, rule: CrossValidation, labels: Labels | None, groups: Labels | None) -> None:
    needed = rule.folds + 1 if rule.time_ordered else rule.folds
    if len(rest) < needed:
        message = f"{rule.folds} folds need {needed} rows, and there are {len(rest)}"
        raise DataError("trial.cross_validation.folds", message, "take fewer folds")
    if groups is not None and len(np.unique(groups[rest])) < rule.folds:
        message = f"{rule.folds} folds need as many groups, and there are {len(np.unique(groups[rest]))}"
        raise DataError("trial.cross_validation.folds", message, "take fewer folds")
    if labels is None:
        return
    names, counts = np.unique(labels[rest], return_counts=True)
    if counts.min() < rule.folds:
        message = f"class {names[counts.argmin()]!r} has {counts.min()} rows, too few to be in each of {rule.folds}"
        raise DataError("trial.cross_validation.stratified", f"{message} folds", "take fewer folds, or set it to false")
