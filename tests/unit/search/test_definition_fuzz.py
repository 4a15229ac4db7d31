from __future__ import annotations

import copy
import itertools
import json
import math
from typing import Any

import optuna
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.definition import Definition, parse
from search.findings import MOST_PROBLEMS
from search.grid import GridSampler
from search.space import Space
from store.errors import DefinitionError
from tests.unit.search.documents import ADULT_MLP, external
from trialyard.study_file import from_yaml

relaxed = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])

TEXTS = st.one_of(
    st.sampled_from(["train", "val/loss", "grid", "tpe", "none", "optimizer.lr", "optimizer.name", "1e-4", "", "\x00"]),
    st.text(max_size=8),
)
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([0, 1, -1, True, 2**53 + 1, 1e308, 5e-324]))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
KEYS = st.sampled_from(["name", "objective", "parameters", "sampler", "pruner", "budget", "trial", "resources", "kind"])
ENTRY_KEYS = st.sampled_from(["values", "value", "low", "high", "min", "max", "log", "step", "when", "other"])
ENTRIES = st.dictionaries(ENTRY_KEYS, JSON, max_size=5)


def parse_or_refuse(document: object) -> None:
    """Parse a document, which must either be understood or be refused with problems that are told well."""
    result = parsed(document)
    if isinstance(result, Definition):
        assert parse(json.loads(json.dumps(result.document()))) == result
        return
    assert 1 <= len(result.problems) <= MOST_PROBLEMS + 1
    for problem in result.problems:
        assert problem.path
        assert problem.message
        assert str(problem).isprintable()


def parsed(document: object) -> Definition | DefinitionError:
    try:
        return parse(document)
    except DefinitionError as error:
        return error


@relaxed
@given(st.one_of(JSON, st.dictionaries(KEYS, JSON), st.dictionaries(st.one_of(st.integers(), TEXTS), JSON)))
def test_any_json_is_understood_or_refused(document: object) -> None:
    parse_or_refuse(document)


@relaxed
@given(st.dictionaries(TEXTS, ENTRIES, min_size=1, max_size=4), st.sampled_from(["random", "grid"]))
def test_any_parameters_are_understood_or_refused(entries: dict[str, Any], sampler: str) -> None:
    parse_or_refuse(external(entries, sampler={"name": sampler, "seed": 1}))


@relaxed
@given(st.data())
def test_a_study_with_something_changed_is_understood_or_refused(data: st.DataObject) -> None:
    document = copy.deepcopy(from_yaml(ADULT_MLP))
    for _ in range(data.draw(st.integers(1, 4))):
        change(document, data)

    parse_or_refuse(document)


def change(document: dict[str, Any], data: st.DataObject) -> None:
    """Replace, remove or add one value somewhere."""
    here: Any = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
            break
        here = here[key]
    match data.draw(st.sampled_from(["replace", "remove", "add"])):
        case "replace":
            here[key] = data.draw(JSON)
        case "remove":
            del here[key]
        case _ if isinstance(here, dict):
            here[data.draw(st.one_of(TEXTS, ENTRY_KEYS))] = data.draw(JSON)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["a", "b", "1"]))
VALUES = st.lists(st.one_of(SCALARS, st.lists(st.integers(0, 2), max_size=2)), min_size=1, max_size=4)


@st.composite
def finite_spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Up to four parameters, each perhaps under a condition on those before it."""
    entries: dict[str, Any] = {}
    allowed: dict[str, list[Any]] = {}
    for name in ["a", "b", "c", "d"][: draw(st.integers(1, 4))]:
        if draw(st.booleans()):
            distinct = {json.dumps(value): value for value in draw(VALUES)}
            entries[name] = {"values": list(distinct.values())}
            allowed[name] = list(distinct.values())
        else:
            low, count, step = draw(st.integers(-3, 3)), draw(st.integers(2, 4)), draw(st.integers(1, 3))
            entries[name] = {"low": low, "high": low + (count - 1) * step, "step": step}
            allowed[name] = [low + k * step for k in range(count)]
        others = draw(st.lists(st.sampled_from(list(entries)[:-1]), unique=True)) if len(entries) > 1 else []
        if others:
            entries[name]["when"] = {
                other: [draw(st.sampled_from(allowed[other])) for _ in range(draw(st.integers(1, 2)))]
                for other in others
            }
    return dict(draw(st.permutations(list(entries.items()))))


def active_assignments(entries: dict[str, Any]) -> set[str]:
    """All points by brute force: the whole product, without what is not active, each once."""
    points = set()
    values = {
        name: entry.get("values") or range(entry["low"], entry["high"] + 1, entry["step"])
        for name, entry in entries.items()
    }
    for combination in itertools.product(*values.values()):
        full = {name: json.dumps(value) for name, value in zip(values, combination, strict=True)}
        active: dict[str, str] = {}
        for name in "abcd":  # a condition names only earlier letters
            when = entries.get(name, {}).get("when", {})
            if name in entries and all(active.get(o) in map(json.dumps, allowed) for o, allowed in when.items()):
                active[name] = full[name]
        points.add(json.dumps(active, sort_keys=True))
    return points


@relaxed
@given(finite_spaces())
def test_a_grid_holds_exactly_the_points_of_its_space(entries: dict[str, Any]) -> None:
    definition = parsed(external(entries, sampler={"name": "grid", "seed": 1}, budget={}))
    if isinstance(definition, DefinitionError):
        assert all("can never hold" in str(problem) for problem in definition.problems)
        return
    space = Space(definition.parameters)
    sampler = GridSampler(space)
    study = optuna.create_study(sampler=sampler)
    proposed = []
    while not sampler.is_exhausted(study) and len(proposed) < 500:  # four parameters of four values have 256 points
        trial = study.ask()
        parameters = space.suggest(trial)
        study.tell(trial, 0.0)
        assert space.check(parameters) == []
        proposed.append(json.dumps({k: json.dumps(v) for k, v in parameters.items()}, sort_keys=True))

    assert len(proposed) == len(set(proposed)) == space.size == definition.budget.trials
    assert set(proposed) == active_assignments(entries)


@relaxed
@given(
    low=st.floats(-1e3, 1e3).map(lambda x: round(x, 3)),
    step=st.floats(1e-2, 1e3).map(lambda x: round(x, 3)),
    steps=st.integers(2, 1000),
    excess=st.floats(0, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_stepped_range_agrees_with_optuna(low: float, step: float, steps: int, excess: float, seed: int) -> None:
    definition = parse(external({"x": {"low": low, "high": low + step * (steps + excess), "step": step}}))
    space = Space(definition.parameters)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    parameters = space.suggest(trial)

    assert space.size is not None
    assert abs(space.size - 1 - steps) <= 1  # the product above is rounded
    assert space.check(parameters) == []
    assert space.internal(parameters)[0] == trial.params
    assert math.isclose(parameters["x"], trial.params["x"], rel_tol=1e-9, abs_tol=1e-9)  # type: ignore[arg-type]
