from __future__ import annotations

from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import create_trial

from search.definition import Definition, parse
from search.optuna_study import RUNGS, OptunaStudy
from search.optuna_trials import WORST, PastTrial
from search.pruners import make_pruner
from search.samplers import SwiftRandomSampler, make_sampler, reseed, seed_of
from search.space import Space
from store.models import TrialState
from tests.unit.search.documents import external, train
from tests.unit.search.test_tpe import SPACES

SEED = 7
TRIALS = 30
SPACE = {
    "lr": {"low": 1e-4, "high": 0.1, "log": True},
    "optimizer": {"values": ["adam", "sgd"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "hidden": {"values": [[8], [16, 8], [32]]},
    "dropout": {"low": 0.0, "high": 0.6, "step": 0.1},
    "layers": {"low": 1, "high": 7, "step": 2},
}


def loss(parameters: dict[str, Any]) -> float:
    return abs(np.log10(parameters["lr"]) + 2) + parameters["dropout"] + 0.1 * parameters["layers"]


def defined(sampler: dict[str, Any]) -> Definition:
    return parse(external(SPACE, sampler={"seed": SEED, **sampler}))


def stock(sampler_class: Any, **options: Any) -> list[dict[str, Any]]:
    """The proposals of Optuna alone, with a new sampler for each trial."""
    study = optuna.create_study()
    proposals = []
    for number in range(TRIALS):
        study.sampler = sampler_class(seed=seed_of(SEED, number), **options)
        trial = study.ask()
        parameters: dict[str, Any] = {
            "lr": trial.suggest_float("lr", 1e-4, 0.1, log=True),
            "optimizer": trial.suggest_categorical("optimizer", ["adam", "sgd"]),
        }
        if parameters["optimizer"] == "sgd":
            parameters["momentum"] = trial.suggest_float("momentum", 0.0, 0.9)
        parameters["hidden"] = trial.suggest_categorical("hidden", ["[8]", "[16,8]", "[32]"])
        parameters["dropout"] = trial.suggest_float("dropout", 0.0, 0.6, step=0.1)
        parameters["layers"] = trial.suggest_int("layers", 1, 7, step=2)
        study.tell(trial, loss(parameters))
        proposals.append(parameters)
    return proposals


def ours(definition: Definition, rebuild_every: int) -> list[dict[str, Any]]:
    """The same through our parts. The study is made anew, from our parameters, every so many trials."""
    space = Space(definition.parameters)
    rows: list[tuple[dict[str, Any], float, dict[str, Any]]] = []
    proposals = []
    for number in range(TRIALS):
        if number % rebuild_every == 0:
            study = optuna.create_study(sampler=make_sampler(definition))
            for parameters, value, attributes in rows:
                params, distributions = space.internal(parameters)
                study.add_trial(
                    create_trial(value=value, params=params, distributions=distributions, system_attrs=attributes)
                )
        reseed(study.sampler, SEED, number)
        trial = study.ask()
        parameters = space.suggest(trial)
        proposals.append(dict(trial.params))
        rows.append((parameters, loss(trial.params), dict(study.get_trials()[number].system_attrs)))
        study.tell(trial, loss(trial.params))
    return proposals


@pytest.mark.parametrize("rebuild_every", [TRIALS, 7, 1])
@pytest.mark.parametrize(
    ("sampler", "sampler_class"),
    [
        ({"name": "random"}, RandomSampler),
        ({"name": "tpe"}, TPESampler),
        ({"name": "tpe", "multivariate": False, "n_startup_trials": 4, "n_ei_candidates": 8}, TPESampler),
    ],
)
def test_proposals_are_those_of_optuna_whether_or_not_the_study_is_rebuilt(
    sampler: dict[str, Any], sampler_class: Any, rebuild_every: int
) -> None:
    options = {key: value for key, value in sampler.items() if key != "name"}

    assert ours(defined(sampler), rebuild_every) == stock(sampler_class, **options)


def test_trials_that_are_asked_for_before_any_has_ended_are_those_of_optuna() -> None:
    definition = parse(external({"x": {"low": 0.0, "high": 1.0}}, sampler={"name": "qmc", "seed": SEED}))
    study = optuna.create_study(sampler=make_sampler(definition))
    expected = []
    for number in range(5):
        reseed(study.sampler, SEED, number)
        expected.append({"x": study.ask().suggest_float("x", 0.0, 1.0)})
    ours = OptunaStudy(definition)

    # After the first one, which chance draws, the van der Corput sequence: 0, 1/2, 3/4, 1/4.
    assert [each["x"] for each in expected[1:]] == [0.0, 0.5, 0.75, 0.25]
    assert [ours.propose().parameters for _ in range(5)] == expected


@pytest.mark.parametrize("sampler", [{"name": "tpe", "n_startup_trials": 3}, {"name": "qmc"}, {"name": "auto"}])
def test_trials_that_wait_at_a_rung_teach_the_same_before_and_after_a_restart(sampler: dict[str, Any]) -> None:
    pruner = {"name": "asha", "max_resource": 9}
    definition = parse(external(SPACE, sampler={"seed": SEED, **sampler}, pruner=pruner))
    before, after = OptunaStudy(definition), OptunaStudy(definition)
    rows = []
    for _ in range(6):
        proposal = before.propose()
        before.report(proposal.number, 1, [value := loss(proposal.parameters)])
        before.park(proposal.number)
        attrs = before.system_attrs(proposal.number)
        rows.append(
            PastTrial(proposal.number, TrialState.PAUSED, proposal.parameters, None, attrs, intermediate={1: value})
        )
    after.load(rows, before.study_attrs)

    assert before.propose().parameters == after.propose().parameters


@pytest.mark.parametrize("sampler", [{"name": "tpe", "n_startup_trials": 3}, {"name": "nsga2", "population_size": 3}])
def test_trials_of_another_space_teach_nothing_while_they_wait_at_a_rung(sampler: dict[str, Any]) -> None:
    """As little as those that have failed: proposals begin as they would with these."""
    pruner = {"name": "asha", "max_resource": 9}
    definition = parse(external(SPACE, sampler={"seed": SEED, **sampler}, pruner=pruner))
    elsewhere: dict[str, Any] = {"parameters": {"lr": 1.0}, "is_of_this_space": False}
    rung = {RUNGS: {"values": [[0.5]], "promotions": 0}}
    waiting, failed = OptunaStudy(definition), OptunaStudy(definition)
    held: dict[str, Any] = {"state": TrialState.PAUSED, "system_attrs": rung, "intermediate": {1: 0.5}}
    waiting.load([PastTrial(number, **held, **elsewhere) for number in range(6)], {})
    failed.load([PastTrial(number, state=TrialState.FAILED, **elsewhere) for number in range(6)], {})
    found = []
    for study in (waiting, failed):
        for _ in range(5):
            proposal = study.propose()
            study.finish(proposal.number, TrialState.COMPLETE, [loss(proposal.parameters)])
            found.append(proposal.parameters)

    assert found[:5] == found[5:]


@pytest.mark.parametrize(
    ("sampler", "told"), [("tpe", {"device memory": 1.0}), ("nsga2", {"device memory": 1.0}), ("cmaes", {}), ("gp", {})]
)
def test_what_single_trials_break_is_told_to_samplers_that_can_take_it(sampler: str, told: dict[str, float]) -> None:
    ours = OptunaStudy(parse(external({"x": {"low": 0.0, "high": 1.0}}, sampler={"name": sampler, "seed": SEED})))
    number = ours.propose().number
    ours.finish(number, TrialState.PRUNED, None, {"device memory": 1.0})

    assert ours.constraints(number) == told


@pytest.mark.parametrize(
    ("direction", "complete", "reported", "worst"), [("minimize", 1.0, 9.0, 9.0), ("maximize", 1.0, 9.0, 1.0)]
)
def test_a_diverged_trial_counts_as_the_worst_of_all_and_of_what_it_reported_itself(
    direction: str, complete: float, reported: float, worst: float
) -> None:
    objective = {"metric": "val/loss", "direction": direction}
    sampler = {"name": "cmaes", "seed": SEED}
    ours = OptunaStudy(parse(external({"x": {"low": 0.0, "high": 1.0}}, objective=objective, sampler=sampler)))
    first, second = ours.propose().number, ours.propose().number
    ours.finish(first, TrialState.COMPLETE, [complete])
    ours.report(second, 1, [reported])
    ours.count_as_worst(second)

    assert ours.system_attrs(second)[WORST] == [worst]


def test_random_values_are_those_of_optuna_in_their_types_too() -> None:
    study = optuna.create_study()
    trial = create_trial(value=0.0)
    samplers = SwiftRandomSampler(3), RandomSampler(3)
    for distribution in [each for space in SPACES.values() for each in space.values()] * 20:
        drawn = [each.sample_independent(study, trial, repr(distribution), distribution) for each in samplers]
        assert drawn[0] == drawn[1]
        assert type(drawn[0]) is type(drawn[1])


def test_grouped_tpe_is_made_without_a_warning():
    assert ours(defined({"name": "tpe", "group": True}), 7) == ours(defined({"name": "tpe", "group": True}), TRIALS)


def test_trials_have_different_seeds_and_so_have_studies():
    seeds = {seed_of(study, number) for study in range(10) for number in range(100)}

    assert len(seeds) == 1000
    assert seed_of(7, 3) == np.random.SeedSequence((7, 3)).generate_state(1)[0]  # stored studies rely on it


def test_the_pruner_is_the_one_that_was_asked_for():
    assert isinstance(make_pruner(parse(train())), optuna.pruners.NopPruner)
    assert isinstance(make_pruner(parse(train(pruner={"name": "median"}))), optuna.pruners.MedianPruner)


def test_the_median_pruner_stops_the_worse_half_with_its_options():
    median = {"name": "median", "n_startup_trials": 2, "n_warmup_steps": 3}
    definition = parse(external({"x": {"low": 0.0, "high": 1.0}}, pruner=median))
    study = optuna.create_study(pruner=make_pruner(definition))
    for value in (1.0, 3.0):  # the median is 2 at every step
        study.add_trial(create_trial(value=value, intermediate_values=dict.fromkeys(range(5), value)))

    trial = study.ask()
    trial.report(2.5, 2)
    assert not trial.should_prune()  # still warming up
    trial.report(2.5, 3)
    assert trial.should_prune()


@pytest.mark.parametrize(
    ("number", "bracket"),
    [
        # Hyperband(1, 27, 3) shares trials out by crc32 over the budgets [27, 12, 6, 4], 49 in all: 27, 39, 45, 49
        (1, 1),  # crc32(b"s_1") % 49 = 31, 27 <= 31 < 39
        (0, 2),  # crc32(b"s_0") % 49 = 43, 39 <= 43 < 45
        (3, 3),  # crc32(b"s_3") % 49 = 48, 45 <= 48 < 49
    ],
)
def test_hyperband_deals_trials_to_brackets_by_name_and_number(number: int, bracket: int) -> None:
    hyperband = {"name": "hyperband", "min_resource": 1, "max_resource": 27, "reduction_factor": 3}
    pruner = make_pruner(parse(external({"x": {"low": 0.0, "high": 1.0}}, pruner=hyperband)))
    assert isinstance(pruner, optuna.pruners.HyperbandPruner)
    study = optuna.create_study(study_name="s", pruner=pruner)
    trials = [study.ask() for _ in range(number + 1)]
    trials[-1].report(1.0, 1)
    trials[-1].should_prune()

    assert pruner._get_bracket_id(study, study.get_trials()[number]) == bracket
