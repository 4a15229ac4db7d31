"""Which parameters are active under which values of others: the `when` of a search space, to any depth."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import JsonValue

from search.parameters import Parameter, identity

MOST_STATES = 10_000  # of the parameters that others depend on, kept apart while a space is counted


def cycle_of(parameters: Mapping[str, Parameter]) -> list[str] | None:
    """Parameters that depend on each other in a ring, the first of them again at its end; None if there are none."""
    try:
        TopologicalSorter({name: parameter.when for name, parameter in parameters.items()}).prepare()
    except CycleError as error:
        ring: list[str] = error.args[1]
        return ring
    return None


class Conditions:
    """The conditions of a space without rings and without names that do not exist.

    A condition is a conjunction: every named parameter must be active itself and have one of the listed values.
    """

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        self._allowed = {
            name: {other: {identity(value): value for value in values} for other, values in parameter.when.items()}
            for name, parameter in parameters.items()
        }
        self.order = self._sorted()

    def is_active(self, name: str, values: Mapping[str, JsonValue], undecided: Collection[str] = ()) -> bool | None:
        """Whether a parameter takes part, given the values of the active ones before it in `order`.

        None if that hangs on those that are undecided.
        """
        needed = self._allowed[name].items()
        if all(other in values and identity(values[other]) in allowed for other, allowed in needed):
            return True
        may_yet = all(
            other in undecided or (other in values and identity(values[other]) in allowed) for other, allowed in needed
        )
        return None if may_yet else False

    def is_whole(self, given: Mapping[str, JsonValue]) -> bool:
        """Whether every parameter that is active with given values has one."""
        return self.fill(given.get).keys() <= given.keys()

    def fill(self, pick: Callable[[str], Any]) -> dict[str, Any]:
        """The active parameters, each with the value that `pick` gives; `pick` is called for no other."""
        values: dict[str, Any] = {}
        for name in self.order:
            if self.is_active(name, values):
                values[name] = pick(name)
        return values

    @cached_property
    def needs(self) -> dict[str, dict[str, dict[str, JsonValue]]]:
        """For each parameter, the values that others must have before it is active, with the conditions of the others.

        Values are keyed by their identity. An empty set of values means that the parameter can never be active.
        """
        needs: dict[str, dict[str, dict[str, JsonValue]]] = {}
        for name in self.order:
            own: dict[str, dict[str, JsonValue]] = dict(self._allowed[name])
            for other in self._allowed[name]:
                for further, allowed in needs[other].items():
                    known = own.setdefault(further, allowed)
                    if known is not allowed:  # as it is in the first of a chain, whose values may be very many
                        own[further] = {key: value for key, value in known.items() if key in allowed}
            needs[name] = own
        return needs

    @cached_property
    def size(self) -> int | None:
        """How many points the space has, each active assignment once; None if it is uncountable.

        Where conditions tie so many parameters together that counting would take longer than searching, an upper
        bound: the product that ignores the conditions.
        """
        sizes = {name: parameter.size for name, parameter in self._parameters.items()}
        if None in sizes.values():
            return None
        bound = 1
        for size in sizes.values():
            bound *= size or 1
        exact = self._count() if any(self._allowed.values()) else bound
        return bound if exact is None else exact

    def _count(self) -> int | None:
        """Count assignments in order, telling apart only what a later condition looks at.

        A state maps each parameter that is still looked at to which of its dependents its value lets in.
        """
        last = {other: name for name in self.order for other in self._allowed[name]}
        ways: Counter[frozenset[tuple[str, frozenset[str]]]] = Counter({frozenset(): 1})
        for name in self.order:
            outcomes = self._outcomes(name)
            grown: Counter[frozenset[tuple[str, frozenset[str]]]] = Counter()
            for state, count in ways.items():
                lets_in = dict(state)
                active = all(name in lets_in.get(other, ()) for other in self._allowed[name])
                kept = frozenset((other, names) for other, names in state if last[other] != name)
                for outcome, times in (outcomes if active else {frozenset[str](): 1}).items():
                    grown[kept | {(name, outcome)} if outcome else kept] += count * times
            if len(grown) > MOST_STATES:
                return None
            ways = grown
        return ways.total()

    def _outcomes(self, name: str) -> dict[frozenset[str], int]:
        """By the set of dependents that they let in, how many values of a parameter there are."""
        admitted: dict[str, set[str]] = {}
        for dependent, allowed in self._allowed.items():
            for key in allowed.get(name, ()):
                admitted.setdefault(key, set()).add(dependent)
        outcomes = Counter(frozenset(names) for names in admitted.values())
        outcomes[frozenset()] = (self._parameters[name].size or 0) - len(admitted)
        return {names: count for names, count in outcomes.items() if count}

    def _sorted(self) -> tuple[str, ...]:
        """The order of the document, but each parameter after those that it depends on."""
        names = list(self._parameters)
        place = {name: position for position, name in enumerate(names)}
        waiting = {name: len(allowed) for name, allowed in self._allowed.items()}
        dependents: dict[str, list[str]] = {name: [] for name in names}
        for name, allowed in self._allowed.items():
            for other in allowed:
                dependents[other].append(name)
        ready = [place[name] for name, count in waiting.items() if not count]
        order = []
        while ready:
            name = names[heapq.heappop(ready)]
            order.append(name)
            for dependent in dependents[name]:
                waiting[dependent] -= 1
                if not waiting[dependent]:
                    heapq.heappush(ready, place[dependent])
        return tuple(order)
