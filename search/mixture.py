"""The densities that TPE compares, kept between proposals: a trial that comes or goes moves the kernels beside it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters

from search.candidates import Source
from search.kernels import (
    MANY,
    Axis,
    Floats,
    bandwidths,
    log_sum_exp,
    log_sum_exp_of_moderate,
    logs_of_kernel,
    logs_of_kernels,
    of_choices,
    of_steps,
)
from search.order import Changed, Order

MOST_FLOATS = 100  # of 100^this `exp` has a number
FLAT = 25  # so many trials, the newest, weigh the same

_RANGES = FloatDistribution, IntDistribution


class Mixture:
    """A multivariate Parzen estimator (Falkner et al. 2018) with Optuna's bandwidths, weights and prior.

    A kernel for each trial, in the order of their numbers, and the prior's, which is the last. What a kernel of the
    floats without steps adds to the log density of a point x is kept as the three coefficients of 1, x^2 and x, so that
    all kernels at all points are one product of matrices; their ranges are from -0.5 to 0.5 there.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.space = dict(space)
        self.numbers: list[int] = []  # of the trials, ascending
        axes = {row: Axis.of(each) for row, each in enumerate(space.values()) if isinstance(each, _RANGES)}
        self._stepped = {row: axis for row, axis in axes.items() if axis.step is not None}
        floats = {row: axis for row, axis in axes.items() if axis.step is None}
        self._floats = list(floats)  # their rows, as of all that follows
        kinds = enumerate(space.values())
        self._choices = {row: len(each.choices) for row, each in kinds if isinstance(each, CategoricalDistribution)}
        self._logs = [place for place, axis in enumerate(floats.values()) if axis.log]
        self._middle = np.array([0.5 * (axis.low + axis.high) for axis in floats.values()])
        self._reach = np.array([axis.high - axis.low for axis in floats.values()])
        # A float's kernel is at most 100 times as dense as the uniform distribution, and the prior nearly as dense.
        self._is_moderate = len(floats) == len(space) <= MOST_FLOATS
        self._kept = _Columns(len(space), len(floats), 0)
        self._order: list[Order] | None = None  # by float; None if some kernels are equal
        self._known_weights = np.ones(0)
        self._optunas: _ParzenEstimator | None = None
        self._source: Source | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __contains__(self, number: int) -> bool:
        place = bisect_left(self.numbers, number)
        return place < len(self) and self.numbers[place] == number

    @property
    def observations(self) -> Floats:
        """(parameters, trials) values, in the order of the trials' numbers."""
        return self._kept.values[:, : len(self)]

    def begin(self, numbers: Sequence[int], values: Floats) -> None:
        """Let these trials have kernels, and no others; `numbers` ascend, `values` are (parameters, trials)."""
        self.numbers, self._optunas, self._source = list(numbers), None, None
        count = len(self)
        kept = self._kept = _Columns(len(self.space), len(self._floats), 2 * count + MANY)
        kept.values[:, :count] = values
        self._order = [] if count >= MANY else None
        if not self._floats or count < 2:
            return
        means = self._places(values[self._floats])
        order = np.argsort(means)
        means = (means - self._middle[:, None]) / self._reach[:, None]
        ascending = np.take_along_axis(means, order, axis=1)
        widths = np.ones((len(means), count + 1))
        np.put_along_axis(widths, order, bandwidths(ascending, 1.0), axis=1)
        kept.means[:, :count] = means  # and the prior's is 0
        rest, square, linear = logs_of_kernels(kept.means[:, : count + 1], widths)
        kept.rest[:, : count + 1] = rest
        kept.coefficients[:, : count + 1] = np.concatenate([rest.sum(axis=0, keepdims=True), square, linear])
        # Which of two equal kernels gets the wider gap is numpy's choice: then all are sorted every time.
        is_distinct = self._order is not None and np.all(np.diff(ascending) > 0)
        if is_distinct:
            self._order = [*map(Order, ascending, np.array(self.numbers)[order])]
        else:
            self._order = None

    def enter(self, number: int, point: Sequence[float]) -> bool:
        """Let one more trial have a kernel. False if all have to begin anew."""
        if self._order is None:
            return False
        self._optunas = self._source = None
        column = bisect_left(self.numbers, number)
        self._kept = self._kept.opened(column, len(self) + 1)
        self.numbers.insert(column, number)
        self._kept.values[:, column] = point
        means = (self._places(self._kept.values[self._floats, column]) - self._middle) / self._reach
        self._kept.means[:, column] = means
        changed = [row.enter(mean, number) for row, mean in zip(self._order, means.tolist(), strict=True)]
        return self._reshape(changed)

    def leave(self, number: int) -> bool:
        """Let a trial have a kernel no longer. False if all have to begin anew."""
        if self._order is None or len(self) <= MANY:
            return False
        self._optunas = self._source = None
        column = bisect_left(self.numbers, number)
        means = self._kept.means[:, column].tolist()
        changed = [row.leave(mean) for row, mean in zip(self._order, means, strict=True)]
        del self.numbers[column]
        self._kept.close(column, len(self) + 2)
        return self._reshape(changed)

    def log_density(self, points: Floats) -> Floats:
        """(points,), of (parameters, points), but for a constant. The rest differs from Optuna's by rounding alone.

        Before, at least two trials have to have entered.
        """
        total = self._of_floats(points)
        if self._is_moderate:
            return log_sum_exp_of_moderate(total, self._weights())
        for row, axis in self._stepped.items():
            total += of_steps(axis, self.observations[row], points[row])
        for row, choices in self._choices.items():
            total += of_choices(self.observations[row], choices, points[row])
        return log_sum_exp(total, self._weights())

    def optunas(self, parameters: _ParzenEstimatorParameters) -> _ParzenEstimator:
        """The same as Optuna has it; `parameters` are always the same."""
        if self._optunas is None:
            observed = dict(zip(self.space, self.observations, strict=True))
            self._optunas = _ParzenEstimator(observed, self.space, parameters)
        return self._optunas

    def source(self, parameters: _ParzenEstimatorParameters) -> Source:
        """What candidates are drawn from it by; `parameters` are always the same."""
        if self._source is None:
            self._source = Source(self.optunas(parameters)._mixture_distribution)
        return self._source

    def _weights(self) -> Floats:
        """(kernels,): Optuna's `default_weights`, of which older trials have less, and the prior's."""
        kernels, ramp = len(self) + 1, max(len(self) - FLAT, 0)
        if len(self._known_weights) != kernels:
            self._known_weights = np.ones(kernels)
            first = 1.0 / len(self)
            self._known_weights[:ramp] = first + (1.0 - first) / max(ramp - 1, 1) * np.arange(ramp)
        return self._known_weights

    def _places(self, values: Floats) -> Floats:
        """(floats, …): where values are on their axes; overwrites its argument."""
        if self._logs:
            values[self._logs] = np.log(values[self._logs])
        return values

    def _of_floats(self, points: Floats) -> Floats:
        """(points, kernels), a new array."""
        if not self._floats:
            return np.zeros((points.shape[1], len(self) + 1))
        x = (self._places(points[self._floats]) - self._middle[:, None]) / self._reach[:, None]
        of_points = np.concatenate([np.ones((1, points.shape[1])), x * x, x])
        product: Floats = of_points.T @ self._kept.coefficients[:, : len(self) + 1]
        return product

    def _reshape(self, changed: Sequence[Changed | None]) -> bool:
        """Give kernels of each float other widths. False if two are equal: numpy's order counts then."""
        coefficients, floats = self._kept.coefficients, len(self._floats)
        for row, kernels in enumerate(changed):
            if kernels is None:
                return False
            for mean, number, width in kernels:
                column = bisect_left(self.numbers, number)
                rest, coefficients[1 + row, column], coefficients[1 + floats + row, column] = logs_of_kernel(
                    mean, width
                )
                coefficients[0, column] += rest - self._kept.rest[row, column]
                self._kept.rest[row, column] = rest
        return True


class _Columns:
    """A column for each kernel, with room for more of them.

    `values` (parameters, …) are the trials'; the others are of floats alone: `means` and `rest` (floats, …), and
    `coefficients` (1 + 2 floats, …): the sum of `rest`, and those of x^2 and x.
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
