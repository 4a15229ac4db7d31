"""Which rows validate in which fold. The seed of the split decides, and the repeat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)

from trainer.config import CrossValidation, Split
from trainer.data.split import Labels, Parts, Rows, first_of_its_time, hold_out
from trainer.errors import DataError


def fold_rows(
    rows: int,
    rule: CrossValidation,
    split: Split,
    *,
    hold_out_test: bool,
    labels: Labels | None,
    groups: Labels | None,
    times: NDArray[np.generic] | None = None,
) -> list[Parts]:
    """Divide the rows, after `split.test` of them have been held out: the last ones where order counts, whole groups
    where there are groups.

    Args:
        hold_out_test: whether the test part comes out of these rows.
        labels: (rows,), the class of each row where the folds are to be stratified.
        groups: (rows,), the group of each row where there are any.
        times: (rows,), what orders them where order counts; they are in their order if it is left out.

    Raises:
        DataError: there are too few rows, groups, or rows of a class.
    """
    count = round(rows * split.test) if hold_out_test else 0
    if rule.time_ordered:
        return _in_time(np.arange(rows) if times is None else times, count, rule)
    if groups is not None and count:
        rest, test = _held_out_groups(groups, split)
    else:
        rest, test = hold_out(np.arange(rows), count, split.seed, labels)
    _refuse_too_few(rest, rule, labels, groups)
    return [Parts(rest[train], rest[held], test) for train, held in _divided(rest, rule, split, labels, groups)]


def _in_time(times: NDArray[np.generic], count: int, rule: CrossValidation) -> list[Parts]:
    """As scikit-learn's `TimeSeriesSplit`, but that rows of one time stay together: with its latest fold, or test.

    Args:
        times: (rows,), of an order.
        count: so many of the latest rows test, or some more.
    """
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    end = first_of_its_time(ordered, len(order) - count)
    rest, test = order[:end], order[end:]
    _refuse_too_few(rest, rule, None, None)
    held = end // (rule.folds + 1)
    starts = [first_of_its_time(ordered, end - fold * held) for fold in range(rule.folds, 0, -1)] + [end]
    if any(start >= stop for start, stop in pairwise([0, *starts])):
        message = f"{rule.folds} folds end at as many times, and too many of {end} rows are of one time"
        raise DataError("trial.cross_validation.folds", message, "take fewer folds")
    return [Parts(rest[:start], rest[start:stop], test) for start, stop in pairwise(starts)]


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
        if of_groups is not None and of_classes is not None:
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
