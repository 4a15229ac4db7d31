"""The densities that TPE compares, kept between proposals: a trial that comes or goes moves the kernels beside it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

from search.kernels import (
    MANY,
    Axis,
    Floats,
    bandwidths,
    log_sum_exp,
    logs_of_kernels,
    of_choices,
    of_steps,
)

MOST_MOVES = 16  # of trials at once; with more it is as quick to begin anew

Members = NDArray[np.bool_]  # (trials,): which of them have a kernel


class Mixture:
    """A multivariate Parzen estimator (Falkner et al. 2018) with Optuna's bandwidths, weights and prior.

    A kernel for each trial, in the order of their numbers, and the prior's, which is the last. The values of a trial in
    it do not change. What a kernel of the floats without steps adds to the log density of a point x is kept as the
    three coefficients of 1, x^2 and x, so that all kernels at all points are one product of matrices.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = dict(space)
        numerical = {
            name: Axis.of(each) for name, each in space.items() if isinstance(each, FloatDistribution | IntDistribution)
        }
        self._stepped = {name: axis for name, axis in numerical.items() if axis.step is not None}
        self._floats = {name: axis for name, axis in numerical.items() if axis.step is None}
        self._low = np.array([axis.low for axis in self._floats.values()])
        self._high = np.array([axis.high for axis in self._floats.values()])
        self._is_log = np.array([axis.log for axis in self._floats.values()], dtype=bool)
        self._members: Members = np.zeros(0, dtype=bool)
        self._numbers: list[int] = []
        self._kept = _Columns(len(space), len(self._floats), 0)
        self._order: list[list[tuple[float, int]]] | None = None  # by float: means and numbers; None if some are equal
        self._optunas: _ParzenEstimator | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    def follow(self, members: Members, values: Mapping[str, Floats], others: Mapping[int, Sequence[float]]) -> None:
        """Let these trials have kernels, and no others.

        Args:
            values: by parameter, (trials,).
            others: by number, the values of trials that are not among those.
        """
        known = np.zeros(len(members), dtype=bool)
        known[: len(self._members)] = self._members
        moved = np.flatnonzero(members != known)
        if not moved.size:
            return
        self._members, self._optunas = members, None
        count = int(np.count_nonzero(members))
        if self._order is None or moved.size > MOST_MOVES or min(count, len(self)) < MANY:
            self._begin(values, others)
            return
        beside: set[tuple[int, int]] = set()
        for number in moved.tolist():
            if members[number]:
                point = others[number] if number in others else [values[name][number] for name in self.space]
                beside |= self._enter(self._order, number, point)
            else:
                beside |= self._leave(self._order, number)
        if not self._widen(self._order, beside):
            self._begin(values, others)

    def log_density(self, points: Mapping[str, Floats]) -> Floats:
        """(points,), from (points,) values by parameter. It differs from Optuna's by rounding alone.

        Before, at least two trials have to have entered.
        """
        count = len(self)
        weights = np.append(default_weights(count), 1.0)
        constant = np.log(weights / weights.sum())  # (kernels,): what does not depend on the point
        total = self._of_floats(constant, points)
        observed = self.observations
        for name, axis in self._stepped.items():
            total += of_steps(axis, observed[name], points[name])
        for name, each in self.space.items():
            if isinstance(each, CategoricalDistribution):
                total += of_choices(observed[name], len(each.choices), points[name])
        return log_sum_exp(total)

    @property
    def observations(self) -> dict[str, Floats]:
        """By parameter, the trials' values in the order of their numbers."""
        return dict(zip(self.space, self._kept.values[:, : len(self)], strict=True))

    def optunas(self, parameters: _ParzenEstimatorParameters) -> _ParzenEstimator:
        """The same as Optuna has it; `parameters` are always the same."""
        if self._optunas is None:
            self._optunas = _ParzenEstimator(self.observations, self.space, parameters)
        return self._optunas

    def _of_floats(self, constant: Floats, points: Mapping[str, Floats]) -> Floats:
        """(points, kernels), a new array."""
        some = next(iter(points.values()))
        if not self._floats:
            return np.tile(constant, (len(some), 1))
        middle = 0.5 * (self._low + self._high)
        x = np.array([axis.place(points[name]) for name, axis in self._floats.items()]) - middle[:, None]
        kernels = slice(len(constant))
        np.add(self._kept.rest[:, kernels].sum(axis=0), constant, out=self._kept.coefficients[0, kernels])
        of_points = np.concatenate([np.ones((1, len(some))), x * x, x])
        product: Floats = of_points.T @ self._kept.coefficients[:, kernels]
        return product

    def _begin(self, values: Mapping[str, Floats], others: Mapping[int, Sequence[float]]) -> None:
        """Everything anew."""
        numbers = np.flatnonzero(self._members)
        self._numbers = numbers.tolist()
        self._order = None
        count = len(numbers)
        kept = self._kept = _Columns(len(self.space), len(self._floats), 2 * count + MANY)
        kept.values[:, :count] = [values[name][numbers] for name in self.space]
        for number in others.keys() & set(self._numbers):
            kept.values[:, bisect_left(self._numbers, number)] = others[number]
        if not self._floats or count < 2:
            self._order = [] if not self._floats and count >= MANY else None
            return
        observed = self.observations
        means = np.array([axis.place(observed[name]) for name, axis in self._floats.items()])  # (floats, trials)
        kept.means[:, :count] = means
        kept.means[:, count] = 0.5 * (self._low + self._high)
        order = np.argsort(means)
        ascending = np.take_along_axis(means, order, axis=1)
        reach = (self._high - self._low)[:, None]
        widths = np.empty((len(means), count + 1))
        np.put_along_axis(widths, order, bandwidths(ascending, reach), axis=1)
        widths[:, -1:] = reach
        rows, columns = np.indices(widths.shape).reshape(2, -1)
        self._shape(rows, columns, widths.ravel())
        # Which of two equal kernels gets the wider gap is numpy's choice: then all are sorted every time.
        if count >= MANY and np.all(np.diff(ascending) > 0):
            self._order = [
                list(zip(row.tolist(), numbers[places].tolist(), strict=True))
                for row, places in zip(ascending, order, strict=True)
            ]

    def _enter(self, order: list[list[tuple[float, int]]], number: int, point: Sequence[float]) -> set[tuple[int, int]]:
        """Add a trial; the kernels, by float and number, whose gaps have changed."""
        column = bisect_left(self._numbers, number)
        self._kept = self._kept.opened(column, len(self) + 1)
        self._numbers.insert(column, number)
        self._kept.values[:, column] = point
        beside = set()
        means = np.array([value for name, value in zip(self.space, point, strict=True) if name in self._floats])
        np.log(means, out=means, where=self._is_log)
        self._kept.means[:, column] = means
        for row, (by_mean, mean) in enumerate(zip(order, means.tolist(), strict=True)):
            place = bisect_left(by_mean, (mean, number))
            by_mean.insert(place, (mean, number))
            beside |= {(row, each) for _, each in by_mean[max(0, place - 1) : place + 2]}
        return beside

    def _leave(self, order: list[list[tuple[float, int]]], number: int) -> set[tuple[int, int]]:
        """Take a trial out; the kernels, by float and number, whose gaps have changed."""
        column = bisect_left(self._numbers, number)
        beside = set()
        for row, by_mean in enumerate(order):
            place = bisect_left(by_mean, (float(self._kept.means[row, column]), number))
            del by_mean[place]
            beside |= {(row, each) for _, each in by_mean[max(0, place - 1) : place + 1]}
        del self._numbers[column]
        self._kept.close(column, len(self) + 2)
        return beside

    def _widen(self, order: list[list[tuple[float, int]]], beside: set[tuple[int, int]]) -> bool:
        """Give these kernels the widths of their gaps. False if some means are equal: numpy's order then counts."""
        present = [
            (row, column)
            for row, number in beside
            if (column := bisect_left(self._numbers, number)) < len(self) and self._numbers[column] == number
        ]
        gaps = []
        for row, column in present:
            by_mean = order[row]
            place = bisect_left(by_mean, (float(self._kept.means[row, column]), self._numbers[column]))
            around = [mean for mean, _ in by_mean[max(0, place - 1) : place + 2]]
            gaps.append([later - earlier for earlier, later in pairwise(around)])
        if any(0.0 in each for each in gaps):
            return False
        if present:
            rows, columns = np.array(present).T
            reach = (self._high - self._low)[rows]
            widths = np.clip([max(each) for each in gaps], reach / 100.0, reach)
            self._shape(rows, columns, widths)
        return True

    def _shape(self, rows: NDArray[np.intp], columns: NDArray[np.intp], widths: Floats) -> None:
        """Compute the coefficients of kernels by their float and place."""
        low, high = self._low[rows], self._high[rows]
        rest, square, linear = logs_of_kernels(self._kept.means[rows, columns], widths, low, high)
        floats = len(self._floats)
        self._kept.rest[rows, columns] = rest
        self._kept.coefficients[1 + rows, columns] = square
        self._kept.coefficients[1 + floats + rows, columns] = linear


class _Columns:
    """A column for each kernel, with room for more of them.

    `values` (parameters, …) are the trials'; the others are of floats alone: `means` and `rest` (floats, …), and
    `coefficients` (1 + 2 floats, …), the sum of what a kernel has at any point, and those of x^2 and x.
    """

    def __init__(self, parameters: int, floats: int, room: int) -> None:
        self._all = np.zeros((parameters + 4 * floats + 1, room))
        self._shape = parameters, floats
        ends = np.cumsum([parameters, floats, floats])
        self.values, self.means, self.rest, self.coefficients = np.split(self._all, ends)

    def opened(self, column: int, count: int) -> _Columns:
        """With room for a kernel at this place, of `count` present ones."""
        columns = self
        if count == self._all.shape[1]:
            columns = _Columns(*self._shape, 2 * count)
            columns._all[:, :count] = self._all
        columns._all[:, column + 1 : count + 1] = columns._all[:, column:count]
        return columns

    def close(self, column: int, count: int) -> None:
        """Take the kernel at this place out, of `count`."""
        self._all[:, column : count - 1] = self._all[:, column + 1 : count]
