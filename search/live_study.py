"""A study that has not ended, as the scheduler holds it: what each message and each wish does to its trials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from search.amending import amended
from search.definition import Definition
from search.fold_pruner import values_of_folds
from search.ledger import Ledger, LiveTrial, StudyChange
from search.optuna_trials import OF_ONE_SPACE, WarmTrial
from search.parameter_constraints import SECTION
from search.shares import Claim
from search.study_ends import StudyEnds
from store.messages import (
    Amend,
    Answer,
    Ask,
    Assignment,
    CancelTrial,
    Decision,
    DecisionName,
    Done,
    Enqueue,
    Finish,
    Handed,
    Holds,
    Metrics,
    Nothing,
    Preflighted,
    PreflightTask,
    Refused,
    Report,
    Settled,
    Take,
)
from store.models import Outcome, StudyState, TrialState


class LiveStudy(StudyEnds):
    """One study in memory."""

    def __init__(
        self,
        study_id: int,
        definition: Definition,
        state: StudyState,
        started_at: datetime | None,
        past_spaces: Sequence[dict[str, Any]] = (),
        warm: Sequence[WarmTrial] = (),
    ) -> None:
        super().__init__(study_id, definition, state, started_at, past_spaces, warm)
        self._amended: Definition | None = None  # with another space
        self._is_taken_up = False
        self.share: int | None = None  # of the slots, where other studies want them too; None for as many as there are
        self.preflight_worker = ""  # who runs the preflight now
        self.preflights = 0  # how many were begun

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
        known = trial.steps.get(request.step, frozenset())
        if not request.metrics.keys() <= known:
            self._record(trial, request, known, ledger)
        decision = self._decide(trial, request.step, ledger.at)
        if self.is_external and decision in ("prune", "pause"):
            # Somebody else's worker may never come back once it was told to stop: settle the attempt with the decision.
            ended, state = (
                (Outcome.PRUNED, TrialState.PRUNED) if decision == "prune" else (Outcome.PAUSED, TrialState.PAUSED)
            )
            self._end_attempt(trial, ended, state, None, ledger)
        return Decision(decision=decision)

    def holds(self, request: Holds) -> Decision:
        """Whether the attempt goes on, which has nothing to report."""
        ended = self._attempt(request.attempt) is None
        return Decision(decision="stop" if ended else "continue", stale=ended)

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
        while len(items) < request.count and self.room(ledger.at) > 0:
            if (trial := self._next(TrialState.WAITING, ledger)) is not None:
                items.append(self._start(trial, request.worker, "", ledger))
        return Handed(items=items, ended=self.state.ended)

    def preflighted(self, request: Preflighted, ledger: Ledger) -> None:
        """The preflight's result: the study may run, or it is refused before any trial."""
        if self.state is not StudyState.PREPARING:
            return
        self.preflight_worker = ""
        if request.problems:
            reason = f"the preflight refused the study: {request.problems[0].get('message', '')}"
            self.cancel(reason, ledger)
            self._move(StudyState.FAILED, ledger, reason=reason, errors=request.problems, facts=request.facts)
        else:
            self._allowance.started_at = ledger.at
            self._move(StudyState.RUNNING, ledger, facts=request.facts)

    # What the clock and people do

    def lose_those_of(self, worker: str, why: str, ledger: Ledger) -> None:
        """A worker is gone, with whatever it held of this study."""
        if (trial := self.running_on(worker)) is not None:
            self.lose(trial, why, ledger)
        if worker and self.preflight_worker == worker:
            self.lose_preflight(why, ledger)

    def lose_preflight(self, why: str, ledger: Ledger) -> None:
        """The worker that ran the preflight is gone."""
        self.preflight_worker = ""
        if self.preflights > self.definition.budget.retries:
            reason = f"the preflight was lost {self.preflights} times, the last time because {why}"
            self.cancel(reason, ledger)
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
            if trial.state is TrialState.PAUSED and not self._optuna.is_held(trial.number):
                self._to(trial, TrialState.WAITING, ledger)

    def follow(self, state: StudyState, ledger: Ledger) -> None:
        """Somebody has changed the study's state in SQL."""
        if state is StudyState.PAUSED:
            self.pause(ledger)
        elif state is StudyState.RUNNING and self.state is StudyState.PAUSED:
            self.resume(ledger)
        elif state is StudyState.CANCELLED:
            self.cancel("the study was cancelled", ledger)
            self.state = state

    def enqueue(self, request: Enqueue, ledger: Ledger) -> Done | Refused:
        """Somebody wants a trial with given parameters: it is the next one to begin. The sampler adds the others."""
        budget = self.definition.budget
        if self.is_outdated:
            return Refused(message="the study is being changed at this moment; ask again")
        if problems := self._optuna.check(request.parameters):
            return Refused(message="; ".join(map(str, problems)))
        if self._allowance.left <= 0:
            return Refused(message=f"all {budget.trials} trials of budget.trials are made; raise it first")
        proposal = self._proposed(lambda: self._optuna.enqueue(request.parameters), ledger)
        trial = self._make(proposal, TrialState.WAITING, ledger)
        ledger.tell(trial)
        return Done(number=trial.number)

    def cancel_trial(self, request: CancelTrial, ledger: Ledger) -> Done | Refused:
        """Somebody ends one trial; its worker hears of it at its next report."""
        trial = self.open.get(request.number)
        if trial is None:
            return Refused(message=f"trial {request.number} has ended, or there is none")
        self._cancel(trial, "the trial was cancelled", ledger)
        return Done(number=trial.number)

    def retry(self, trial: LiveTrial, ledger: Ledger) -> Done | Refused:
        """Somebody wants a trial that has ended to run again, from its newest checkpoint if it has one."""
        if self.definition.deterministic:
            return Refused(message="the study is deterministic: a trial that has ended is known to others as it was")
        if trial.number in self.open or trial.state not in (TrialState.FAILED, TrialState.CANCELLED):
            return Refused(message=f"trial {trial.number} is {trial.state}; only one FAILED or CANCELLED is run again")
        self._optuna.reopen(trial.number)
        trial.retries, trial.reason, trial.ended_at = 0, None, None
        trial.violation, trial.broken = None, {}
        # By number, as after a restart: of those that wait the first one begins first.
        self.open = dict(sorted((self.open | {trial.number: trial}).items()))
        self._to(trial, TrialState.PAUSED if self._optuna.is_held(trial.number) else TrialState.WAITING, ledger)
        return Done(number=trial.number)

    def amend(self, request: Amend, ledger: Ledger) -> Done:
        """Somebody changed the budget, which holds from the next decision on, or the space.

        With another space the study is to be loaded anew once this is committed; until then nothing is proposed.

        Raises:
            DefinitionError: it would not be valid.
        """
        definition = self._changed(request)
        if request.changes_space:
            until, present = ledger.at.isoformat(), (self._amended or self.definition).document()
            space = {key: each for key, each in present.items() if key in ("parameters", SECTION)}
            self.past_spaces.append({"version": len(self.past_spaces) + 1, **space, "until": until})
            attrs = self._optuna.study_attrs
            ledger.remember(self.id, {key: attrs[key] for key in attrs if not key.startswith(OF_ONE_SPACE)})
        if request.changes_space or self._amended:
            self._amended = definition
        else:
            self.definition = self._allowance.definition = definition
        spaces = list(self.past_spaces) if request.changes_space else None
        ledger.amend(self.id, self.state, definition.document(), spaces)
        return Done()

    def take_up(self, request: Amend, ended_at: datetime, ledger: Ledger) -> Done | Refused:
        """Somebody changed a study that has ended: if that gives it something to do it runs, loaded anew.

        Since `ended_at` its clock has stood still.

        Raises:
            DefinitionError: it would not be valid.
        """
        self._allowance.definition = self._changed(request)
        why = self._allowance.used_up(ended_at)
        if self._optuna.is_exhausted and not request.changes_space:
            why = "every point of the grid was tried; give a parameter more values"
        if why is not None:
            return Refused(message=f"the study has ended ({self.state}), and this gives it nothing to do: {why}")
        self._run_again(ended_at, ledger)
        return self.amend(request, ledger)

    def take_up_trial(self, trial: LiveTrial, ended_at: datetime, ledger: Ledger) -> Done | Refused:
        """Somebody wants a trial of a study that has ended to run again: the study runs until it has ended."""
        why = self._allowance.over(ended_at, failed=self.counts[TrialState.FAILED] - 1)
        if why is not None:
            return Refused(message=f"the study has ended ({self.state}), and a trial could not run: {why}")
        answer = self.retry(trial, ledger)
        if isinstance(answer, Done):
            self._run_again(ended_at, ledger)
        return answer

    @property
    def is_outdated(self) -> bool:
        """Whether SQL has another space for this study than memory, or another end."""
        return self._amended is not None or self._is_taken_up

    def stand_in_for(self, study: LiveStudy) -> None:
        """Take the place of the same study as it was before it was loaded anew: what no row says is as it was there."""
        self.slots, self.share = study.slots, study.share
        self.preflights, self.preflight_worker = study.preflights, study.preflight_worker

    def go_on(self, ledger: Ledger) -> None:
        """Propose trials until as many are open as may run at once, or end the study if there is no more to do."""
        if self.is_outdated:
            return
        self._end_if_over(ledger)
        while not self.is_external and self.room(ledger.at) > 0:
            self._next(TrialState.QUEUED, ledger)
        self._end_if_over(ledger)

    def jobs(self) -> list[tuple[int, int | None, int]]:
        """The jobs that should be in the queue: (study, trial or None for the preflight, attempt).

        None while no worker is large enough: a job would only be handed round among those that are not.
        """
        if self.definition.resources.memory and not self.slots:
            return []
        if self.state is StudyState.PREPARING and not self.preflight_worker:
            return [(self.id, None, self.preflights + 1)]
        return [(self.id, trial.number, trial.attempt + 1) for trial in self.queued()]

    def room(self, at: datetime) -> int:
        """How many more trials may run now."""
        if self.state is not StudyState.RUNNING or self.is_outdated:
            return 0
        if self._is_closing(at):
            return self._closing_room()
        self._allowance.look_ahead(at)
        room = self._allowance.room(None if self.is_external else self.slots)
        if self._optuna.question is not None:  # the next new one is still being computed
            room = min(room, self._allowance.startable_at_once)
        return room if self.share is None else min(room, self.share - self._allowance.busy)

    def claim(self, at: datetime) -> Claim:
        """What the study asks of its pool."""
        share, self.share = self.share, None
        computed = self.state is StudyState.RUNNING and self._optuna.question is not None
        wanted = self._allowance.busy + max(computed, self.room(at))
        self.share = share
        return Claim(self.definition.priority, wanted, self._allowance.slot_seconds(at))

    # Helpers, in call order

    def _run_again(self, ended_at: datetime, ledger: Ledger) -> None:
        rested = (ledger.at - ended_at).total_seconds()
        ledger.move(StudyChange(self.id, self.state, StudyState.RUNNING, rested=max(0.0, rested)))
        self.state, self._is_taken_up = StudyState.RUNNING, True

    def _changed(self, request: Amend) -> Definition:
        enqueued = 0 if self._amended else self._optuna.enqueued
        return amended(self._amended or self.definition, request, self._optuna, enqueued)

    def _take_preflight(self, request: Take) -> Answer:
        if self.state is not StudyState.PREPARING or self.preflight_worker not in ("", request.worker):
            return Nothing()
        self.preflights += self.preflight_worker == ""
        self.preflight_worker = request.worker
        return PreflightTask(
            study_id=self.id, study=self.definition.name, definition=self.definition.document(), origins=self.origins
        )

    def _record(self, trial: LiveTrial, request: Report, known: frozenset[str], ledger: Ledger) -> None:
        """`known`: what the attempt has said of this step before. That stands; what is new is added to it."""
        step, metrics = request.step, request.metrics
        if known:
            metrics = {metric: value for metric, value in metrics.items() if metric not in known}
        else:
            self._allowance.pace.reported(trial.number, step, ledger.at)
            self._allowance.look_ahead(ledger.at)
        of_step = {**(trial.metrics or {}), **metrics} if known and step == trial.step else dict(metrics)
        if not trial.steps or trial.step is None or step >= trial.step:
            trial.metrics, trial.step = of_step, step
        names = known.union(metrics)
        trial.steps[step] = self._names.setdefault(names, names)
        if of_step.keys() >= set(self._metrics) and not known.issuperset(self._metrics):
            self._weigh(trial, step, of_step)
        ledger.report(request.attempt, step, metrics, is_new=not known)
        ledger.change(trial)

    def _weigh(self, trial: LiveTrial, step: int, metrics: Metrics) -> None:
        sees_folds = self.definition.pruner.name == "wilcoxon"
        folds = values_of_folds(metrics, self._metrics[0]) if sees_folds else ()
        self._optuna.report(trial.number, step, [metrics[metric] for metric in self._metrics], folds)

    def _decide(self, trial: LiveTrial, step: int, at: datetime) -> DecisionName:
        if (standing := self._optuna.standing(trial.number)) != "continue":
            return standing
        # At its last step it ends by itself, maybe slowly: told to stop it would be killed soon.
        if self._last_step is not None and step > self._last_step:
            return "stop"
        if self.state is StudyState.PAUSED:
            return "pause"
        return "continue" if self._allowance.spent(at) is None else "stop"

    def _pull(self, request: Finish, worker: str, device: str, ledger: Ledger) -> Assignment | None:
        if not request.pull:
            return None
        if (given := self.running_on(worker)) is not None:
            return self._assignment(given)  # it was handed out before, and the answer did not arrive
        if self.room(ledger.at) <= 0:
            return None
        trial = self._next(TrialState.QUEUED, ledger)
        return self._start(trial, worker, device, ledger) if trial else None
