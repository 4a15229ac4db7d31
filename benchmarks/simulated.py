"""A search on a simulated clock: workers that train side by side, and between them the scheduler's own study."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.curves import Problem, Trained
from search.definition import parse
from search.optuna_study import OptunaStudy
from search.racing import left
from store.models import TrialState

SEEDS = 2  # further ones, of each trial in a race: the tables have three trainings of a configuration


@dataclass
class _Trial:
    number: int
    parameters: Mapping[str, Any]
    seed: int
    training: Trained
    seconds: float  # of an epoch
    epoch: int = 0


def search(
    problem: Problem,
    sections: Mapping[str, Any],
    seed: int,
    workers: int,
    marks: Sequence[int],
    race: float = 0.0,
) -> list[float]:
    """Search until the last of `marks` epochs are spent by all workers together.

    Args:
        race: the share of the epochs that at each mark has gone to training the best trials again from other seeds, as
            `rescore` does; there is none where it does not pay for two of them.

    Returns:
        At each mark, the score of what a person would take then: the best trial that came to its end, and before one
        has, the whole training of the trial whose last value is best; after a race, its winner.
    """
    run = _Run(problem, sections, seed)
    clock = [(0.0, worker, run.next()) for worker in range(workers)]
    heapq.heapify(clock)
    found = []
    for mark in marks:
        racers = int(race * mark / (SEEDS * problem.epochs))
        racers = racers if racers > 1 else 0
        while run.spent < mark - racers * SEEDS * problem.epochs:
            now, worker, trial = clock[0]
            trial = trial if run.step(trial) else run.next()
            heapq.heapreplace(clock, (now + trial.seconds, worker, trial))
        found.append(run.race(racers) if racers else run.score())
    return found


class Outcome(NamedTuple):
    """What a study of some trials came to: the score of its best, what it spent, how many trials are complete."""

    score: float
    epochs: int
    complete: int


def whole(problem: Problem, sections: Mapping[str, Any], seed: int, workers: int, trials: int) -> Outcome:
    """Search until so many trials have been made and none of them goes on."""
    run = _Run(problem, sections, seed)
    clock: list[tuple[float, int, _Trial]] = []
    idle, now = list(range(workers)), 0.0
    while True:
        while idle and (trial := run.begin(is_last=run.made == trials)) is not None:
            heapq.heappush(clock, (now + trial.seconds, idle.pop(), trial))
        if not clock:
            return Outcome(run.score(), run.spent, run.complete)
        now, worker, trial = heapq.heappop(clock)
        if run.step(trial):
            heapq.heappush(clock, (now + trial.seconds, worker, trial))
        else:
            idle.append(worker)


class _Run:
    def __init__(self, problem: Problem, sections: Mapping[str, Any], seed: int) -> None:
        document = {
            "name": f"search-{seed}",
            "objective": {"metric": "value", "direction": problem.direction},
            "parameters": dict(problem.parameters),
            "budget": {"trials": 1_000_000},
            "trial": {"kind": "external"},
            **sections,
        }
        document["sampler"] = {**document["sampler"], "seed": seed}
        self._problem = problem
        self._seed = seed
        self._sign = 1 if problem.direction == "minimize" else -1
        self._study = OptunaStudy(parse(document))
        self._trials: dict[int, _Trial] = {}
        self._best: tuple[bool, float, int] | None = None  # whether it is unfinished, its value, its number
        self.spent = self.made = self.complete = 0

    def next(self) -> _Trial:
        """The trial for a worker that is free, of a search without end."""
        return self.begin() or self._propose()

    def begin(self, is_last: bool = False) -> _Trial | None:
        """The trial for a worker that is free: one to promote, else a new one; none, if that can be none."""
        number = self._study.next_promotion(is_last)
        if number is not None:
            self._study.promote(number)
            return self._trials[number]
        return None if is_last else self._propose()

    def _propose(self) -> _Trial:
        self.made += 1
        proposal = self._study.propose()
        draws = np.random.default_rng([self._seed, proposal.number])
        seed = int(draws.integers(2**31))
        training = self._problem.train(proposal.parameters, seed)
        trial = _Trial(proposal.number, proposal.parameters, seed, training, seconds=float(draws.uniform(0.6, 1.4)))
        self._trials[trial.number] = trial
        return trial

    def step(self, trial: _Trial) -> bool:
        """Train one epoch; whether the worker goes on with this trial."""
        value = trial.training.values[trial.epoch]
        trial.epoch += 1
        self.spent += 1
        ended = trial.epoch == self._problem.epochs
        self._best = min(filter(None, (self._best, (not ended, self._sign * value, trial.number))))
        self._study.report(trial.number, trial.epoch, [value])
        decision = self._study.standing(trial.number)
        if ended:
            self.complete += 1
            self._study.finish(trial.number, TrialState.COMPLETE, [value])
        elif decision == "prune":
            self._study.finish(trial.number, TrialState.PRUNED)
        elif decision == "pause":
            self._study.park(trial.number)
        return decision == "continue" and not ended

    def score(self) -> float:
        return self._trials[self._best[2]].training.score if self._best else float("inf")

    def race(self, most: int) -> float:
        """The score of who is best by further seeds, of so many complete trials; their epochs are not counted."""
        ended = [trial for trial in self._trials.values() if trial.epoch == self._problem.epochs]
        ended.sort(key=lambda trial: (self._sign * trial.training.values[-1], trial.number))
        distinct = dict[str, _Trial]()
        for trial in ended:
            distinct.setdefault(json.dumps(trial.parameters, sort_keys=True), trial)
        racers = list(distinct.values())[:most]
        values = {trial.number: [self._end(trial, further) for further in range(1, SEEDS + 1)] for trial in racers}
        return self._trials[left(values, self._problem.direction)[0]].training.score if values else self.score()

    def _end(self, trial: _Trial, further: int) -> float:
        return self._problem.train(trial.parameters, trial.seed + further).values[-1]
