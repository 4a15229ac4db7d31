"""What a job does, inside the runner: take the trial or the task, run it, report its end, and go on in time."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import structlog
from redis.exceptions import RedisError

from search.definition import Definition, parse
from store.artifacts import Artifacts
from store.bus import Caller
from store.errors import DefinitionError, OtherVersion, Problem, StaleAttempt, Unavailable
from store.messages import (
    Assignment,
    AttemptKey,
    Finish,
    FinishTask,
    Preflighted,
    PreflightTask,
    Settled,
    Take,
    TakeTask,
    TaskAssignment,
)
from worker.ending import CommandFailed, CrowdedOut, Ending, GroupFailed, outcome_of, reason_of
from worker.outgoing import Outgoing
from worker.progress import Progress
from worker.reporter import PATIENCE_SECONDS, Reporter, finite
from worker.room import FULL
from worker.tasks import Returned, TaskKind, Workplace
from worker.triallog import LogKeeper, TrialLog
from worker.wear import Wear

ASK_SECONDS = 2.0  # between two questions whether a task is still wanted

log = structlog.get_logger(__name__)


class Kind(Protocol):
    """How the trials of one kind are run."""

    def run(self, assignment: Assignment, reporter: Reporter, should_leave: Callable[[], bool]) -> Ending:
        """Raises: StaleAttempt: the attempt has ended already. Anything else: the trial has failed."""

    def preflight(
        self, definition: Definition, origins: Mapping[str, AttemptKey]
    ) -> tuple[list[dict[str, str]], dict[str, Any]]:
        """What is wrong with a study before any trial of it, and facts for people."""


@dataclass(frozen=True)
class Bench:
    """What a runner works with."""

    worker: str
    device: str
    caller: Caller
    artifacts: Artifacts
    kinds: Mapping[str, Kind]
    tasks: Mapping[str, TaskKind]
    pull_seconds: float
    began: Callable[[AttemptKey], None]
    ended: Callable[[AttemptKey, int], None]  # with the number of messages that came too late
    should_leave: Callable[[], bool]
    should_rest: Callable[[], bool]
    spools: Path
    report_patience: float
    lease: float
    wear: Wear
    progress: Progress
    logs: LogKeeper


def perform(bench: Bench, study_id: int, number: int | None = None, kind: Literal["trial", "task"] = "trial") -> None:
    """Do what a job asks for. As a job it always ends well: what came of it has gone to the scheduler by then.

    Args:
        number: the trial or the task that the job was made for; None for the study's preflight.
    """
    try:
        if kind == "task" and number is not None:
            _perform_task(bench, study_id, number)
        else:
            _perform(bench, study_id, number)
    except (Unavailable, OtherVersion, RedisError) as error:
        log.error("gave a job up", study=study_id, trial=number, error=str(error))


def _perform(bench: Bench, study_id: int, number: int | None) -> None:
    started = time.monotonic()
    take = Take(study_id=study_id, number=number, worker=bench.worker, device=bench.device)
    answer = bench.caller.call(take, PATIENCE_SECONDS)
    if isinstance(answer, PreflightTask):
        bench.caller.call(_preflight(bench, answer), PATIENCE_SECONDS)
        return
    assignment = answer if isinstance(answer, Assignment) else None
    while assignment is not None:
        bench.began(assignment.attempt)
        outgoing = Outgoing(bench.caller, assignment.attempt, bench.spools, bench.report_patience, bench.lease)
        finish = _run(bench, assignment, outgoing)
        bench.wear.trial_ended()
        pull = time.monotonic() - started < bench.pull_seconds and _may_pull(bench)
        settled = outgoing.finish(finish.model_copy(update={"pull": pull}))
        bench.ended(assignment.attempt, outgoing.refused)
        assignment = settled.next


def _may_pull(bench: Bench) -> bool:
    return not bench.should_leave() and not bench.should_rest() and bench.wear.reason is None


def _perform_task(bench: Bench, study_id: int, number: int) -> None:
    take = TakeTask(study_id=study_id, number=number, worker=bench.worker)
    answer = bench.caller.call(take, PATIENCE_SECONDS)
    if not isinstance(answer, TaskAssignment):
        return
    bench.began(answer.attempt)
    wanted = _Wanted(take, answer, bench.caller)
    folder = bench.artifacts.task(study_id, number)
    place = Workplace(study_id, number, folder, bench.artifacts, bench.should_leave, wanted)
    settled = bench.caller.call(_run_task(bench, answer, place), PATIENCE_SECONDS)
    bench.ended(answer.attempt, 0)
    if isinstance(settled, Settled) and settled.gone:
        bench.artifacts.delete_task(study_id, number)


def _run(bench: Bench, assignment: Assignment, outgoing: Outgoing) -> Finish:
    """Run a trial to one of its ends. Whatever it raises is its own end, and never the runner's."""
    if bench.should_leave():
        return Finish(attempt=assignment.attempt, outcome="returned")

    def should_leave() -> bool:
        return outgoing.gives_up or bench.should_leave()

    _clear(bench.artifacts, assignment.attempt)
    with TrialLog(bench.artifacts.attempt(assignment.attempt), bench.logs) as output:
        try:
            kind = bench.kinds[assignment.trial["kind"]]
            reporter = Reporter(outgoing, assignment.attempt, output, bench.progress.step)
            ending = kind.run(assignment, reporter, should_leave)
            metrics = finite(ending.metrics, "at the end")
            return Finish(attempt=assignment.attempt, outcome=ending.outcome, metrics=metrics)
        except Unavailable:
            raise
        except OtherVersion as error:  # says nothing of the trial; workers that understand the scheduler go on with it
            return Finish(attempt=assignment.attempt, outcome="returned", reason=reason_of(error))
        except StaleAttempt:
            # This end is refused as well; with it the worker may still ask for the study's next trial.
            return Finish(attempt=assignment.attempt, outcome="returned")
        except (CommandFailed, GroupFailed) as error:
            headline = error.headline if isinstance(error, CommandFailed) else str(error)
            output.write(f"trialyard: {headline}\n".encode(errors="backslashreplace"))
            return Finish(attempt=assignment.attempt, outcome=outcome_of(error), reason=reason_of(error))
        except BaseException as error:  # noqa: BLE001 - a trial may raise anything
            _print_traceback()
            bench.wear.failed(error)
            if isinstance(error, CrowdedOut):
                bench.progress.crowded()
            return Finish(attempt=assignment.attempt, outcome=outcome_of(error), reason=reason_of(error))


def _print_traceback() -> None:
    """Raises: OSError: the disk is full, which may be all that the trial has raised: with its runner it is lost."""
    try:
        traceback.print_exc()
    except OSError as error:  # a trial may close what it prints to
        if error.errno in FULL:
            raise


def _clear(artifacts: Artifacts, attempt: AttemptKey) -> None:
    try:
        if artifacts.clear_attempt(attempt):
            log.warning("took away what an attempt of another database had left here", attempt=attempt.token)
    except OSError as error:  # a full disk, or a store that is away: the trial's own writes will wait, and tell
        log.warning("could not look for what was left by another attempt", attempt=attempt.token, error=str(error))


def _preflight(bench: Bench, task: PreflightTask) -> Preflighted:
    try:
        definition = parse(task.definition)
        problems, facts = bench.kinds[definition.kind].preflight(definition, task.origins)
    except DefinitionError as error:
        problems, facts = [problem.as_dict() for problem in error.problems], {}
    except Exception as error:
        log.exception("a preflight failed", study=task.study)
        hint = f"the log of worker {bench.worker} has the details"
        problems, facts = [Problem("trial", f"the preflight failed: {reason_of(error)}", hint).as_dict()], {}
    return Preflighted(study_id=task.study_id, problems=problems, facts=facts)


def _run_task(bench: Bench, task: TaskAssignment, place: Workplace) -> FinishTask:
    """Whatever a task raises is its own end, and never the runner's."""
    kind = bench.tasks[task.task]
    with TrialLog(place.folder, bench.logs) if kind.keeps_log else nullcontext():
        try:
            place.check()
            result = kind.run(task.request, place)
            return FinishTask(attempt=task.attempt, outcome="finished", result=result)
        except Returned:
            return FinishTask(attempt=task.attempt, outcome="returned")
        except Exception as error:  # noqa: BLE001 - a task may raise anything
            traceback.print_exc()
            return FinishTask(attempt=task.attempt, outcome="failed", reason=reason_of(error))


class _Wanted:
    """Whether a task is still ours to do: taking it again says so, every few seconds at most."""

    def __init__(self, take: TakeTask, answer: TaskAssignment, caller: Caller) -> None:
        self._take, self._answer, self._caller = take, answer, caller
        self._ask_at = time.monotonic() + ASK_SECONDS

    def __call__(self) -> bool:
        if time.monotonic() < self._ask_at:
            return True
        self._ask_at = time.monotonic() + ASK_SECONDS
        again = self._caller.call(self._take, PATIENCE_SECONDS)
        return isinstance(again, TaskAssignment) and again.attempt == self._answer.attempt
