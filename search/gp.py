"""The half of Optuna's GPSampler that stays with the study; the other computes in a process of its own.

GPSampler fits Gaussian processes with PyTorch, which takes seconds and the scheduler does not load. What it needs to
know is put into a question, and until that is answered (`search/gp_process.py`) the study waits for its next proposal.
The proposal is the one that GPSampler makes in one piece: it depends on the history, the seed of the trial and the
kernels of the fit before, where the next one begins. These are kept with the study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

KERNELS = "trialyard:gp"  # the study's system attribute: the kernels of the newest fit

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Question:
    """Which relative parameters the sampler proposes for a trial.

    `body` is JSON for the process that computes, `take` what its answer is given to.
    """

    number: int
    space: Mapping[str, BaseDistribution]
    body: Mapping[str, Any]
    take: Callable[[Question, Mapping[str, Any]], None]


class GpSampler(BaseSampler):
    """Call `is_ready` before each `study.ask()`; while it is not, put its `question`."""

    def __init__(self, seed: int, options: Mapping[str, Any], constraints: int) -> None:
        """`constraints`: how many each complete trial must have, for the sampler to look at it."""
        self.independent_sampler = RandomSampler(seed=seed)
        self.question: Question | None = None
        self._options = dict(options)
        self._constraints = constraints
        self._intersection = IntersectionSearchSpace()
        self._ready: int | None = None  # the trial that needs no answer, or has it
        self._space: Mapping[str, BaseDistribution] = {}
        self._parameters: Mapping[str, Any] = {}
        self._kernels: Mapping[str, Any] = {}

    def is_ready(self, study: Study, number: int, seed: int) -> bool:
        """Whether the trial with this number can be asked for now; if not, there is a question."""
        if self._ready == number:
            return True
        if self.question is not None and self.question.number == number:
            return False
        self._space, self._parameters = {}, {}
        self.question = self._ask(study, number, seed)
        if self.question is None:
            self._ready = number
        return self.question is None

    def forget(self) -> None:
        """A trial comes before the one that was asked about: its own proposal is not computed."""
        self._space, self._parameters = {}, {}

    def take(self, question: Question, answer: Mapping[str, Any]) -> None:
        """The answer to a question; what is no longer asked is passed over."""
        if question is not self.question:
            return
        self.question, self._ready = None, question.number
        if "error" in answer:
            log.error("the gaussian process failed; the trial is drawn at random", error=answer["error"])
            return
        self._space, self._parameters = question.space, answer["parameters"]
        self._kernels = {key: answer[key] for key in ("kernels", "constraint_kernels")}

    @override
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._space)

    @override
    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What was answered, once: for the same history there is no second proposal, and another draw is random."""
        parameters, self._space, self._parameters = dict(self._parameters), {}, {}
        if parameters:
            study._storage.set_study_system_attr(study._study_id, KERNELS, self._kernels)
        return parameters

    @override
    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self.independent_sampler.sample_independent(study, trial, param_name, param_distribution)

    def _ask(self, study: Study, number: int, seed: int) -> Question | None:
        """The question for a trial; None while the sampler draws at random."""
        space = {name: each for name, each in self._intersection.calculate(study).items() if not each.single()}
        trials = study._get_trials(deepcopy=False, states=None, use_cache=False)
        complete = [each for each in trials if each.state is TrialState.COMPLETE and self._is_complete(each)]
        if not space or len(complete) < max(1, self._options.get("n_startup_trials", 10)):
            return None
        running = [each for each in trials if each.state is TrialState.RUNNING and space.keys() <= each.params.keys()]
        known = study._storage.get_study_system_attrs(study._study_id).get(KERNELS, {})
        body = {
            "directions": [direction.name.lower() for direction in study.directions],
            "options": self._options,
            "seed": seed,
            "space": {name: distribution_to_json(each) for name, each in space.items()},
            "trials": [_told(each, space) for each in (*complete, *running)],
            "kernels": known.get("kernels"),
            "constraint_kernels": known.get("constraint_kernels"),
        }
        return Question(number, space, body, self.take)

    def _is_complete(self, trial: FrozenTrial) -> bool:
        """Trials that came to nothing, and those of another study, have none of the constraints' values."""
        return len(trial.constraints) == self._constraints


def _told(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    values = trial.values if trial.state is TrialState.COMPLETE else None
    parameters = [trial.params[name] for name in space]
    return {"values": values, "parameters": parameters, "constraints": list(trial.constraints.values())}
