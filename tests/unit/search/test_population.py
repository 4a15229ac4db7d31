"""The rules of population based training: who copies whom, and what becomes of parameters. Values derived by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from search.definition import Definition, parse
from search.entries import read_parameters
from search.exploring import Explorer
from search.inequality import read_inequality
from search.population import Copy, Population
from search.region import Region
from store.errors import DefinitionError
from tests.unit.search.documents import train

SPACE, _ = read_parameters(
    {
        "lr": {"low": 0.001, "high": 1.0, "log": True},
        "layers": {"low": 1, "high": 8},
        "dropout": {"low": 0.0, "high": 0.5, "step": 0.25},
        "norm": {"values": ["none", "batch", "layer"]},
        "hidden": {"values": [[8], [16]]},
        "momentum": {"low": 0.0, "high": 0.9, "when": {"norm": ["batch"]}},
        "fixed": {"value": 3},
    }
)
CHANGING = ("lr", "layers", "dropout", "norm", "momentum")


def explored(values: dict[str, Any], factor: float, resampled: float = 0.0, seed: int = 0) -> dict[str, Any]:
    return Explorer(Region(SPACE, ()), CHANGING, [factor], resampled).explore(values, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("name", "value", "factor", "expected"),
    [
        ("lr", 0.1, 0.8, 0.08),
        ("lr", 0.9, 1.25, 1.0),  # 1.125 lies beyond the range
        ("layers", 4, 1.25, 5),
        ("layers", 2, 1.2, 3),  # 2.4 is nearest to 2 again: a step at least
        ("layers", 2, 0.8, 1),
        ("layers", 8, 1.2, 8),
        ("dropout", 0.25, 1.25, 0.5),  # 0.3125 is nearest to 0.25 again
        ("dropout", 0.0, 1.25, 0.25),  # no factor alone leaves 0
        ("dropout", 0.0, 0.8, 0.0),
        ("hidden", [16], 1.25, [16]),  # shapes the weights
        ("fixed", 3, 1.25, 3),
    ],
)
def test_a_number_is_multiplied_within_its_range(name: str, value: Any, factor: float, expected: Any) -> None:
    start = {"lr": 0.1, "layers": 4, "dropout": 0.25, "norm": "none", "hidden": [8], "fixed": 3} | {name: value}

    assert explored(start, factor)[name] == (pytest.approx(expected) if name == "lr" else expected)


def test_a_choice_becomes_its_neighbour_and_lets_in_what_depends_on_it() -> None:
    start = {"lr": 0.1, "layers": 4, "dropout": 0.25, "norm": "none", "hidden": [8], "fixed": 3}
    found = [explored(start, 1.25, seed=seed) for seed in range(20)]

    assert {each["norm"] for each in found} == {"none", "batch"}  # before the first there is nothing
    assert all(("momentum" in each) == (each["norm"] == "batch") for each in found)
    assert all(0 <= each["momentum"] <= 0.9 for each in found if "momentum" in each)


def test_what_is_resampled_comes_from_anywhere_in_the_range() -> None:
    start = {"lr": 0.1, "layers": 4, "dropout": 0.25, "norm": "none", "hidden": [8], "fixed": 3}
    found = [explored(start, 1.25, resampled=1.0, seed=seed) for seed in range(300)]

    below = sum(each["lr"] < 0.0316 for each in found)  # half of the range on the log scale
    assert 110 < below < 190
    assert {each["layers"] for each in found} == set(range(1, 9))
    assert {each["norm"] for each in found} == {"none", "batch", "layer"}
    assert {tuple(each["hidden"]) for each in found} == {(8,)}


def test_what_an_inequality_cuts_off_is_left_out() -> None:
    """Beside a dropout of 0.25, lr may be 0.15 at most: three times 0.12 is never possible."""
    start = {"lr": 0.12, "layers": 4, "dropout": 0.25, "norm": "none", "hidden": [8], "fixed": 3}
    region = Region(SPACE, [read_inequality("lr + dropout <= 0.4")])
    rng = np.random.default_rng(0)

    resampled = [Explorer(region, CHANGING, [1.25], 1.0).explore(start, rng) for _ in range(50)]
    stuck = Explorer(region, ("lr",), [3.0], 0.0).explore(start, rng)

    assert all(each["lr"] + each["dropout"] <= 0.4 + 1e-9 for each in resampled)
    assert len({each["lr"] for each in resampled}) > 40
    assert stuck == start


def population(members: int, share: float = 0.25, burn_in: int = 0, size: int | None = None) -> Population:
    made = Population(
        Explorer(Region(SPACE, ()), ("lr",), [0.8, 1.25], 0.0),
        "maximize",
        seed=7,
        size=size or members,
        interval=2,
        burn_in=burn_in,
        last_step=10,
        share=share,
    )
    for number in range(members):
        made.enter(number, {"lr": 0.1 + number / 100, "fixed": 3})
    return made


def reach(population: Population, number: int, step: int, value: float, attempt: int | None = None) -> None:
    """An attempt of a member comes to a step where it waits."""
    population.began(number, step // 2 if attempt is None else attempt)
    population.report(number, step, [value])
    population.wait(number)


def go_on(population: Population, number: int) -> Copy | None:
    copy = population.copy_of(number)
    population.promote(number)
    return copy


def test_the_worst_quarter_copies_from_the_best_quarter() -> None:
    """Of 8 members ceil(0.25 · 8) = 2 are the best, 7 and 6, and as many the worst, 0 and 1."""
    made = population(8)
    for number in range(8):
        reach(made, number, 2, 0.1 * number)

    copies = {number: go_on(made, number) for number in range(8)}

    assert {number for number, copy in copies.items() if copy} == {0, 1}
    for copy in filter(None, copies.values()):
        assert copy.source in (6, 7)
        assert (copy.turn, copy.step, copy.source_step, copy.source_attempt) == (1, 2, 2, 1)
        lr = 0.1 + copy.source / 100
        assert copy.after["lr"] in (pytest.approx(0.8 * lr), pytest.approx(1.25 * lr))


@pytest.mark.parametrize(
    ("values", "share", "who"),
    [
        ([0.1, 0.2], 0.25, {0}),  # ceil(0.5) = 1
        ([0.1, 0.2, 0.3], 0.5, {0}),  # ceil(1.5) = 2, but 3 // 2 = 1
        ([0.1, 0.2, 0.3, 0.4], 0.0, set()),
        ([0.1], 0.5, set()),
        ([0.3, 0.3, 0.3, 0.3], 0.25, set()),  # nobody is better
    ],
)
def test_how_many_copy(values: list[float], share: float, who: set[int]) -> None:
    made = population(len(values), share)
    for number, value in enumerate(values):
        reach(made, number, 2, value)

    assert {number for number in range(len(values)) if go_on(made, number)} == who


def test_a_member_that_copies_again_and_again_draws_anew_each_time() -> None:
    """lr becomes 0.8 or 1.25 times that of the only other one: in eight draws it is hardly ever always the same."""
    made = population(2)
    factors = []
    for step in range(2, 18, 2):
        reach(made, 1, step, 0.9)
        reach(made, 0, step, 0.1)
        copy = go_on(made, 0)
        assert copy is not None
        factors.append(round(copy.after["lr"] / 0.11, 2))
        go_on(made, 1)

    assert set(factors) == {0.8, 1.25}


@pytest.mark.parametrize(("step", "unfinished"), [(6, True), (8, False)])
def test_a_population_is_unfinished_until_all_have_come_to_their_last_interval(step: int, unfinished: bool) -> None:
    """The last step is 10, the interval 2: who has come to 8 copies nobody any more."""
    made = population(2)
    reach(made, 0, 8, 0.5)
    reach(made, 1, step, 0.5)

    assert made.is_unfinished is unfinished
    made.end(1, None)
    assert not made.is_unfinished


def test_a_member_is_compared_with_what_the_others_had_at_its_own_step() -> None:
    """At step 2 member 0 (0.5) was the best of three. That the others have come to 0.9 since says nothing about it.
    Member 2 (0.1) was the worst at step 2: it goes on from the newest checkpoint of the best of then, which is 0's.
    """
    made = population(3)
    reach(made, 0, 2, 0.5)
    reach(made, 1, 2, 0.4)
    reach(made, 2, 2, 0.1)
    assert go_on(made, 1) is None
    reach(made, 1, 4, 0.9)

    copy = go_on(made, 2)

    assert go_on(made, 0) is None
    assert copy is not None
    assert (copy.source, copy.source_step) == (0, 2)


def test_a_copy_goes_on_from_its_sources_newest_step() -> None:
    made = population(2)
    reach(made, 1, 2, 0.8)
    go_on(made, 1)
    reach(made, 1, 4, 0.9)
    reach(made, 0, 2, 0.1)

    copy = go_on(made, 0)

    assert copy is not None
    assert (copy.source_attempt, copy.source_step, copy.source_value) == (2, 4, 0.9)
    assert (made.copied(0), made.since(0)) == ((1, 2, 4, 0.9), 1)
    made.began(0, 2)
    made.report(0, 5, [0.9])
    assert not made.is_held(0)  # from step 4 on it is two steps to where it waits
    made.report(0, 6, [0.9])
    assert made.is_held(0)


def test_the_one_that_has_come_least_far_goes_first_once_all_are_there() -> None:
    made = population(1, size=2)
    reach(made, 0, 2, 0.1)
    assert made.next() is None  # one is still to be made

    made = population(2)
    reach(made, 1, 2, 0.5)
    go_on(made, 1)
    reach(made, 1, 4, 0.5)
    reach(made, 0, 2, 0.5)

    assert (made.next(), made.promotable) == (0, 2)


def test_what_a_lost_attempt_reported_counts_when_another_reports_it() -> None:
    made = population(2)
    made.began(0, 1)
    made.report(0, 2, [0.5])
    assert made.is_held(0)

    made.lost(0)

    assert not made.is_held(0)
    made.began(0, 2)
    made.report(0, 2, [0.6])
    made.wait(0)
    assert made.stored(0)["values"] == [(2, 0.6)]
    assert made.since(0) == 1


def test_who_cannot_go_on_takes_the_place_of_the_best_other() -> None:
    made = population(3)
    assert not made.replace(0)  # nobody has left a checkpoint
    reach(made, 1, 2, 0.3)
    reach(made, 2, 2, 0.4)
    made.began(0, 1)

    assert made.replace(0)

    made.wait(0)
    copy = go_on(made, 0)
    assert copy is not None
    assert (copy.source, copy.step, copy.value) == (2, 0, None)


def test_members_that_failed_are_neither_compared_nor_copied() -> None:
    made = population(3)
    for number, value in enumerate((0.1, 0.2, 0.9)):
        reach(made, number, 2, value)
    made.end(2, None)

    copy = go_on(made, 0)

    assert copy is not None
    assert copy.source == 1


def test_nobody_copies_before_the_burn_in_is_over() -> None:
    made = population(2, burn_in=4)
    for step in (2, 4):
        for number, value in enumerate((0.1, 0.9)):
            reach(made, number, step, value)
        copied = go_on(made, 0) is not None
        go_on(made, 1)
        assert copied == (step == 4)


def test_checkpoints_are_spent_when_neither_the_member_nor_a_copy_goes_on_from_them() -> None:
    """Member 1 has left attempts 1 and 2. 0 is about to begin with attempt 2: it stays until 0 has its own."""
    made = population(2)
    for step in (2, 4):
        reach(made, 1, step, 0.9)
        go_on(made, 1)
    reach(made, 0, 2, 0.1)
    go_on(made, 0)
    made.began(1, 3)
    assert made.spent(1) == [1]
    assert made.spent(1) == []
    made.report(1, 6, [0.9])
    made.wait(1)
    go_on(made, 1)
    made.began(1, 4)
    assert made.spent(1) == []  # attempt 2 is what 0 begins with

    reach(made, 0, 6, 0.9, attempt=2)

    assert made.spent(1) == [2]
    assert made.spent(0) == [1]


def test_a_population_that_is_loaded_decides_as_the_one_before() -> None:
    made = population(8)
    for number in range(8):
        reach(made, number, 2, 0.1 * number)
    for number in (1, 6, 7):
        go_on(made, number)
    loaded = population(8)
    for number in range(8):
        loaded.enter(number, made._members[number].parameters)
        loaded.load(number, made.stored(number))
        if loaded.is_held(number):
            loaded.wait(number)

    assert [made.next()] == [loaded.next()] == [0]
    assert go_on(made, 0) == go_on(loaded, 0)
    assert made.stored(0) == loaded.stored(0)


def evolving(**sections: Any) -> dict[str, Any]:
    return train(sampler={"name": "pbt", "seed": 7}, budget=None) | sections


@pytest.mark.parametrize(
    ("document", "path", "words"),
    [
        (evolving(pruner={"name": "median"}), "pruner.name", ["would stop members", "leave pruner out"]),
        (evolving(budget={"trials": 9}), "budget.trials", ["9", "8 members", "population_size"]),
        (evolving(deterministic=True, budget={"parallel": 2}), "sampler.name", ["race"]),
        (evolving(warm_start={"study": "other"}), "warm_start", ["own population"]),
        (
            evolving(constraints=[{"metric": "params", "at_most": 9}]),
            "sampler.name",
            ["pbt cannot learn from constraints"],
        ),
        (
            evolving(objective=[train()["objective"], {"metric": "params", "direction": "minimize"}]),
            "sampler.name",
            ["single objective"],
        ),
        (
            evolving(trial={"kind": "external"}, sampler={"name": "pbt", "max_resource": 9}),
            "trial.kind",
            ["elsewhere", "kind train or objective"],
        ),
        (evolving(trial={"kind": "objective", "name": "mine"}), "sampler.max_resource", ["is missing"]),
        (evolving(parameters={"batch_size": {"values": [8, 16]}}), "parameters", ["nothing to change", "optimizer.lr"]),
        (
            evolving(parameters=train()["parameters"] | {"epochs": {"values": [5, 10]}}),
            "parameters.epochs",
            ["set trial.epochs"],
        ),
        (
            evolving(
                parameters=train()["parameters"] | {"model.hidden": {"values": [[8], [16]]}},
                sampler={"name": "pbt", "perturb": ["model.hidden"]},
            ),
            "sampler.perturb[0]",
            ["fixed for a member", "optimizer.lr"],
        ),
        (
            evolving(sampler={"name": "pbt", "perturb": ["optimizer.lrr"]}),
            "sampler.perturb[0]",
            ["no parameter", "did you mean 'optimizer.lr'"],
        ),
        (
            evolving(
                parameters={
                    "data.augment.flip": {"values": [True, False]},
                    "model.activation": {"values": ["relu", "gelu"], "when": {"data.augment.flip": True}},
                }
            ),
            "parameters.model.activation.when",
            ["changes while the member trains"],
        ),
        (evolving(sampler={"name": "pbt", "perturbation_interval": 5}), "sampler.perturbation_interval", ["last one"]),
        (evolving(sampler={"name": "pbt", "population": 4}), "sampler.population", ["did you mean 'population_size'"]),
        (evolving(sampler={"name": "pbt", "quantile_fraction": 0.6}), "sampler.quantile_fraction", ["at most 0.5"]),
    ],
)
def test_what_no_population_can_do_with_is_refused(document: dict[str, Any], path: str, words: list[str]) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse(document)

    found = {problem.path: str(problem) for problem in refused.value.problems}
    assert path in found, found
    assert all(word in found[path] for word in words), found[path]


def test_the_budget_and_the_last_step_follow_from_the_population_and_the_epochs() -> None:
    definition = parse(evolving(sampler={"name": "pbt", "population_size": 6}))

    assert definition.budget.trials == 6
    assert definition.sampler.options["max_resource"] == 5
    again: Definition = parse(definition.document())
    assert again == definition


def test_what_is_drawn_anew_is_each_step_of_a_range_alike() -> None:
    start = {"lr": 0.1, "layers": 4, "dropout": 0.25, "norm": "none", "hidden": [8], "fixed": 3}
    drawn = [explored(start, 1.25, resampled=1.0, seed=seed) for seed in range(600)]

    for name, values in {"dropout": (0.0, 0.25, 0.5), "layers": range(1, 9)}.items():
        counts = Counter(point[name] for point in drawn)
        assert all(abs(counts[value] * len(values) / 600 - 1) < 0.35 for value in values), (name, counts)
