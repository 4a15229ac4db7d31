"""The search space as Optuna sees it, and the way between its parameters and ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import JsonValue

from search.conditions import Conditions
from search.inequality import Inequality
from search.parameters import Choice, Constant, Parameter, Range, json_text
from search.points import check_completion, check_given, check_point
from search.region import Region
from store.errors import Problem


class Space:
    """The parameters of a study.

    Ours are JSON values. Optuna's differ in two places: of a list or an object it gets the JSON text, as it takes
    scalars only, and of a float range with steps it gets `low + k * step` in its own rounding, so that a study that is
    rebuilt from our values proposes exactly what it would have proposed. Constants are ours alone.
    """

    def __init__(self, parameters: Mapping[str, Parameter], inequalities: Sequence[Inequality] = ()) -> None:
        self.parameters = parameters
        self.conditions = Conditions(parameters)
        self.region = Region(parameters, inequalities)
        self._codes = {name: _Codes(each) for name, each in parameters.items() if isinstance(each, Choice)}
        self._distributions = {
            name: self._distribution(name)
            for name in self.conditions.order
            if not isinstance(parameters[name], Constant)
        }

    @property
    def size(self) -> int | None:
        """How many points there are; None if uncountable.

        An upper bound with inequalities, or with heavily tied conditions.
        """
        return self.conditions.size

    @property
    def searched(self) -> tuple[str, ...]:
        """The parameters that are no constants, each after those that its condition names."""
        return tuple(self._distributions)

    def suggest(self, trial: optuna.Trial) -> dict[str, JsonValue]:
        """Draw a trial's parameters, by Optuna's define-by-run: only the active ones, constants included."""
        return self.conditions.fill(lambda name: self._suggest(trial, name))

    def distributions(self) -> dict[str, BaseDistribution]:
        """Of the parameters that are no constants."""
        return dict(self._distributions)

    def internal(self, parameters: Mapping[str, JsonValue]) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
        """What Optuna must be given to load a trial that has these parameters: its own values, and distributions.

        Raises:
            ValueError: a parameter has a value that is not in the space; `check` says which.
        """
        searched = [name for name in self._distributions if name in parameters]
        values = {name: self._encode(name, parameters[name]) for name in searched}
        return values, {name: self._distributions[name] for name in searched}

    def given(self, optuna_params: Mapping[str, Any]) -> dict[str, JsonValue]:
        """Some parameters of a trial from what Optuna holds of them."""
        return {name: self._decode(name, value) for name, value in optuna_params.items()}

    def external(self, optuna_params: Mapping[str, Any]) -> dict[str, JsonValue]:
        """The parameters of a trial from what Optuna holds, constants included."""
        return self.conditions.fill(lambda name: self._external(name, optuna_params))

    def check(self, parameters: Mapping[str, JsonValue]) -> list[Problem]:
        """What keeps given parameters from being a point of this space; nothing if they are one."""
        return check_point(self.conditions, self.region, parameters)

    def check_given(self, parameters: Mapping[str, JsonValue], sampler: str) -> list[Problem]:
        """What keeps a sampler from making a point of this space of given parameters; nothing if it can."""
        problems, left_out = check_given(self.conditions, self.region, parameters, sampler)
        if problems or not left_out:
            return problems
        return check_completion(self.conditions, self.region, parameters)

    def _distribution(self, name: str) -> BaseDistribution:
        parameter = self.parameters[name]
        if isinstance(parameter, Choice):
            return CategoricalDistribution(self._codes[name].codes)
        if not isinstance(parameter, Range):
            raise TypeError(f"{name} is a constant")
        if parameter.whole:
            step = 1 if parameter.step is None else int(parameter.step)
            return IntDistribution(int(parameter.low), int(parameter.top), log=parameter.log, step=step)
        return FloatDistribution(parameter.low, parameter.top, log=parameter.log, step=parameter.step)

    def _suggest(self, trial: optuna.Trial, name: str) -> JsonValue:
        distribution = self._distributions.get(name)
        # `suggest_float` and its like would make the distribution anew, to compare it.
        return self._decode(name, None if distribution is None else trial._suggest(name, distribution))

    def _external(self, name: str, optuna_params: Mapping[str, Any]) -> JsonValue:
        return self._decode(name, optuna_params[name] if name in self._distributions else None)

    def _decode(self, name: str, value: Any) -> JsonValue:
        parameter = self.parameters[name]
        if isinstance(parameter, Choice):
            return self._codes[name].value_of(value)
        if isinstance(parameter, Constant):
            return parameter.value
        place = parameter.index(value) if parameter.step is not None else None
        if place is not None:
            return parameter.at(place)
        return int(value) if parameter.whole else float(value)

    def _encode(self, name: str, value: JsonValue) -> Any:
        parameter = self.parameters[name]
        if isinstance(parameter, Choice):
            return self._codes[name].code_of(value)
        if not isinstance(parameter, Range) or not parameter.holds(value):
            raise ValueError(f"parameters.{name}: {json_text(value)} is not in the space")
        place = parameter.index(value)
        if parameter.whole or place is None or parameter.step is None:
            return value
        return min(parameter.low + place * parameter.step, parameter.top)


class _Codes:
    """The choices of one parameter as Optuna takes them: scalars as they are, lists and objects as their JSON text.

    Optuna compares choices with ==, for which true is 1, and the text of a list may be another choice already: then all
    choices go as JSON text, which is distinct where the values are.
    """

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        codes = [json_text(value) if isinstance(value, list | dict) else value for value in choice.values]
        if len(set(codes)) < len(codes):
            codes = [json_text(value) for value in choice.values]
        self.codes = tuple(codes)
        self._places = {code: place for place, code in enumerate(codes)}

    def value_of(self, code: Any) -> JsonValue:
        return self._choice.at(self._places[code])

    def code_of(self, value: JsonValue) -> Any:
        place = self._choice.index(value)
        if place is None:
            raise ValueError(f"{json_text(value)} is none of the choices")
        return self.codes[place]
