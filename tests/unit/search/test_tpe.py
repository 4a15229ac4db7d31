"""TPE over arrays proposes what Optuna's own TPE proposes, whatever has become of the trials before."""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.candidates import Candidates
from search.tpe import HistoryTPESampler

Space = dict[str, FloatDistribution | IntDistribution | CategoricalDistribution]

SPACES: dict[str, Space] = {
    "floats": {f"x{place}": FloatDistribution(0.0, 1.0) for place in range(5)},
    "mixed": {
        "lr": FloatDistribution(1e-5, 1e-1, log=True),
        "momentum": FloatDistribution(0.0, 0.99),
        "dropout": FloatDistribution(0.0, 0.6, step=0.1),
        "optimizer": CategoricalDistribution(["adam", "sgd", "rmsprop"]),
        "batch": IntDistribution(16, 256, log=True),
        "layers": IntDistribution(1, 6),
    },
    "choices": {"a": CategoricalDistribution([True, False]), "b": CategoricalDistribution(["u", "v", "w", "x"])},
    "one": {"n": IntDistribution(1, 9, step=2)},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "independent": {"multivariate": False},
    "grouped": {"multivariate": True, "group": True},
    "truthful": {"constant_liar": False},
    "few candidates": {"n_ei_candidates": 2, "n_startup_trials": 3},
}


def value_of(params: dict[str, Any]) -> float:
    return sum(len(each) / 9 if isinstance(each, str) else math.log10(1 + abs(each)) for each in params.values())


class Search:
    """A study driven by ask and tell, in which trials run side by side and come to every kind of end."""

    def __init__(self, sampler: TPESampler, space: Space, conditional: bool, seed: int) -> None:
        self.study = optuna.create_study(direction=("minimize", "maximize")[seed % 2], sampler=sampler)
        self._space = space
        self._conditional = conditional
        self._random = random.Random(seed)
        self._running: list[optuna.Trial] = []

    def proposals(self, count: int) -> Iterator[dict[str, Any]]:
        for _ in range(count):
            trial = self.study.ask()
            for name, distribution in self._space.items():
                trial._suggest(name, distribution)
            if self._conditional and self._random.random() < 0.5:
                trial.suggest_float("sometimes", 0.0, 1.0)
            self._running.append(trial)
            while len(self._running) > self._random.randint(0, 6):
                self._end(self._running.pop(self._random.randrange(len(self._running))))
            yield dict(trial.params)

    def _end(self, trial: optuna.Trial) -> None:
        value = round(value_of(trial.params) + self._random.random(), self._random.choice([1, 9]))  # some are equal
        if self._random.random() < 0.1:
            trial.set_constraint("c", self._random.random() - 0.5)
        match self._random.random():
            case chance if chance < 0.25:
                for step in range(self._random.randint(0, 3)):
                    trial.report(self._random.choice([value, math.nan]), step)
                self.study.tell(trial, state=TrialState.PRUNED)
            case chance if chance < 0.32:
                self.study.tell(trial, state=TrialState.FAIL)
            case _:
                self.study.tell(trial, value)


def past(space: Space, count: int) -> list[FrozenTrial]:
    """Finished trials drawn at random."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    drawn = [study.ask(space).params for _ in range(count)]
    return [
        create_trial(params=params, distributions=space, value=value_of(params) + 0.01 * number)
        for number, params in enumerate(drawn)
    ]


def search(
    sampler_class: type[TPESampler], space: Space, seed: int = 0, conditional: bool = False, **options: Any
) -> Search:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return Search(sampler_class(seed=seed, **options), space, conditional, seed)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("space", SPACES)
def test_proposals_are_optunas_from_the_first_trial_on(space: str, options: str) -> None:
    seed = len(space + options)  # odd and even: both directions occur
    ours, stock = (
        search(each, SPACES[space], seed, conditional=True, **OPTIONS[options])
        for each in (HistoryTPESampler, TPESampler)
    )
    assert list(ours.proposals(60)) == list(stock.proposals(60))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("space", SPACES)
def test_proposals_are_optunas_after_a_long_history(space: str, options: str) -> None:
    ours, stock = (search(each, SPACES[space], **OPTIONS[options]) for each in (HistoryTPESampler, TPESampler))
    for each in (ours, stock):
        each.study.add_trials(past(SPACES[space], 300))

    assert list(ours.proposals(15)) == list(stock.proposals(15))


def test_proposals_are_optunas_while_many_trials_run() -> None:
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        study = optuna.create_study(sampler=sampler_class(seed=4))
        study.add_trials(past(SPACES["floats"], 90))  # they come to move kernel by kernel on the way
        running, draws = [study.ask(SPACES["floats"]) for _ in range(32)], random.Random(4)
        for _ in range(40):
            trial = running.pop(draws.randrange(32))
            study.tell(trial, value_of(trial.params))
            running.append(study.ask(SPACES["floats"]))
        proposals.append([trial.params for trial in running])

    assert proposals[0] == proposals[1]


def test_proposals_are_optunas_with_so_many_parameters_that_its_error_function_is_another_one() -> None:
    space: Space = {f"x{place}": FloatDistribution(0.0, 1.0) for place in range(100)}
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        study = optuna.create_study(sampler=sampler_class(seed=3))
        study.add_trials(past(space, 40))
        proposals.append([study.ask(space).params for _ in range(4)])

    assert proposals[0] == proposals[1]


@pytest.mark.parametrize("space", ["floats", "mixed"])
def test_proposals_are_optunas_where_good_trials_are_equal_and_at_an_edge(space: str) -> None:
    given = {
        name: each.choices[0] if isinstance(each, CategoricalDistribution) else each.low
        for name, each in SPACES[space].items()
    }
    same = [create_trial(params=given, distributions=SPACES[space], value=-10.0) for _ in range(2)]
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        study = optuna.create_study(sampler=sampler_class(seed=4))
        study.add_trials(past(SPACES[space], 110) + same)
        proposals.append([study.ask(SPACES[space]).params for _ in range(20)])

    assert proposals[0] == proposals[1]


def test_proposals_are_optunas_where_candidates_are_as_good_but_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that has settled draws most of its candidates where no other trial is left to be compared with."""
    space = SPACES["floats"]
    settled = optuna.create_study(sampler=HistoryTPESampler(seed=4))
    settled.add_trials(past(space, 2_000))
    for _ in range(1_200):
        trial = settled.ask(space)
        settled.tell(trial, sum((value - 0.3) ** 2 for value in trial.params.values()) - 10)
    asked: list[int] = []
    exactly = Candidates.exactly
    monkeypatch.setattr(Candidates, "exactly", lambda self: asked.append(1) or exactly(self))
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        study = optuna.create_study(sampler=sampler_class(seed=0))
        study.add_trials(settled.get_trials(deepcopy=False))
        proposals.append([study.ask(space).params for _ in range(20)])

    assert proposals[0] == proposals[1]
    assert asked  # else nothing was that close


def test_a_study_that_is_loaded_again_goes_on_alike() -> None:
    first = search(HistoryTPESampler, SPACES["mixed"], conditional=True)
    list(first.proposals(100))
    loaded = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        again = search(sampler_class, SPACES["mixed"], seed=3, conditional=True)
        again.study.add_trials(first.study.get_trials())
        loaded.append(list(again.proposals(10)))

    assert loaded[0] == loaded[1]


@pytest.mark.parametrize(
    ("trials", "was", "becomes"),
    [
        (40, max, -9.0),
        (41, min, 99.0),  # without it there is one good trial less, and none that comes in its place
    ],
)
def test_a_finished_trial_may_be_taken_up_again_and_end_otherwise(
    trials: int, was: Callable[..., FrozenTrial], becomes: float
) -> None:
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        sampler = sampler_class(seed=2)
        study = optuna.create_study(sampler=sampler)
        study.add_trials(past(SPACES["mixed"], trials))
        complete = study.get_trials(states=[TrialState.COMPLETE])
        number = was(complete, key=lambda trial: trial.value).number
        found = [study.ask(SPACES["mixed"]).params]
        for state, value in ((TrialState.RUNNING, None), (TrialState.COMPLETE, becomes)):
            again = copy.copy(study._storage.get_trial(number))
            again.state, again.value = state, value
            study._storage._set_trial(number, again)  # type: ignore[attr-defined]
            if isinstance(sampler, HistoryTPESampler):
                sampler.reconsider(number)
            found += [study.ask(SPACES["mixed"]).params for _ in range(5)]
        proposals.append(found)

    assert proposals[0] == proposals[1]


def test_a_trial_that_fails_and_runs_again_is_a_bad_one_again() -> None:
    """Also where nothing that it has was proposed in between: then its density has not seen that it had ended."""
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        sampler = sampler_class(seed=2, multivariate=False, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        study.add_trials(past(SPACES["floats"], 30))
        rerun = study.ask(SPACES["floats"])
        found = [study.ask(SPACES["floats"]).params]
        study.tell(rerun, state=TrialState.FAIL)
        found.append(study.ask({"x4": SPACES["floats"]["x4"]}).params)
        again = copy.copy(study._storage.get_trial(rerun._trial_id))
        again.state = TrialState.RUNNING
        study._storage._set_trial(rerun._trial_id, again)  # type: ignore[attr-defined]
        if isinstance(sampler, HistoryTPESampler):
            sampler.reconsider(rerun.number)
        found += [study.ask(SPACES["floats"]).params for _ in range(5)]
        proposals.append(found)

    assert proposals[0] == proposals[1]


def test_a_range_may_be_another_one_under_the_same_name() -> None:
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        study = optuna.create_study(sampler=sampler_class(seed=2, multivariate=False))
        study.add_trials(past({"x": FloatDistribution(0.0, 1.0)}, 30))
        proposals.append([study.ask({"x": FloatDistribution(0.0, high)}).params for high in (1.0, 4.0, 0.5)])

    assert proposals[0] == proposals[1]


def test_several_objectives_are_left_to_optuna() -> None:
    proposals = []
    for sampler_class in (HistoryTPESampler, TPESampler):
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler_class(seed=1))
        for _ in range(20):
            trial = study.ask(SPACES["mixed"])
            study.tell(trial, [value_of(trial.params), trial.params["lr"]])
        proposals.append([trial.params for trial in study.get_trials()])

    assert proposals[0] == proposals[1]
