"""A random history of everything that can happen to a study, against a plain model of what must come of it.

Hypothesis invents the history: workers that take, report, finish, fall silent, come back late or say everything twice,
people who cancel, retry, enqueue, pause and give it more trials, and a scheduler that is killed between any two of its
steps. After each event the database must say what the model says. TRIALYARD_TEST_HISTORIES is how many are tried on
each database.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from search.definition import parse
from search.optuna_study import OptunaStudy
from store.messages import (
    Amend,
    Answer,
    Assignment,
    AttemptKey,
    CancelTrial,
    Decision,
    Done,
    Enqueue,
    Finish,
    Nothing,
    Refused,
    Report,
    Request,
    RetryTrial,
    Settled,
    Take,
)
from store.models import StudyState
from tests.yard import METRIC, Worker, Yard, study

HISTORIES = int(os.environ.get("TRIALYARD_TEST_HISTORIES", "6"))
TRIALS, MOST_TRIALS, PARALLEL, RETRIES = 6, 10, 3, 1
HOPELESS = 0.5  # above it the pruner ends a trial
OPEN = ("WAITING", "QUEUED", "RUNNING", "PAUSED")
WORKERS = st.integers(0, 3)
NUMBERS = st.integers(0, MOST_TRIALS)
VALUES = st.sampled_from([0.1, 0.4, 0.9])
# How a message arrives: as it should; twice; at a scheduler that dies before it reads it, or after it has committed and
# before it answers; or never, because Redis is wiped, until it is sent again.
WAYS = st.sampled_from(["plain", "plain", "plain", "twice", "killed before", "killed after", "wiped"])


class Killed(Exception):
    """The scheduler dies here."""


@dataclass
class Trial:
    """What must be known of one trial."""

    state: str
    attempt: int = 0
    retries: int = 0
    worker: int | None = None
    steps: list[int] = field(default_factory=list)  # of the running attempt
    told: str = "continue"  # the last decision given to the running attempt
    hopeless: bool = False  # the pruner has decided that it ends
    ends: list[str | None] = field(default_factory=list)  # of its attempts, in order; None while one runs
    reports: list[tuple[int, int, float]] = field(default_factory=list)  # attempt, step, value
    values_by_step: dict[int, float] = field(default_factory=dict)  # the newest attempt's
    given: bool = False  # a person chose its parameters
    value: float | None = None


class History(RuleBasedStateMachine):
    """One study with four workers; the model is `trials`, `budget` and `state`."""

    yard: Yard
    names = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        number = next(self.names)
        self.yard.clock.advance(1)
        self.yard.restart()
        self.document = study(
            f"history-{number}",
            budget={"trials": TRIALS, "parallel": PARALLEL, "retries": RETRIES},
            pruner={"name": "threshold", "upper": HOPELESS},
        )
        self.study_id = self.yard.begin(self.document)
        self.workers = [Worker(self.yard, f"w{place}-{number}") for place in range(4)]
        self.state = StudyState.RUNNING
        self.budget = TRIALS
        self.trials: list[Trial] = []
        self.stale: list[AttemptKey] = []  # attempts that have ended

    # Workers

    @precondition(lambda self: self.state is StudyState.RUNNING)
    @rule(who=WORKERS, which=NUMBERS, way=WAYS)
    def take(self, who: int, which: int, way: str) -> None:
        """A worker gets a job of RQ's, whatever else it was doing, and asks what to do."""
        jobs = sorted(job for job in self.yard.jobs() if job.study_id == self.study_id)
        if not jobs:
            return
        job = jobs[which % len(jobs)]
        self.yard.pop(job)
        assert job.number is not None
        held = self._held_by(who)
        if held is not None and held != job.number:
            self._lose(held)
        answer = self._deliver(
            who,
            Take(study_id=self.study_id, number=job.number, worker=self.workers[who].name, device="cpu"),
            way,
        )
        if held == job.number:  # a job that was made twice: it is what the worker is doing
            assert isinstance(answer, Assignment)
            assert answer.attempt == self._key(job.number)
        elif self.trials[job.number].state in ("QUEUED", "WAITING") and isinstance(answer, Assignment):
            self._start(answer, who)
        else:
            assert isinstance(answer, Nothing), answer

    @rule(who=WORKERS, value=VALUES, again=st.booleans(), way=WAYS)
    def report(self, who: int, value: float, again: bool, way: str) -> None:
        """The next step's value, or once more one that was reported."""
        number = self._held_by(who)
        if number is None:
            return
        trial = self.trials[number]
        step = trial.steps[-1] if again and trial.steps else len(trial.steps) + 1
        answer = self._deliver(who, Report(attempt=self._key(number), step=step, metrics={METRIC: value}), way)
        if step not in trial.steps:
            trial.steps.append(step)
            trial.reports.append((trial.attempt, step, value))
            trial.values_by_step[step] = value
            trial.hopeless |= trial.values_by_step[max(trial.values_by_step)] > HOPELESS
        assert isinstance(answer, Decision)
        assert not answer.stale
        trial.told = "prune" if trial.hopeless else "pause" if self.state is StudyState.PAUSED else "continue"
        assert answer.decision == trial.told

    @rule(
        who=WORKERS,
        outcome=st.sampled_from(["finished", "finished", "failed", "returned", "lost"]),
        pull=st.booleans(),
        way=WAYS,
    )
    def finish(self, who: int, outcome: Any, pull: bool, way: str) -> None:
        number = self._held_by(who)
        if number is None:
            return
        trial = self.trials[number]
        if trial.told in ("prune", "pause") and outcome == "finished":
            outcome = {"prune": "pruned", "pause": "paused"}[trial.told]
        metrics = {METRIC: 0.3} if outcome == "finished" else {}
        request = Finish(attempt=self._key(number), outcome=outcome, metrics=metrics, pull=pull)
        self._finish(number, outcome)
        answer = self._deliver(who, request, way)
        assert isinstance(answer, Settled)
        assert way in ("killed after", "twice") or not answer.stale
        if answer.next is not None:
            assert pull
            self._start(answer.next, who)

    @rule(which=st.integers(0, 50), who=WORKERS, end=st.booleans())
    def come_back_late(self, which: int, who: int, end: bool) -> None:
        """A worker speaks of an attempt that is over: it is told so, and nothing changes."""
        if not self.stale:
            return
        attempt = self.stale[which % len(self.stale)]
        if end:
            answer = self.workers[who].say(Finish(attempt=attempt, outcome="finished", metrics={METRIC: 0.0}))
            assert isinstance(answer, Settled)
        else:
            answer = self.workers[who].say(Report(attempt=attempt, step=99, metrics={METRIC: 0.0}))
            assert isinstance(answer, Decision)
        assert answer.stale

    @rule(silent=st.sets(WORKERS))
    def time_passes(self, silent: set[int]) -> None:
        """Longer than a lease; some workers give no sign of life."""
        for _ in range(3):
            self.yard.clock.advance(self.yard.settings.lease_seconds / 2)
            for place, worker in enumerate(self.workers):
                if place not in silent:
                    worker.beat()
            self.yard.turn()
        for place in silent:
            if (held := self._held_by(place)) is not None:
                self._lose(held)

    # People

    @rule(which=NUMBERS)
    def cancel(self, which: int) -> None:
        answer = self.workers[0].say(CancelTrial(study_id=self.study_id, number=which))
        if self.state.ended or which >= len(self.trials) or self.trials[which].state not in OPEN:
            assert isinstance(answer, Refused)
        else:
            assert answer == Done(number=which)
            self._end(which, "cancelled", "CANCELLED")

    @rule(which=NUMBERS)
    def retry(self, which: int) -> None:
        answer = self.workers[0].say(RetryTrial(study_id=self.study_id, number=which))
        may = which < len(self.trials) and self.trials[which].state in ("FAILED", "CANCELLED")
        if self.state.ended or not may:
            assert isinstance(answer, Refused)
        else:
            assert answer == Done(number=which)
            trial = self.trials[which]
            trial.state, trial.retries, trial.hopeless = "WAITING", 0, False

    @rule(x=st.floats(0, 1))
    def enqueue(self, x: float) -> None:
        answer = self.workers[0].say(Enqueue(study_id=self.study_id, parameters={"x": x, "k": "b"}))
        if self.state.ended or len(self.trials) >= self.budget:
            assert isinstance(answer, Refused)
        else:
            assert answer == Done(number=len(self.trials))
            self.trials.append(Trial("WAITING", given=True))

    @precondition(lambda self: self.budget < MOST_TRIALS)
    @rule(more=st.integers(0, 2), way=WAYS)
    def give_more_trials(self, more: int, way: str) -> None:
        """A study that has ended runs again if there is one to be made."""
        answer = self._deliver(0, Amend(study_id=self.study_id, budget={"trials": self.budget + more}), way)
        if self.state.ended and self.budget + more <= len(self.trials):
            assert isinstance(answer, Refused)
            return
        assert answer == Done()
        self.budget += more
        if self.state.ended:
            self.state = StudyState.RUNNING

    @rule()
    def pause_or_resume(self) -> None:
        if self.state.ended:
            return
        self.state = StudyState.PAUSED if self.state is StudyState.RUNNING else StudyState.RUNNING
        for trial in self.trials:
            if trial.state == "QUEUED" and self.state is StudyState.PAUSED:
                trial.state = "WAITING"
            if trial.state == "PAUSED" and self.state is StudyState.RUNNING:
                trial.state = "WAITING"
        self.yard.set_state(self.study_id, self.state)

    # Faults

    @rule()
    def kill_the_scheduler(self) -> None:
        self.yard.restart()

    @rule()
    def wipe_redis(self) -> None:
        self.yard.client.flushall()
        self.yard.turn()

    @rule(which=NUMBERS)
    def lose_a_job(self, which: int) -> None:
        """A worker dies with a job in its hand, before it has asked what to do."""
        jobs = sorted(job for job in self.yard.jobs() if job.study_id == self.study_id)
        if jobs:
            self.yard.pop(jobs[which % len(jobs)])

    # What must hold

    @invariant()
    def the_database_says_what_the_model_says(self) -> None:
        rows = self.yard.trials(self.study_id)
        for row in rows[len(self.trials) :]:
            self.trials.append(Trial(row.state))
            assert row.state == "QUEUED"
        assert len(rows) == len(self.trials) <= self.budget
        for number, (row, trial) in enumerate(zip(rows, self.trials, strict=True)):
            if (trial.state, row.state) == ("WAITING", "QUEUED"):
                assert self.state is StudyState.RUNNING
                trial.state = "QUEUED"
            assert (number, row.state) == (number, trial.state)
            assert row.values == (None if trial.value is None else {METRIC: trial.value})
            attempts = self.yard.attempts(self.study_id, number)
            assert [each.outcome for each in attempts] == trial.ends
            reports = [
                (each.attempt, each.step, each.metrics[METRIC]) for each in self.yard.reports(self.study_id, number)
            ]
            assert reports == sorted(trial.reports)
        self._check_that_the_study_goes_on()

    def teardown(self) -> None:
        """Whatever has happened, the rest of the study runs to its end, and with more trials to another one."""
        if self.state is StudyState.PAUSED:
            self.pause_or_resume()
        self._run_to_the_end()
        ways = ("plain", "twice", "killed before", "killed after", "wiped")
        self.give_more_trials(2, ways[len(self.stale) % len(ways)])
        self._run_to_the_end()
        definition = parse(self.document)
        undisturbed = OptunaStudy(definition)
        for row, trial in zip(self.yard.trials(self.study_id), self.trials, strict=True):
            proposed = undisturbed.propose().parameters
            assert trial.given or row.parameters == proposed
        events = [event.sequence for event in self.yard.events(self.study_id)]
        assert events == list(range(1, len(events) + 1))

    # Helpers

    def _run_to_the_end(self) -> None:
        while not self.state.ended:
            self.time_passes(set())  # long enough for jobs that were lost to be made again
            self.the_database_says_what_the_model_says()
            queued = {(self.study_id, n, t.attempt + 1) for n, t in enumerate(self.trials) if t.state == "QUEUED"}
            assert queued <= self.yard.jobs()
            for who in range(len(self.workers)):
                self.take(who, 0, "plain")
                self.finish(who, "finished", False, "plain")
                self.the_database_says_what_the_model_says()

    def _deliver(self, who: int, request: Request, way: str) -> Answer:
        worker = self.workers[who]
        sequence = worker.post(request)
        match way:
            case "twice":
                worker.post(request, sequence)
            case "killed before":
                self.yard.restart()
            case "killed after":
                self._die_before_answering()
            case "wiped":
                self.yard.client.flushall()
                worker.post(request, sequence)
        self.yard.turn()
        answers = []
        while (answer := worker.answer()) is not None:
            answers.append(answer)
        if not answers:
            return worker.say(request, sequence)
        assert all(each == answers[0] for each in answers)
        return answers[0]

    def _die_before_answering(self) -> None:
        def die(*_: Any) -> None:
            raise Killed

        self.yard.scheduler._inbox.settle = die  # type: ignore[method-assign,assignment]
        try:
            self.yard.turn()
        except Killed:
            self.yard.restart()

    def _held_by(self, who: int) -> int | None:
        return next((n for n, each in enumerate(self.trials) if each.state == "RUNNING" and each.worker == who), None)

    def _key(self, number: int) -> AttemptKey:
        return AttemptKey(self.study_id, number, self.trials[number].attempt)

    def _start(self, given: Assignment, who: int) -> None:
        number = given.attempt.number
        if number == len(self.trials):
            self.trials.append(Trial("QUEUED"))
        trial = self.trials[number]
        assert trial.state in ("QUEUED", "WAITING")
        assert given.attempt == AttemptKey(self.study_id, number, trial.attempt + 1)
        assert given.resumable == list(range(trial.attempt, 0, -1))
        trial.state, trial.attempt, trial.worker = "RUNNING", trial.attempt + 1, who
        trial.steps, trial.told = [], "continue"
        trial.ends.append(None)

    def _finish(self, number: int, outcome: str) -> None:
        trial = self.trials[number]
        match outcome:
            case "finished":
                trial.value = 0.3
                self._end(number, "finished", "COMPLETE")
            case "failed" | "pruned":
                self._end(number, outcome, outcome.upper())
            case "paused":
                self._end(number, "paused", "PAUSED" if self.state is StudyState.PAUSED else "QUEUED")
            case "returned":
                self._end(number, "returned", "PRUNED" if trial.hopeless else self._again())
            case "lost":
                self._lose(number)

    def _lose(self, number: int) -> None:
        trial = self.trials[number]
        if trial.hopeless:
            self._end(number, "lost", "PRUNED")
        elif trial.retries >= RETRIES:
            self._end(number, "lost", "FAILED")
        else:
            trial.retries += 1
            self._end(number, "lost", self._again())

    def _again(self) -> str:
        return "WAITING" if self.state is StudyState.PAUSED else "QUEUED"

    def _end(self, number: int, outcome: str, state: str) -> None:
        trial = self.trials[number]
        if trial.state == "RUNNING":
            trial.ends[-1] = outcome
            self.stale.append(self._key(number))
        trial.state, trial.worker = state, None

    def _check_that_the_study_goes_on(self) -> None:
        counts = {
            state: sum(trial.state == state for trial in self.trials)
            for state in (*OPEN, "FAILED", "PRUNED", "COMPLETE")
        }
        busy = counts["QUEUED"] + counts["RUNNING"]
        left = counts["WAITING"] + self.budget - len(self.trials)
        if self.state is StudyState.RUNNING:
            assert busy == PARALLEL or (left == 0 and busy < PARALLEL)
            if busy == left == 0:
                nothing = counts["FAILED"] > 0 == counts["COMPLETE"] + counts["PRUNED"]
                self.state = StudyState.FAILED if nothing else StudyState.COMPLETE
        assert self.yard.study(self.study_id).state == str(self.state)


def test_no_history_loses_a_trial_or_counts_one_twice(yard: Yard) -> None:
    machine = type("History", (History,), {"yard": yard})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=30,
            deadline=None,
            derandomize="TRIALYARD_TEST_HISTORIES" not in os.environ,
            phases=[Phase.generate],  # making a history shorter takes many minutes
            suppress_health_check=list(HealthCheck),
        ),
    )
