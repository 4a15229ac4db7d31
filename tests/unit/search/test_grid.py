from __future__ import annotations

import time
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.definition import parse
from search.grid import CANCELLED, GridSampler
from search.pruners import make_pruner
from search.samplers import make_sampler
from search.space import Space
from store.errors import Conflict
from tests.unit.search.documents import external

GRID = {"a": {"values": ["x", "y"]}, "k": {"value": 3}, "b": {"low": 0, "high": 4, "step": 2}}
CELLS = [(a, b) for a in "xy" for b in (0, 2, 4)]  # the first parameter turns slowest


class Search:
    """A grid study, driven as the scheduler does it."""

    def __init__(self, entries: dict[str, Any], retries: int = 0) -> None:
        document = external(entries, sampler={"name": "grid", "seed": 1}, budget={"trials": 100, "retries": retries})
        self.definition = parse(document)
        self.space = Space(self.definition.parameters)
        self.rebuild([])

    def rebuild(self, trials: list[FrozenTrial]) -> None:
        sampler = make_sampler(self.definition)
        assert isinstance(sampler, GridSampler)
        self.sampler = sampler
        self.study = optuna.create_study(sampler=sampler)
        self.study.add_trials(trials)

    def restart(self) -> None:
        """Forget everything but the trials, which are loaded from their parameters."""
        rows = [(self.space.external(each.params), each) for each in self.study.get_trials(deepcopy=False)]
        loaded = []
        for parameters, each in rows:
            params, distributions = self.space.internal(parameters)
            value = 0.0 if each.state is TrialState.COMPLETE else None
            loaded.append(create_trial(state=each.state, value=value, params=params, distributions=distributions))
        self.rebuild(loaded)

    def ask(self) -> tuple[optuna.Trial, dict[str, Any]]:
        trial = self.study.ask()
        return trial, self.space.suggest(trial)

    def run(self, fail: tuple[int, ...] = (), restart: bool = False) -> list[dict[str, Any]]:
        """Ask until the grid is exhausted; the trials with these numbers fail."""
        proposed = []
        while not self.sampler.is_exhausted(self.study):
            trial, parameters = self.ask()
            proposed.append(parameters)
            failed = trial.number in fail
            self.study.tell(trial, None if failed else 0.0, TrialState.FAIL if failed else None)
            if restart:
                self.restart()
        return proposed


@pytest.mark.parametrize("restart", [False, True])
def test_every_cell_comes_once_in_order(restart: bool) -> None:
    proposed = Search(GRID).run(restart=restart)

    assert proposed == [{"a": a, "k": 3, "b": b} for a, b in CELLS]


def test_a_cell_that_runs_is_not_proposed_again():
    search = Search(GRID)
    running = [search.ask()[1] for _ in range(4)]
    search.restart()

    rest = search.run()

    assert [(each["a"], each["b"]) for each in running + rest] == CELLS


@pytest.mark.parametrize("restart", [False, True])
def test_a_failed_cell_is_tried_again_after_the_others(restart: bool) -> None:
    # trial 1 is cell (x, 2); its repeats are trials 6 and 7, of which 6 fails too
    proposed = Search(GRID, retries=2).run(fail=(1, 6), restart=restart)

    assert [(each["a"], each["b"]) for each in proposed] == [*CELLS, ("x", 2), ("x", 2)]


@pytest.mark.parametrize("restart", [False, True])
def test_failed_cells_are_tried_again_in_the_order_in_which_they_failed_first(restart: bool) -> None:
    proposed = Search(GRID, retries=2).run(fail=(1, 4, 6), restart=restart)

    assert [(each["a"], each["b"]) for each in proposed] == [*CELLS, CELLS[1], CELLS[1], CELLS[4]]


def test_a_cell_is_given_up_after_its_retries():
    proposed = Search(GRID, retries=1).run(fail=(1, 6, 7))

    assert [(each["a"], each["b"]) for each in proposed] == [*CELLS, ("x", 2)]


def test_a_cancelled_cell_is_not_tried_again():
    search = Search(GRID, retries=2)
    trial, _ = search.ask()
    search.study._storage.set_trial_system_attr(trial._trial_id, CANCELLED, True)
    search.study.tell(trial, state=TrialState.FAIL)

    assert [(each["a"], each["b"]) for each in search.run()] == CELLS[1:]


def test_a_point_that_a_person_enqueued_counts_as_its_cell():
    search = Search(GRID)
    search.study.enqueue_trial({"a": "y", "b": 0})
    first = search.ask()[1]

    assert first == {"a": "y", "k": 3, "b": 0}
    assert [(each["a"], each["b"]) for each in search.run()] == [cell for cell in CELLS if cell != ("y", 0)]


def test_cells_that_differ_only_in_inactive_parameters_are_one():
    entries = {
        "optimizer": {"values": ["adam", "sgd"]},
        "momentum": {"low": 0.0, "high": 0.6, "step": 0.3, "when": {"optimizer": "sgd"}},
        "nesterov": {"values": [False, True], "when": {"momentum": [0.3, 0.6]}},
    }
    search = Search(entries)

    proposed = search.run(restart=True)

    assert proposed == [
        {"optimizer": "adam"},
        {"optimizer": "sgd", "momentum": 0.0},
        {"optimizer": "sgd", "momentum": 0.3, "nesterov": False},
        {"optimizer": "sgd", "momentum": 0.3, "nesterov": True},
        {"optimizer": "sgd", "momentum": 0.6, "nesterov": False},
        {"optimizer": "sgd", "momentum": 0.6, "nesterov": True},
    ]
    assert search.space.size == len(proposed)


def test_hyperband_beside_it_hides_no_trials():
    document = external(GRID, sampler={"name": "grid"}, pruner={"name": "hyperband", "max_resource": 27}, budget={})
    search = Search(GRID)
    search.study.pruner = make_pruner(parse(document))
    trial, _ = search.ask()
    trial.report(1.0, 1)
    trial.should_prune()  # from here on there are brackets

    rest = [search.ask()[1] for _ in CELLS[1:]]

    assert [(each["a"], each["b"]) for each in rest] == CELLS[1:]


def test_a_space_of_constants_has_one_point():
    assert Search({"a": {"value": 1}}).run() == [{"a": 1}]


def test_an_exhausted_grid_refuses():
    search = Search({"a": {"values": [1]}})
    search.run()

    with pytest.raises(Conflict, match="exhausted"):
        search.study.ask()


def test_a_vast_grid_costs_nothing_until_it_runs():
    started = time.perf_counter()

    search = Search({f"p{k}": {"low": 0, "high": 999} for k in range(4)})
    first, second = search.ask()[1], search.ask()[1]

    assert time.perf_counter() - started < 5  # 10^12 cells
    assert first == {"p0": 0, "p1": 0, "p2": 0, "p3": 0}
    assert second == {"p0": 0, "p1": 0, "p2": 0, "p3": 1}
