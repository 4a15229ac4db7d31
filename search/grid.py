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

from search.repair import is_empty
from search.space import Space
from store.errors import Conflict

FRUITLESS = 500  # so many steps without a cell, and it is worth a solver's time to ask whether there is any
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
        self._next: Cell | None = self._from(())  # everything before it has been tried
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
        self._open = {number for number in numbers if not trials[number].state.is_finished()}
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
        """The cell of a trial; None if it has no parameters: they are none of this space, or not drawn yet."""
        try:
            values = self._space.external(trial.params)
        except KeyError:
            return None
        return tuple(
            self._space.parameters[name].index(values[name]) if name in values else None
            for name in self._space.searched
        )

    def _successor(self, cell: Cell) -> Cell | None:
        """The next cell: the last active parameter that can turns by one, those after it begin again."""
        return self._from(self._turned(cell))

    def _from(self, start: Cell | None) -> Cell | None:
        """The first cell that begins with the given places or comes after them, and keeps the inequalities.

        Where these leave a parameter no value beside those before it, everything below is passed over at once.
        """
        places, steps = start, 0
        while places is not None and not self._is_cell(places):
            steps += 1
            if steps % FRUITLESS == 0:
                places = self._alive(places)
            elif len(places) == len(self._space.searched):
                places = self._turned(places)
            elif self._space.searched[len(places)] not in self._values(places):
                places = (*places, None)
            else:
                first = self._next_place(places, 0)
                places = self._turned(places) if first is None else (*places, first)
        return places

    def _is_cell(self, places: Cell) -> bool:
        if len(places) < len(self._space.searched):
            return False
        return not self._space.region.inequalities or self._space.region.broken(self._values(places)) is None

    def _turned(self, places: Cell) -> Cell | None:
        """With the last active parameter that can one value further; None at the end of the grid."""
        for position in reversed(range(len(places))):
            place = places[position]
            if place is not None and (after := self._next_place(places[:position], place + 1)) is not None:
                return (*places[:position], after)
        return None

    def _next_place(self, before: Cell, place: int) -> int | None:
        """The first place from one on that the parameter after these may have beside them."""
        name = self._space.searched[len(before)]
        if not self._space.region.inequalities:
            return place if place < (self._space.parameters[name].size or 0) else None
        return self._space.region.next_place(name, self._decided(before), place)

    def _alive(self, places: Cell) -> Cell | None:
        """The same places, or, if for certain nothing begins with the first of them, those after these."""
        if not self._space.region.inequalities:
            return places
        for length in range(1, len(places) + 1):
            known = self._decided(places[:length])
            free = {name: each for name, each in self._space.parameters.items() if not each.when}
            point = {name: each.at(0) for name, each in free.items()} | known
            if is_empty(self._space.region, point, held=known):
                return self._turned(places[:length])
        return places

    def _decided(self, places: Cell) -> dict[str, JsonValue]:
        """The values that the places stand for, of the parameters that are active beside them."""
        values = self._values(places)
        return {name: values[name] for name in self._space.searched[: len(places)] if name in values}

    def _values(self, cell: Cell) -> dict[str, JsonValue]:
        """The parameters of a cell, constants included; where the cell says nothing, the first value."""
        places = dict(zip(self._space.searched, cell, strict=False))
        return self._space.conditions.fill(lambda name: self._space.parameters[name].at(places.get(name) or 0))
