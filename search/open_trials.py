"""The trials of a study that have not ended, and the moves that a trial makes.

Every move changes memory and writes the same change into the ledger of the batch. A trial goes

    WAITING → QUEUED → RUNNING → COMPLETE | PRUNED | FAILED | CANCELLED      and RUNNING → PAUSED → QUEUED

and an attempt that is lost or given back sends it from RUNNING to QUEUED again. Trials of an external study wait
(WAITING) to be asked for instead of being QUEUED.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from search.allowance import Allowance
from search.definition import Definition
from search.heritage import Heritage
from search.ledger import Ledger, LiveTrial, StudyChange
from search.optuna_study import OptunaStudy
from search.optuna_trials import Proposal, WarmTrial
from search.population import Copy, Population
from search.pruners import last_step_of
from store.messages import Assignment, AttemptKey, Membership
from store.models import Outcome, StudyState, TrialState


class OpenTrials:
    """What `LiveStudy` moves as it decides: nothing here knows why."""

    def __init__(
        self,
        study_id: int,
        definition: Definition,
        state: StudyState,
        started_at: datetime | None,
        past_spaces: Sequence[dict[str, Any]] = (),
        warm: Sequence[WarmTrial] = (),
    ) -> None:
        self.id = study_id
        self.definition = definition
        self.state = state
        self.open: dict[int, LiveTrial] = {}
        self.counts: Counter[TrialState] = Counter()
        self.past_spaces = list(past_spaces)
        self._optuna = OptunaStudy(definition, warm)
        self._allowance = Allowance(definition, started_at, self.counts, self._optuna)
        self._last_step = last_step_of(definition)
        self._metrics = tuple(objective.metric for objective in definition.objectives)
        self._names: dict[frozenset[str], frozenset[str]] = {}  # one object for all steps with the same metrics
        self._results: dict[int, tuple[dict[str, float] | None, int | None]] = {}  # metrics and step, to be reused
        self.proposal_seconds = 0.0  # that the last one took
        self._last_failure = ""
        self._begun: dict[str, LiveTrial] = {}  # by worker, the trial whose attempt it began last
        self.origins: dict[str, AttemptKey] = {}  # of sources `trial:…`
        self.heritage = Heritage(study_id, definition)

    @property
    def is_external(self) -> bool:
        return self.definition.kind == "external"

    @property
    def optuna(self) -> OptunaStudy:
        return self._optuna

    def queued(self) -> list[LiveTrial]:
        """The trials for which a job must be in the queue."""
        if not self.counts[TrialState.QUEUED]:
            return []
        return [trial for trial in self.open.values() if trial.state is TrialState.QUEUED]

    def running(self) -> list[LiveTrial]:
        return [trial for trial in self.open.values() if trial.state is TrialState.RUNNING]

    def running_on(self, worker: str) -> LiveTrial | None:
        """What a worker of ours does, which is one thing at a time."""
        trial = self._begun.get(worker)
        return trial if trial is not None and trial.state is TrialState.RUNNING else None

    def recall_open(self, trial: LiveTrial) -> None:
        """A trial that had not ended when this process came to hold the study."""
        self.open[trial.number] = trial
        if trial.state is TrialState.RUNNING:
            self._begun[trial.worker] = trial

    def recall_end(self, state: TrialState, values: Sequence[float] | None, at: datetime) -> None:
        """A trial ended at this time, before this process held the study; to be told in the order of the times."""
        self._allowance.ended(state, values, at)

    def recall_result(self, number: int, metrics: dict[str, float] | None, step: int | None) -> None:
        """What a COMPLETE trial reported last: a later one with the same parameters may take it over."""
        if self.definition.duplicates == "reuse":
            self._results[number] = (metrics, step)

    def recall_attempt(self, number: int, began: datetime, device_seconds: float | None) -> None:
        """An attempt that began before this process held the study, and if it has ended, what it used."""
        if device_seconds is None:
            self._allowance.attempt_began(number, began)
        else:
            self._allowance.recall_used(device_seconds)

    # Moves

    def _make(self, proposal: Proposal, state: TrialState, ledger: Ledger) -> LiveTrial:
        version = len(self.past_spaces) + 1
        trial = LiveTrial(self.id, proposal.number, state, proposal.parameters, ledger.at, space_version=version)
        self.open[trial.number] = trial
        self.counts[state] += 1
        if self._optuna.population is not None:
            self._optuna.population.enter(trial.number, trial.parameters)
        ledger.add(trial)
        return trial

    def _next(self, state: TrialState, ledger: Ledger) -> LiveTrial | None:
        """The trial to run next: one that waits, else one that may go on from where it is held, else a new one."""
        if self.counts[TrialState.WAITING]:
            trial = next(each for each in self.open.values() if each.state is TrialState.WAITING)
            if state is not TrialState.WAITING:
                self._to(trial, state, ledger)
            return trial
        number = self._optuna.next_promotion(self._allowance.is_last)
        if number is None:
            return self._propose(state, ledger)
        trial = self.open[number]
        if self._optuna.population is not None:
            self._copy(trial, self._optuna.population.copy_of(number), ledger)
        self._optuna.promote(number)
        self._to(trial, state, ledger)
        return trial

    def _copy(self, trial: LiveTrial, copy: Copy | None, ledger: Ledger) -> None:
        """A member of a population goes on as it is, or from another's checkpoint with parameters of its own."""
        if copy is not None:
            trial.parameters = copy.after
            ledger.copy(trial, copy)

    def _propose(self, state: TrialState, ledger: Ledger) -> LiveTrial | None:
        """Make the sampler's next trial.

        None if there is nothing to run: a twin's value was taken over, or the proposal is still being computed.
        """
        if not self._optuna.is_ready():
            return None
        began = time.perf_counter()
        proposal = self._proposed(self._optuna.propose, ledger)
        self.proposal_seconds = time.perf_counter() - began
        trial = self._make(proposal, state, ledger)
        values = None if proposal.twin is None else self._optuna.final_values(proposal.twin)
        if proposal.twin is not None and values is not None:
            trial.values = dict(zip(self._metrics, values, strict=True))
            trial.metrics, trial.step = self._results.get(proposal.twin, (None, None))
            trial.broken = self._optuna.constraints(proposal.twin)
            self._end(trial, TrialState.COMPLETE, f"the same parameters as trial {proposal.twin}", ledger)
            return None
        ledger.tell(trial)
        return trial

    def _proposed(self, propose: Callable[[], Proposal], ledger: Ledger) -> Proposal:
        """A proposal; what the sampler remembers of the study besides is stored with it."""
        remembered = self._optuna.study_attrs
        proposal = propose()
        if self._optuna.study_attrs != remembered:
            ledger.remember(self.id, self._optuna.study_attrs)
        return proposal

    def _move(
        self,
        state: StudyState,
        ledger: Ledger,
        reason: str | None = None,
        errors: list[dict[str, str]] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        ledger.move(StudyChange(self.id, self.state, state, reason, errors, facts))
        self.state = state

    def _start(self, trial: LiveTrial, worker: str, device: str, ledger: Ledger) -> Assignment:
        trial.attempt += 1
        trial.worker, trial.device = worker, device
        self._begun[worker] = trial
        trial.steps = {}
        trial.started_at = trial.started_at or ledger.at
        trial.reason = None
        if self._optuna.population is not None:
            self._optuna.population.began(trial.number, trial.attempt)
        if trial.attempt == 1:
            trial.inherits = self.heritage.choose(trial.parameters)
        self._allowance.attempt_began(trial.number, ledger.at)
        ledger.begin(trial)
        self._to(trial, TrialState.RUNNING, ledger)
        return self._assignment(trial)

    def _assignment(self, trial: LiveTrial) -> Assignment:
        population = self._optuna.population
        oldest = 0 if population is None else population.since(trial.number)
        resumable = list(range(trial.attempt - 1, oldest, -1))
        return Assignment(
            attempt=trial.attempt_key,
            study=self.definition.name,
            parameters=trial.parameters,
            trial=self.definition.resolve(trial.parameters),
            metric=self.definition.objective.metric,
            direction=self.definition.objective.direction,
            watched=list(self.definition.metrics().values()),
            resumable=resumable,
            reported=self._last_values(trial) if resumable else {},
            origins=self.origins,
            ranks=self.definition.resources.ranks if self.definition.kind == "train" else 1,
            inherits=self.heritage.model_of(trial.inherits),
            membership=None if population is None else self._membership(trial, population),
        )

    def _last_values(self, trial: LiveTrial) -> dict[str, float]:
        """What a trial has reported last: of a single objective also when its newest report is without it."""
        last = self._optuna.last_value(trial.number)
        return (trial.metrics or {}) | ({} if last is None else {self._metrics[0]: last})

    def _membership(self, trial: LiveTrial, population: Population) -> Membership:
        basis, spent = population.copied(trial.number), population.spent(trial.number)
        copies = None if basis is None else AttemptKey(self.id, basis.number, basis.attempt)
        return Membership(copies=copies, spent=spent, ends=population.ends(trial.number))

    def _again(self, trial: LiveTrial) -> TrialState:
        """Where a trial goes whose attempt did not end it: it runs again at once, when its rung lets it, or never."""
        standing = self._optuna.standing(trial.number)
        if standing != "continue":
            return TrialState.PRUNED if standing == "prune" else TrialState.PAUSED
        waits = self.is_external or self.state is StudyState.PAUSED
        return TrialState.WAITING if waits else TrialState.QUEUED

    def _end_attempt(
        self, trial: LiveTrial, outcome: Outcome, state: TrialState, reason: str | None, ledger: Ledger
    ) -> None:
        if self._begun.get(trial.worker) is trial:
            del self._begun[trial.worker]
        self._allowance.pace.ended(trial.number, outcome is Outcome.FINISHED)
        device_seconds = self._allowance.attempt_ended(trial.number, ledger.at)
        ledger.end(trial.attempt_key, outcome, reason, device_seconds)
        if state.ended:
            infeasible = outcome is Outcome.FAILED
            stopped = self._optuna.why_stopped(trial.number) if state is TrialState.PRUNED and not infeasible else None
            self._end(trial, state, stopped or reason, ledger)
        else:
            trial.reason = reason
            self._to(trial, state, ledger)

    def _end_infeasible(self, trial: LiveTrial, reason: str, ledger: Ledger) -> None:
        """A trial cannot run with its parameters, which is what the search wanted to know and no failure of the study.

        It breaks every constraint; of a study without any, one that all other trials keep.
        """
        trial.broken = {each.key: 1.0 for each in self.definition.constraints} or {"device memory": 1.0}
        self._optuna.count_as_worst(trial.number)
        self._end_attempt(trial, Outcome.FAILED, TrialState.PRUNED, reason, ledger)

    def _end(self, trial: LiveTrial, state: TrialState, reason: str | None, ledger: Ledger) -> None:
        trial.reason, trial.ended_at = reason, ledger.at
        values = [trial.values[metric] for metric in self._metrics] if trial.values else None
        constraints = self._constraints_of(trial, state)
        self._optuna.finish(trial.number, state, values, constraints)
        is_feasible = trial.violation is None or trial.violation <= 0
        self._allowance.ended(state, values if is_feasible else None, ledger.at)
        if state is TrialState.FAILED:
            self._last_failure = reason or ""
        if state is TrialState.COMPLETE:
            self.recall_result(trial.number, trial.metrics, trial.step)
            if trial.attempt:  # one that took over a twin's values has no model
                self.heritage.leaves(trial.number, trial.attempt, trial.parameters)
        self._to(trial, state, ledger)
        del self.open[trial.number]

    def _constraints_of(self, trial: LiveTrial, state: TrialState) -> dict[str, float]:
        """What a trial's constraints came to, as far as it has reported their metrics; sums up what is broken."""
        if state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return {}
        bounds, known = self.definition.constraints, trial.metrics or {}
        found = {each.key: each.violation(known[each.metric]) for each in bounds if each.metric in known}
        found |= trial.broken
        if found and len(found) >= len(bounds):
            trial.violation = sum(violation for violation in found.values() if violation > 0)
        return found

    def _to(self, trial: LiveTrial, state: TrialState, ledger: Ledger) -> None:
        self.counts[trial.state] -= 1
        self.counts[state] += 1
        trial.state = state
        if state is TrialState.PAUSED:
            self._optuna.park(trial.number)
        ledger.change(trial)
        ledger.tell(trial)

    def _attempt(self, key: AttemptKey) -> LiveTrial | None:
        """The trial whose running attempt is meant; None if that attempt has ended."""
        trial = self.open.get(key.number)
        running = trial is not None and trial.state is TrialState.RUNNING and trial.attempt == key.attempt
        return trial if running else None

    def _cancel(self, trial: LiveTrial, reason: str, ledger: Ledger) -> None:
        if trial.state is TrialState.RUNNING:
            self._end_attempt(trial, Outcome.CANCELLED, TrialState.CANCELLED, reason, ledger)
        else:
            self._end(trial, TrialState.CANCELLED, reason, ledger)

    def fail(self, why: str, ledger: Ledger) -> None:
        """End the study where something failed that nobody foresaw. Its sampler and its pruner are not asked again."""
        for trial in self.open.values():
            trial.reason, trial.ended_at = "the study has failed", ledger.at
            if trial.state is TrialState.RUNNING:
                ledger.end(trial.attempt_key, Outcome.CANCELLED, trial.reason, 0.0)
            self._to(trial, TrialState.CANCELLED, ledger)
        self.open.clear()
        self._move(StudyState.FAILED, ledger, reason=f"the search failed in a way that nobody foresaw: {why}")

    def _forget(self, trial: LiveTrial) -> None:
        """A running attempt is gone without a checkpoint that could be counted on: of a population, what it came to."""
        if self._optuna.population is not None:
            self._optuna.population.lost(trial.number)

    def _prune_parked(self, ledger: Ledger) -> None:
        why = "it was not among the best of its rung" if self._optuna.population is None else "it waited for a place"
        for trial in [each for each in self.open.values() if each.state is TrialState.PAUSED]:
            if self._optuna.is_held(trial.number):
                self._end(trial, TrialState.PRUNED, why, ledger)
