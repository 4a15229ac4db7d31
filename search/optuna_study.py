"""Optuna as a proposal function: one in-memory study, rebuilt from SQL rows at start, driven by ask and tell.

Optuna keeps what its samplers and pruners remember in system attributes of trials and of the study; they are stored and
restored with these, and the generator is set anew before every proposal from (study seed, trial number). So a study
that was loaded again proposes and decides as if it had never stopped.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any, Literal

import optuna
from optuna.study._tell import _tell_with_warning
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search.asha import Rungs
from search.auto import AT_RANDOM, AutoSampler
from search.auto_rungs import UNCOMPARED, AutoRungs
from search.definition import Definition
from search.drawing import Drawing
from search.fitting import Fitting
from search.fold_pruner import FOLDS
from search.fronts import losses_of
from search.gp import GpSampler, Question
from search.grid import CANCELLED, GridSampler
from search.hindsight import StudySoFar, Window
from search.optuna_trials import (
    CONSTRAINTS,
    ENQUEUED,
    OPTUNA_STATE,
    WORST,
    PastTrial,
    Proposal,
    Storage,
    WarmTrial,
    begun,
    frozen,
    taught,
    worst_of,
)
from search.pruners import make_halving, make_population, make_pruner, make_rungs
from search.samplers import make_sampler, reseed, seed_of
from search.sorted_pruners import SortedMedianPruner
from search.space import Space
from search.stopping import Stopping
from search.tpe import HistoryTPESampler
from search.twins import Twins
from store.errors import Problem
from store.models import TrialState

FRONTS = "trialyard:fronts"  # a trial's system attribute: its losses at the rungs, of several objectives
RUNGS = "trialyard:rungs"  # a trial's system attribute: how far it has come under asha, or in a population
HOPELESS = "trialyard:hopeless"  # a trial's system attribute: the step at which the pruner decided that it ends
OF_AN_END = (CANCELLED, HOPELESS, WORST, CONSTRAINTS)  # what only a trial that has ended has among these
LEARNERS = ("auto", "tpe", "cmaes", "nsga2", "nsga3", "gp")  # samplers that propose by what complete trials came to


class OptunaStudy:
    """The trials of one study in the form that Optuna's samplers and pruners read.

    Warm trials come first in Optuna's study, so that its numbers are ours and so many more. A trial whose parameters
    are no point of the space any more has its place there too, without parameters: it teaches nothing.
    """

    def __init__(self, definition: Definition, warm: Sequence[WarmTrial] = ()) -> None:
        self._definition = definition
        self._space = Space(definition.parameters, definition.parameter_constraints)
        self._fitting = Fitting(definition)
        self.population = make_population(definition)
        self._rungs = self.population or make_rungs(definition)
        self._sampler = make_sampler(definition, self._rungs, self._space)
        self._pruner = make_pruner(definition, len(warm))
        self._halving = make_halving(definition)
        self._stopping = Stopping(definition, len(warm))
        self._storage = Storage()
        # Hyperband shares trials out over its brackets by the study's name and the trial's number.
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=definition.name,
            directions=[objective.direction for objective in definition.objectives],
            sampler=self._sampler,
            pruner=self._pruner,
        )
        self._drawing = Drawing(self._study, self._storage, self._space, definition.sampler.name)
        self._warm = len(warm)
        self._window = Window(definition.budget.parallel or 1) if definition.deterministic else None
        self._count = 0
        self._twins = Twins(definition)
        self.enqueued = 0  # how many of the trials are made that the study file puts first
        self._strangers: dict[int, bool] = {}  # trials that are no points of this space, and whether they FAILED
        for each in warm:
            self._storage.append(self._study._study_id, taught(self._space, each, self._fitting.point(each.parameters)))

    def load(self, trials: Iterable[PastTrial], study_attrs: Mapping[str, Any]) -> None:
        """Add stored trials, all of them, in the order of their numbers from 0, and what is remembered of the study."""
        for key, value in study_attrs.items():
            self._storage.set_study_system_attr(self._study._study_id, key, value)
        self.enqueued = study_attrs.get(ENQUEUED, 0)
        if self._window is not None:
            trials = list(trials)
            self._window.skip([trial.state.ended for trial in trials])
        for trial in trials:
            if self._window is not None:
                trial = self._window.withhold(trial)
            point = trial.parameters if trial.is_of_this_space else self._fitting.point(trial.parameters)
            if point is None:
                self._strangers[trial.number] = trial.state is TrialState.FAILED
            else:
                self._twins.know(point)
                if trial.state is TrialState.COMPLETE:
                    self._twins.ended(trial.number, point)
            self._storage.append(self._study._study_id, frozen(self._space, trial, point))
            self._count += 1
            if self._halving is not None:
                self._halving.load(trial.number, trial.system_attrs.get(FRONTS, ()))
            if self.population is not None:
                self.population.enter(trial.number, trial.parameters)
            if self._rungs is not None and RUNGS in trial.system_attrs:
                self._rungs.load(trial.number, trial.system_attrs[RUNGS])
            if self._rungs is not None and trial.state.ended:  # also of one that came to its end without a report
                self._rungs.end(trial.number, trial.values[0] if trial.values else None)
            if trial.state is TrialState.PAUSED:
                self.park(trial.number)

    def check(self, parameters: Mapping[str, Any]) -> list[Problem]:
        """What keeps the sampler from making a point of the space of given parameters."""
        return self._space.check_given(parameters, self._definition.sampler.name)

    def count_outside(self, fitting: Fitting, failed: bool = False) -> int:
        """How many trials would be no points of another space; `failed`: also of those that FAILED."""
        trials = self._storage.get_all_trials(self._study._study_id, deepcopy=False)[self._warm :]
        points = [
            None if number in self._strangers else self._space.external(trial.params)
            for number, trial in enumerate(trials)
            if failed or not self._has_failed(number, trial)
        ]
        return sum(point is None or fitting.point(point) is None for point in points)

    def _has_failed(self, number: int, trial: FrozenTrial) -> bool:
        """For Optuna a trial that is no point of this space has FAILED however it ended, as one that was CANCELLED."""
        failed = trial.state is OptunaState.FAIL and CANCELLED not in trial.system_attrs
        return self._strangers.get(number, failed)

    @property
    def is_exhausted(self) -> bool:
        """Whether the sampler has nothing left to propose: only a grid ends by itself."""
        return isinstance(self._sampler, GridSampler) and self._sampler.is_exhausted(self._study)

    @property
    def is_waiting(self) -> bool:
        """Whether the next proposal must wait for results: only a deterministic study does."""
        return self._window is not None and not self._window.is_open(self._count)

    def propose(self) -> Proposal:
        """Ask the sampler for the next trial, which counts as running from here on.

        Raises:
            NothingFeasible: no parameters could be found that keep the constraints between them.
        """
        self._reveal()
        if (given := self._first) is not None:
            self.enqueued += 1
            self._storage.set_study_system_attr(self._study._study_id, ENQUEUED, self.enqueued)
        return self._draw(given)

    def is_ready(self) -> bool:
        """Whether the next trial can be proposed now; if not, there is a question to be answered first."""
        if not isinstance(self._sampler, GpSampler) or self._space.conditions.is_whole(self._first or {}):
            return True
        self._reveal()
        return self._sampler.is_ready(self._study, self._count, seed_of(self._definition.sampler.seed, self._count))

    @property
    def question(self) -> Question | None:
        """What the next proposal waits for, under gp."""
        return self._sampler.question if isinstance(self._sampler, GpSampler) else None

    def enqueue(self, parameters: Mapping[str, Any]) -> Proposal:
        """The next trial, at once, with given parameters; the sampler proposes the others, and `gp` draws them."""
        self._reveal()
        if isinstance(self._sampler, GpSampler):
            self._sampler.forget()
        return self._draw(parameters)

    def reopen(self, number: int) -> None:
        """A trial that had ended without a value is to run again."""
        if WORST in self.system_attrs(number):
            self._pruner = self._study.pruner = make_pruner(self._definition, self._warm)  # it had counted as COMPLETE
        if number in self._strangers:
            self._strangers[number] = False
        if self._rungs is not None:
            self._rungs.reopen(number)
        self._set_state(number, OptunaState.RUNNING)

    def report(self, number: int, step: int, values: Sequence[float], folds: Sequence[float] = ()) -> None:
        """Record a step's values, those of single folds too, and what they mean for the trial's standing."""
        trial_id = self._id(number)
        if folds:
            known = self._storage.get_trial(trial_id).system_attrs.get(FOLDS, {})
            self._storage.set_trial_system_attr(trial_id, FOLDS, known | {str(step): list(folds)})
        if len(values) == 1 and self._window is not None:
            self._judge(number, step, values[0], self._window)
            return
        if len(values) == 1:  # of several, Optuna has no place for values by step
            self._storage.set_trial_intermediate_value(trial_id, step, values[0])
        if self._rungs is not None:
            if isinstance(self._rungs, AutoRungs):
                attrs = self._storage.get_trial(trial_id).system_attrs
                self._rungs.welcome(number, AT_RANDOM in attrs, UNCOMPARED in attrs)
            self._rungs.report(number, step, values)
            self._storage.set_trial_system_attr(trial_id, RUNGS, self._rungs.stored(number))
        elif self._halving is not None:
            last = inf if self._window is None else self._window.last_known(number)
            if not self._halving.report(number, step, losses_of(self._definition.objectives, values)[0].tolist(), last):
                self._storage.set_trial_system_attr(trial_id, HOPELESS, step)
            self._storage.set_trial_system_attr(trial_id, FRONTS, self._halving.stored(number))
        elif self._pruner.prune(self._study, self._storage.get_trial(trial_id)):
            self._storage.set_trial_system_attr(trial_id, HOPELESS, step)

    def standing(self, number: int) -> Literal["continue", "prune", "pause"]:
        """What the trial's reports have come to: it goes on, ends here, or waits to be promoted; whoever runs it."""
        if HOPELESS in self._storage.get_trial(self._id(number)).system_attrs:
            return "prune"
        return "pause" if self.is_held(number) else "continue"

    def why_stopped(self, number: int) -> str | None:
        """In what way the pruner ended a trial; None of one that it let go on."""
        step = self._storage.get_trial(self._id(number)).system_attrs.get(HOPELESS)
        if step is None or step is True:  # a version before stored no step
            return None
        return self._stopping.why(number, step)

    def finish(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None = None,
        constraints: Mapping[str, float] | None = None,
    ) -> None:
        """Tell the end of a trial; a COMPLETE one has values. Of its constraints those above 0 are broken."""
        if self._rungs is not None:
            self._rungs.end(number, values[0] if values and state is TrialState.COMPLETE else None)
            if self._storage.get_trial(self._id(number)).state.is_finished():  # for Optuna, while it waited
                self._set_state(number, OptunaState.RUNNING)
        # These two cannot take constraints that only some trials have.
        is_told = self._definition.constraints or self._definition.sampler.name not in ("cmaes", "gp")
        for key, violation in (constraints or {}).items() if is_told else ():
            # What `Trial.set_constraint` does; to make a `Trial` would ask the sampler for another proposal.
            self._storage.set_trial_system_attr(self._id(number), f"{CONSTRAINTS}{key}", violation)
        if self._window is not None:
            self._window.of(number).end = (state, values)
        else:
            self._tell(number, state, values)

    def _tell(self, number: int, state: TrialState, values: Sequence[float] | None) -> None:
        if state is TrialState.CANCELLED:
            self._storage.set_trial_system_attr(self._id(number), CANCELLED, True)
        if self._twins.reuses and state is TrialState.COMPLETE and number not in self._strangers:
            self._twins.ended(number, self._space.external(self._storage.get_trial(self._id(number)).params))
        if number in self._strangers:
            self._strangers[number] = state is TrialState.FAILED
        told = OptunaState.FAIL if number in self._strangers else OPTUNA_STATE[state]
        if number not in self._strangers:
            worst = self.system_attrs(number).get(WORST)
            told, values = (told, values) if worst is None else (OptunaState.COMPLETE, worst)
        # What `Study.tell` does before it makes a deep copy of the trial to return it.
        _tell_with_warning(self._study, self._warm + number, values if told is OptunaState.COMPLETE else None, told)

    def count_as_worst(self, number: int) -> None:
        """Let a sampler that learns from complete trials take this one, when it ends, for as bad as the worst so far.

        While nothing has been measured there is no worst, and the trial teaches nothing; nor does it in a study whose
        proposals must not depend on which trials had ended when it did.
        """
        if self._window is not None or self._definition.sampler.name not in LEARNERS:
            return
        if (worst := worst_of(self._study, self._storage.get_trial(self._id(number)))) is not None:
            self._storage.set_trial_system_attr(self._id(number), WORST, worst)

    # Under asha, and in a population

    def hold_below(self, level: float) -> None:
        """Let no trial go on from a rung below this step, as from there it cannot come to its end in time."""
        if isinstance(self._rungs, Rungs):
            self._rungs.least_level = level

    def is_held(self, number: int) -> bool:
        """Whether a trial has come to where it waits and is not promoted yet."""
        return self._rungs is not None and self._rungs.is_held(number)

    def promotable(self, is_last: bool = False) -> int:
        """How many trials that wait may go on, if all places are free; under asha the next one alone is known."""
        is_next = int(self.next_promotion(is_last) is not None)
        return is_next if self.population is None else self.population.promotable

    def park(self, number: int) -> None:
        """A trial is PAUSED: if a rung holds it, it waits there, and for the sampler it counts as pruned meanwhile."""
        if self._rungs is not None and self._rungs.is_held(number):
            self._rungs.wait(number)
            self._set_state(number, OptunaState.PRUNED)

    def next_promotion(self, is_last: bool = False) -> int | None:
        """The trial that goes on before any new one begins, or when none can: then `is_last`."""
        return None if self._rungs is None else self._rungs.next(is_last)

    def promote(self, number: int) -> None:
        """The trial of `next_promotion` runs again."""
        if self._rungs is not None:
            self._rungs.promote(number)
            self._set_state(number, OptunaState.RUNNING)
            self._storage.set_trial_system_attr(self._id(number), RUNGS, self._rungs.stored(number))

    # What is kept

    def system_attrs(self, number: int) -> dict[str, Any]:
        """What sampler and pruner remember of a trial, to be stored with it."""
        attrs = dict(self._storage.get_trial(self._id(number)).system_attrs)
        return attrs if self.population is None else attrs | {RUNGS: self.population.stored(number)}

    @property
    def study_attrs(self) -> dict[str, Any]:
        """What the sampler remembers of the study as a whole, to be stored with it.

        Where it names trials it does so by Optuna's ids; with one study to a storage these are its trials' numbers.
        """
        return dict(self._storage.get_study_system_attrs(self._study._study_id))

    def constraints(self, number: int) -> dict[str, float]:
        """What the constraints of a trial that has ended came to."""
        attrs = self.system_attrs(number)
        return {key.removeprefix(CONSTRAINTS): each for key, each in attrs.items() if key.startswith(CONSTRAINTS)}

    def last_value(self, number: int) -> float | None:
        """The newest intermediate value of a trial that has not ended, of a single objective."""
        if self._window is not None:
            withheld = self._window.of(number).intermediate
            return withheld[max(withheld)] if withheld else None
        values = self._storage.get_trial(self._id(number)).intermediate_values
        return values[max(values)] if values else None

    def final_values(self, number: int) -> list[float] | None:
        """The values of a trial that is COMPLETE."""
        trial = self._storage.get_trial(self._id(number))
        return trial.values if trial.state is OptunaState.COMPLETE and WORST not in trial.system_attrs else None

    def _judge(self, number: int, step: int, value: float, window: Window) -> None:
        """Let the pruner look at a trial beside those that it may know of."""
        withheld = window.of(number).intermediate
        withheld.setdefault(step, value)
        trial = copy.copy(self._storage.get_trial(self._id(number)))
        trial.intermediate_values = dict(withheld)
        so_far = StudySoFar(self._study, self._warm + window.last_known(number))
        if self._pruner.prune(so_far, trial):
            self._storage.set_trial_system_attr(trial._trial_id, HOPELESS, step)

    def _reveal(self) -> None:
        """Let the sampler know what it may know when the next trial is proposed."""
        for number, withheld in [] if self._window is None else self._window.reveal(self._count):
            for step, value in withheld.intermediate.items():
                self._storage.set_trial_intermediate_value(self._id(number), step, value)
            if withheld.end is not None:
                self._tell(number, *withheld.end)

    @property
    def _first(self) -> Mapping[str, Any] | None:
        """What the study file gives of the next proposal; None if nothing, or all of that is made."""
        return next(iter(self._definition.enqueue[self.enqueued : self.enqueued + 1]), None)

    def _draw(self, given: Mapping[str, Any] | None) -> Proposal:
        reseed(self._sampler, self._definition.sampler.seed, self._count)
        trial = begun(self._space, given)
        self._storage.append(self._study._study_id, trial)
        self._study._thread_local.cached_all_trials = None  # as `Study.ask` does: some samplers read it
        self._count += 1
        seed = (self._definition.sampler.seed, self._count)
        parameters = self._drawing.draw(trial, seed, self._twins.is_unwanted, given or {})
        self._twins.know(parameters)
        return Proposal(trial.number - self._warm, parameters, self._twins.of(parameters))

    def _set_state(self, number: int, state: OptunaState) -> None:
        """Put a trial that has not ended into another of Optuna's states, which Optuna itself takes for final."""
        trial = copy.copy(self._storage.get_trial(self._id(number)))
        if number in self._strangers and state.is_finished():
            state = OptunaState.FAIL
        trial.state = state
        value = self.last_value(number) if state is OptunaState.PRUNED else None
        trial.values = None if value is None else [value]
        trial.system_attrs = {key: kept for key, kept in trial.system_attrs.items() if not key.startswith(OF_AN_END)}
        self._storage._set_trial(trial._trial_id, trial)
        for part in (self._sampler, self._pruner, getattr(self._pruner, "_wrapped_pruner", None)):
            if isinstance(part, GridSampler | AutoSampler | HistoryTPESampler | SortedMedianPruner):
                part.reconsider(trial.number)

    def _id(self, number: int) -> int:
        return self._warm + number  # Optuna numbers the trials of a storage's only study as it numbers its trials' ids
