"""Exhaustive search: every cell of a finite space once, without ever holding the cells."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue
from typing_extensions import override

from search.space import Space
from store.errors import Conflict

Cell = tuple[int | None, ...]  # for each searched parameter, which of its values; None where it is not active

# A trial's system attribute: it FAILED because a person ended it, so its cell is not tried again.
CANCELLED = "trialyard:cancelled"


class GridSampler(BaseSampler):
    """Proposes the cells in the order of a mixed radix, the first parameter turning slowest.

    What has been tried is read off the parameters of the study's trials, so that a study that is rebuilt goes on where
    it was, and a point that a person enqueued counts as its cell. A cell is tried again, after all others, while all of
    its trials FAILED and they are no more than `retries`. One sampler serves one study: it remembers how far it came,
    and a finished trial that changes must be named to `reconsider`.

    The grid may be exhausted; ask `is_exhausted` before each `study.ask()`. It may cease to be when a trial fails.
    """

    def __init__(self, space: Space, retries: int = 0) -> None:
        self._space = space
        self._retries = retries
        self._tried: dict[Cell, set[int]] = defaultdict(set)  # numbers of the trials in a cell …
        self._failed: dict[Cell, set[int]] = defaultdict(set)  # … and of those that FAILED there
        self._seen = 0  # trials looked at
        self._open: set[int] = set()  # those of them that may still change
        self._next: Cell | None = self._first_cell(())  # everything before it has been tried
        self._chosen: Cell | None = None  # of the trial that was asked for last

    def is_exhausted(self, study: Study) -> bool:
        """Whether there is nothing to propose now."""
        self._follow(study)
        return self._choose() is None

    def reconsider(self, number: int) -> None:
        """A finished trial has changed: look at it again."""
        if number < self._seen:
            self._open.add(number)

    @override
    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the trial's cell.

        Raises:
            Conflict: the grid is exhausted.
        """
        self._chosen = None
        if "fixed_params" in trial.system_attrs:
            return  # a person has chosen
        self._follow(study, but_for=trial.number)
        self._chosen = self._choose()
        if self._chosen is None:
            raise Conflict("the grid is exhausted: every cell has been tried")

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are active in the chosen cell."""
        if self._chosen is None:
            return {}
        return self._space.internal(self._values(self._chosen))[1]

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of the chosen cell."""
        if self._chosen is None:
            return {}
        return self._space.internal(self._values(self._chosen))[0]

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise LookupError(f"{param_name} is not active in this cell of the grid")

    def _follow(self, study: Study, but_for: int | None = None) -> None:
        """Take in what has happened to the trials since the last look."""
        # Under Hyperband a sampler is handed a view of one bracket, whose `get_trials` leaves the other brackets out.
        trials = study._get_trials(deepcopy=False, states=None, use_cache=False)
        numbers = [*self._open, *range(self._seen, len(trials))]
        self._seen = len(trials)
        self._open = {number for number in numbers if number == but_for or not trials[number].state.is_finished()}
        for trial in (trials[number] for number in numbers if number != but_for):
            if (cell := self._cell_of(trial)) is not None:
                failed = trial.state is TrialState.FAIL and CANCELLED not in trial.system_attrs
                (self._failed if failed else self._tried)[cell].add(trial.number)
                (self._tried if failed else self._failed)[cell].discard(trial.number)

    def _choose(self) -> Cell | None:
        while self._next is not None and (self._tried.get(self._next) or self._failed.get(self._next)):
            self._next = self._successor(self._next)
        if self._next is not None:
            return self._next
        again = [(min(numbers), cell) for cell, numbers in self._failed.items() if self._may_be_tried_again(cell)]
        return min(again)[1] if again else None

    def _may_be_tried_again(self, cell: Cell) -> bool:
        return not self._tried.get(cell) and 0 < len(self._failed[cell]) <= self._retries

    def _cell_of(self, trial: FrozenTrial) -> Cell | None:
        """The cell of a trial; None if its parameters are no point of the grid, or not drawn yet."""
        try:
            values = self._space.external(trial.params)
        except KeyError:
            return None
        cell = tuple(
            self._space.parameters[name].index(values[name]) if name in values else None
            for name in self._space.searched
        )
        if any(place is None and name in values for name, place in zip(self._space.searched, cell, strict=True)):
            return None
        return cell

    def _successor(self, cell: Cell) -> Cell | None:
        """The next cell: the last active parameter that can turns by one, those after it begin again."""
        for position in reversed(range(len(cell))):
            place = cell[position]
            if place is not None and place + 1 < (self._space.parameters[self._space.searched[position]].size or 0):
                return self._first_cell((*cell[:position], place + 1))
        return None

    def _first_cell(self, start: Cell) -> Cell:
        """The first of the cells that begin with the given places."""
        values = self._values(start)
        rest = (0,) * (len(self._space.searched) - len(start))
        return tuple(
            place if name in values else None for name, place in zip(self._space.searched, start + rest, strict=True)
        )

    def _values(self, cell: Cell) -> dict[str, JsonValue]:
        """The parameters of a cell, constants included; where the cell says nothing, the first value."""
        places = dict(zip(self._space.searched, cell, strict=False))
        return self._space.conditions.fill(lambda name: self._space.parameters[name].at(places.get(name) or 0))
