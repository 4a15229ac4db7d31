"""A search on a simulated clock: workers that train side by side, and between them the scheduler's own study."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.curves import Problem, Training
from search.definition import parse
from search.optuna_study import OptunaStudy
from store.models import TrialState


@dataclass
class _Trial:
    number: int
    training: Training
    seconds: float  # of an epoch
    epoch: int = 0


def search(problem: Problem, sections: Mapping[str, Any], seed: int, workers: int, marks: Sequence[int]) -> list[float]:
    """Search until the last of `marks` epochs are spent by all workers together.

    Returns:
        At each mark, the score of what a person would take then: the best trial that came to its end, and before one
        has, the whole training of the trial whose last value is best.
    """
    run = _Run(problem, sections, seed)
    clock = [(0.0, worker, run.begin()) for worker in range(workers)]
    heapq.heapify(clock)
    found = []
    for mark in marks:
        while run.spent < mark:
            now, worker, trial = clock[0]
            trial = trial if run.step(trial) else run.begin()
            heapq.heapreplace(clock, (now + trial.seconds, worker, trial))
        found.append(run.score())
    return found


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
        self._best: tuple[bool, float, float] | None = None  # whether it is unfinished, its value, its score
        self.spent = 0

    def begin(self) -> _Trial:
        """The trial for a worker that is free: one to promote, else a new one."""
        number = self._study.next_promotion()
        if number is not None:
            self._study.promote(number)
            return self._trials[number]
        proposal = self._study.propose()
        draws = np.random.default_rng([self._seed, proposal.number])
        training = self._problem.train(proposal.parameters, int(draws.integers(2**31)))
        trial = _Trial(proposal.number, training, seconds=float(draws.uniform(0.6, 1.4)))
        self._trials[trial.number] = trial
        return trial

    def step(self, trial: _Trial) -> bool:
        """Train one epoch; whether the worker goes on with this trial."""
        value = trial.training.values[trial.epoch]
        trial.epoch += 1
        self.spent += 1
        ended = trial.epoch == self._problem.epochs
        self._best = min(filter(None, (self._best, (not ended, self._sign * value, trial.training.score))))
        self._study.report(trial.number, trial.epoch, [value])
        decision = self._study.standing(trial.number)
        if ended:
            self._study.finish(trial.number, TrialState.COMPLETE, [value])
        elif decision == "prune":
            self._study.finish(trial.number, TrialState.PRUNED)
        elif decision == "pause":
            self._study.park(trial.number)
        return decision == "continue" and not ended

    def score(self) -> float:
        return self._best[2] if self._best else float("inf")
