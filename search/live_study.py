"""A study that has not ended, as the scheduler holds it: its open trials, and what each message does to them.

Every method changes memory and writes the same change into the ledger of the batch. A trial goes

    WAITING → QUEUED → RUNNING → COMPLETE | PRUNED | FAILED | CANCELLED      and RUNNING → PAUSED → QUEUED

and an attempt that is lost or given back sends it from RUNNING to QUEUED again. Trials of an external study wait
(WAITING) to be asked for instead of being QUEUED.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from search.definition import Definition
from search.ledger import Ledger, LiveTrial, StudyChange
from search.optuna_study import OptunaStudy
from store.messages import (
    Answer,
    Ask,
    Assignment,
    AttemptKey,
    Decision,
    DecisionName,
    Finish,
    Handed,
    Nothing,
    Preflighted,
    PreflightTask,
    Refused,
    Report,
    Settled,
    Take,
)
from store.models import Outcome, StudyState, TrialState


class LiveStudy:
    """One study in memory. `slots`: how many workers its pool has, kept up to date by the scheduler."""

    def __init__(self, study_id: int, definition: Definition, state: StudyState, started_at: datetime | None) -> None:
        self.id = study_id
        self.definition = definition
        self.state = state
        self.slots = 0
        self.open: dict[int, LiveTrial] = {}
        self.counts: Counter[TrialState] = Counter()
        self.preflight_worker = ""  # who runs the preflight now
        self.preflights = 0  # how many were begun
        self._optuna = OptunaStudy(definition)
        self._started_at = started_at
        self._metric = definition.objective.metric
        self._last_failure = ""

    @property
    def is_external(self) -> bool:
        return self.definition.kind == "external"

    @property
    def optuna(self) -> OptunaStudy:
        return self._optuna

    def queued(self) -> list[LiveTrial]:
        """The trials for which a job must be in the queue."""
        return [trial for trial in self.open.values() if trial.state is TrialState.QUEUED]

    def running(self) -> list[LiveTrial]:
        return [trial for trial in self.open.values() if trial.state is TrialState.RUNNING]

    def running_on(self, worker: str) -> LiveTrial | None:
        return next((trial for trial in self.running() if trial.worker == worker), None)

    # What workers say

    def take(self, request: Take, ledger: Ledger) -> Answer:
        """A worker has a job of this study in hand."""
        if request.number is None:
            return self._take_preflight(request)
        trial = self.open.get(request.number)
        if trial is not None and trial.state is TrialState.QUEUED and self.state is StudyState.RUNNING:
            return self._start(trial, request.worker, request.device, ledger)
        if trial is not None and trial.state is TrialState.RUNNING and trial.worker == request.worker:
            return self._assignment(trial)  # it was answered before, by a scheduler that then died
        return Nothing()

    def report(self, request: Report, ledger: Ledger) -> Decision:
        """Record a step's metrics and decide whether the attempt goes on."""
        trial = self._attempt(request.attempt)
        if trial is None:
            return Decision(decision="stop", stale=True)
        if request.step not in trial.steps:
            trial.steps.add(request.step)
            trial.metrics, trial.step = dict(request.metrics), request.step
            ledger.report(request.attempt, request.step, request.metrics)
            ledger.change(trial)
        trial.told = self._decide(trial, request, ledger.at)
        if self.is_external and trial.told in ("prune", "pause"):
            # Somebody else's worker may never come back once it was told to stop: settle the attempt with the decision.
            ended, state = (
                (Outcome.PRUNED, TrialState.PRUNED) if trial.told == "prune" else (Outcome.PAUSED, TrialState.PAUSED)
            )
            self._end_attempt(trial, ended, state, None, ledger)
        return Decision(decision=trial.told)

    def finish(self, request: Finish, ledger: Ledger) -> Answer:
        """Accept the end of an attempt, once, and hand out the next trial if the worker pulls."""
        trial = self._attempt(request.attempt)
        if trial is None:
            return Settled(stale=True, next=self._pull(request, request.sender, "", ledger))
        worker, device = trial.worker, trial.device
        refusal = self._settle(trial, request, ledger)
        return refusal or Settled(next=self._pull(request, worker, device, ledger))

    def ask(self, request: Ask, ledger: Ledger) -> Handed:
        """Hand out trials of an external study: those that wait again first, then new ones."""
        items: list[Assignment] = []
        while len(items) < request.count and self.state is StudyState.RUNNING:
            trial = next((trial for trial in self.open.values() if trial.state is TrialState.WAITING), None)
            trial = trial or (self._propose(TrialState.WAITING, ledger) if self.room(ledger.at) > 0 else None)
            if trial is None:
                break
            items.append(self._start(trial, request.worker, "", ledger))
        return Handed(items=items, ended=self.state.ended)

    def preflighted(self, request: Preflighted, ledger: Ledger) -> None:
        """The preflight's result: the study may run, or it is refused before any trial."""
        if self.state is not StudyState.PREPARING:
            return
        if request.problems:
            reason = f"the preflight refused the study: {request.problems[0].get('message', '')}"
            self._move(StudyState.FAILED, ledger, reason=reason, errors=request.problems, facts=request.facts)
        else:
            self._started_at = ledger.at
            self._move(StudyState.RUNNING, ledger, facts=request.facts)

    # What the clock and people do

    def lose(self, trial: LiveTrial, why: str, ledger: Ledger) -> None:
        """The attempt's worker is gone: the trial runs again, unless it has been tried often enough."""
        if trial.told == "prune":
            self._end_attempt(trial, Outcome.LOST, TrialState.PRUNED, why, ledger)
        elif trial.retries >= self.definition.budget.retries:
            reason = f"lost {trial.retries + 1} times, the last time because {why}"
            self._end_attempt(trial, Outcome.LOST, TrialState.FAILED, reason, ledger)
        else:
            trial.retries += 1
            self._end_attempt(trial, Outcome.LOST, self._again, why, ledger)

    def lose_preflight(self, why: str, ledger: Ledger) -> None:
        """The worker that ran the preflight is gone."""
        self.preflight_worker = ""
        if self.preflights > self.definition.budget.retries:
            reason = f"the preflight was lost {self.preflights} times, the last time because {why}"
            self._move(StudyState.FAILED, ledger, reason=reason)

    def pause(self, ledger: Ledger) -> None:
        """Somebody paused the study: what is queued waits, what runs is told to pause at its next report."""
        self.state = StudyState.PAUSED
        for trial in self.queued():
            self._to(trial, TrialState.WAITING, ledger)

    def resume(self, ledger: Ledger) -> None:
        """Somebody resumed the study: what waited or was paused runs again, from its checkpoint."""
        self.state = StudyState.RUNNING
        for trial in self.open.values():
            if trial.state in (TrialState.WAITING, TrialState.PAUSED):
                self._to(trial, self._again, ledger)

    def cancel(self, reason: str, ledger: Ledger) -> None:
        """End every open trial; a worker hears of it at its next report."""
        for trial in list(self.open.values()):
            if trial.state is TrialState.RUNNING:
                self._end_attempt(trial, Outcome.CANCELLED, TrialState.CANCELLED, reason, ledger)
            else:
                self._end(trial, TrialState.CANCELLED, reason, ledger)

    def go_on(self, ledger: Ledger) -> None:
        """Propose trials until as many are open as may run at once, or end the study if there is no more to do."""
        self._end_if_over(ledger)
        while not self.is_external and self.room(ledger.at) > 0:
            self._propose(TrialState.QUEUED, ledger)
        self._end_if_over(ledger)

    def room(self, at: datetime) -> int:
        """How many trials may be proposed now."""
        if self.state is not StudyState.RUNNING or self._is_overdue(at) or self._optuna.is_exhausted:
            return 0
        parallel = self.definition.budget.parallel
        if parallel is None:
            parallel = len(self.open) + self._left() if self.is_external else self.slots
        return min(parallel - len(self.open), self._left())

    # Helpers, in call order

    def _end_if_over(self, ledger: Ledger) -> None:
        """End the study if there is nothing left to do in it, or too much has failed."""
        if self.state is not StudyState.RUNNING:
            return
        failed, most = self.counts[TrialState.FAILED], self.definition.budget.max_failed
        if most is not None and failed > most:
            self.cancel("the study has failed", ledger)
            reason = f"{failed} trials failed, budget.max_failed is {most}; the last one: {self._last_failure}"
            self._move(StudyState.FAILED, ledger, reason=reason)
        elif self._is_overdue(ledger.at) and not self.running():
            unfinished = self._left() > 0 or bool(self.open)
            self.cancel("budget.timeout was reached", ledger)
            self._complete_study("budget.timeout was reached" if unfinished else None, ledger)
        elif not self.open and (self._left() <= 0 or self._optuna.is_exhausted):
            self._complete_study(None, ledger)

    def _take_preflight(self, request: Take) -> Answer:
        if self.state is not StudyState.PREPARING or self.preflight_worker not in ("", request.worker):
            return Nothing()
        self.preflights += self.preflight_worker == ""
        self.preflight_worker = request.worker
        return PreflightTask(study_id=self.id, study=self.definition.name, definition=self.definition.document())

    def _attempt(self, key: AttemptKey) -> LiveTrial | None:
        """The trial whose running attempt is meant; None if that attempt has ended."""
        trial = self.open.get(key.number)
        running = trial is not None and trial.state is TrialState.RUNNING and trial.attempt == key.attempt
        return trial if running else None

    def _decide(self, trial: LiveTrial, request: Report, at: datetime) -> DecisionName:
        value = request.metrics.get(self._metric)
        if value is not None and self._optuna.report(trial.number, request.step, value):
            return "prune"
        if self.state is StudyState.PAUSED:
            return "pause"
        return "stop" if self._is_overdue(at) else "continue"

    def _settle(self, trial: LiveTrial, request: Finish, ledger: Ledger) -> Refused | None:
        """End the running attempt in the way that its worker says."""
        match request.outcome:
            case "finished":
                return self._complete(trial, request, ledger)
            case "failed":
                reason = request.reason or "the trial failed without a reason"
                self._end_attempt(trial, Outcome.FAILED, TrialState.FAILED, reason, ledger)
            case "pruned":
                self._end_attempt(trial, Outcome.PRUNED, TrialState.PRUNED, request.reason, ledger)
            case "paused":
                paused = TrialState.PAUSED if self.state is StudyState.PAUSED else self._again
                self._end_attempt(trial, Outcome.PAUSED, paused, request.reason, ledger)
            case "returned":
                self._end_attempt(trial, Outcome.RETURNED, self._again, request.reason, ledger)
            case "lost":
                self.lose(trial, request.reason or "its process died", ledger)
        return None

    def _complete(self, trial: LiveTrial, request: Finish, ledger: Ledger) -> Refused | None:
        value = request.metrics.get(self._metric, self._optuna.last_value(trial.number))
        if value is None:
            message = f"metrics: the objective's metric {self._metric!r} is missing and was never reported"
            if self.is_external:
                return Refused(message=message)
            self._end_attempt(trial, Outcome.FAILED, TrialState.FAILED, message, ledger)
            return None
        if request.metrics:
            trial.metrics = dict(request.metrics)
        if trial.told == "prune":
            self._end_attempt(trial, Outcome.PRUNED, TrialState.PRUNED, request.reason, ledger)
            return None
        trial.values = {self._metric: value}
        self._end_attempt(trial, Outcome.FINISHED, TrialState.COMPLETE, request.reason, ledger)
        return None

    def _pull(self, request: Finish, worker: str, device: str, ledger: Ledger) -> Assignment | None:
        if not request.pull:
            return None
        if (given := self.running_on(worker)) is not None:
            return self._assignment(given)  # it was handed out before, and the answer did not arrive
        if self.room(ledger.at) <= 0:
            return None
        trial = self._propose(TrialState.QUEUED, ledger)
        return self._start(trial, worker, device, ledger) if trial else None

    def _propose(self, state: TrialState, ledger: Ledger) -> LiveTrial | None:
        """Make the sampler's next trial; None if a twin's value was taken over, so that there is nothing to run."""
        proposal = self._optuna.propose()
        trial = LiveTrial(self.id, proposal.number, state, proposal.parameters, created_at=ledger.at)
        self.open[trial.number] = trial
        self.counts[state] += 1
        ledger.add(trial)
        value = None if proposal.twin is None else self._optuna.final_value(proposal.twin)
        if self.definition.duplicates == "reuse" and value is not None:
            trial.values = {self._metric: value}
            self._end(trial, TrialState.COMPLETE, f"the same parameters as trial {proposal.twin}", ledger)
            return None
        ledger.tell(trial)
        return trial

    def _start(self, trial: LiveTrial, worker: str, device: str, ledger: Ledger) -> Assignment:
        trial.attempt += 1
        trial.worker, trial.device = worker, device
        trial.steps, trial.told = set(), "continue"
        trial.started_at = trial.started_at or ledger.at
        trial.reason = None
        ledger.begin(trial)
        self._to(trial, TrialState.RUNNING, ledger)
        return self._assignment(trial)

    def _assignment(self, trial: LiveTrial) -> Assignment:
        return Assignment(
            attempt=trial.attempt_key,
            study=self.definition.name,
            parameters=trial.parameters,
            trial=self.definition.resolve(trial.parameters),
            metric=self._metric,
            direction=self.definition.objective.direction,
            resumable=list(range(trial.attempt - 1, 0, -1)),
        )

    @property
    def _again(self) -> TrialState:
        """Where a trial goes that shall run again."""
        waits = self.is_external or self.state is StudyState.PAUSED
        return TrialState.WAITING if waits else TrialState.QUEUED

    def _end_attempt(
        self, trial: LiveTrial, outcome: Outcome, state: TrialState, reason: str | None, ledger: Ledger
    ) -> None:
        ledger.end(trial.attempt_key, outcome, reason)
        if state.ended:
            self._end(trial, state, reason, ledger)
        else:
            trial.reason = reason
            self._to(trial, state, ledger)

    def _end(self, trial: LiveTrial, state: TrialState, reason: str | None, ledger: Ledger) -> None:
        trial.reason, trial.ended_at = reason, ledger.at
        value = trial.values[self._metric] if trial.values else None
        self._optuna.finish(trial.number, state, value)
        if state is TrialState.FAILED:
            self._last_failure = reason or ""
        self._to(trial, state, ledger)
        del self.open[trial.number]

    def _to(self, trial: LiveTrial, state: TrialState, ledger: Ledger) -> None:
        self.counts[trial.state] -= 1
        self.counts[state] += 1
        trial.state = state
        ledger.change(trial)
        ledger.tell(trial)

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

    def _complete_study(self, reason: str | None, ledger: Ledger) -> None:
        """The study is over: COMPLETE, unless not a single trial came to anything."""
        failed = self.counts[TrialState.FAILED]
        if failed and not self.counts[TrialState.COMPLETE] + self.counts[TrialState.PRUNED]:
            self._move(StudyState.FAILED, ledger, f"all {failed} trials failed; the last one: {self._last_failure}")
        else:
            self._move(StudyState.COMPLETE, ledger, reason)

    def _left(self) -> int:
        """How many trials the budget still allows; a grid's FAILED cells are tried again and not counted."""
        made = sum(self.counts.values())
        if self.definition.sampler.name == "grid":
            made -= self.counts[TrialState.FAILED]
        return self.definition.budget.trials - made

    def _is_overdue(self, at: datetime) -> bool:
        timeout = self.definition.budget.timeout
        return (
            timeout is not None and self._started_at is not None and at > self._started_at + timedelta(seconds=timeout)
        )
