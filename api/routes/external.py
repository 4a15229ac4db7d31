"""Ask, report and tell: for workers that are not ours, in studies of `kind: external`."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import orjson
from fastapi import APIRouter, Response
from pydantic import Field

from api.deps import Number, StudyName, Wired
from api.once import OnceRoute
from api.parts import Parts
from api.requests import RequestModel
from api.shapes import DecisionShape, Handout, Handouts, Trial
from store.errors import Conflict, Problem, StaleAttempt, TrialyardError, Unprocessable
from store.messages import (
    MAX_STEP,
    Answer,
    Ask,
    AttemptKey,
    Decision,
    DecisionName,
    Finish,
    Handed,
    Metrics,
    Refused,
    Report,
    Settled,
)
from store.models import Outcome, StudyRow, StudyState, TrialRow, TrialState
from store.studies import Studies
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}", route_class=OnceRoute, tags=["ask and tell"])

ENDED_RETRY_SECONDS = 60

Token = Annotated[str, Field(min_length=5, max_length=64)]


class AskBody(RequestModel):
    worker: Annotated[str, Field(min_length=1, max_length=128)]
    count: Annotated[int, Field(ge=1, le=1000)] = 1


class ReportBody(RequestModel):
    token: Token
    step: Annotated[int, Field(ge=0, le=MAX_STEP)]
    metrics: Annotated[Metrics, Field(min_length=1, max_length=1000)]


class TellBody(RequestModel):
    token: Token
    state: Literal["complete", "failed", "diverged", "infeasible"]
    metrics: Annotated[Metrics, Field(max_length=1000)] = Field(default_factory=dict)
    reason: Annotated[str, Field(max_length=10_000)] | None = None


@router.post("/ask")
def ask(name: StudyName, body: AskBody, parts: Wired, response: Response) -> Handouts:
    """Hand out up to `count` trials to run. None: nothing to do now; `Retry-After` says when to ask again."""
    study = _external(parts, name)
    answer: Answer = Handed(ended=True, retry_after=ENDED_RETRY_SECONDS)
    if not StudyState(study.state).ended:
        answer = parts.scheduler.ask(Ask(study_id=study.id, worker=body.worker, count=body.count))
    if not isinstance(answer, Handed):
        raise _unexpected(answer)
    if not answer.items:
        response.headers["Retry-After"] = str(math.ceil(answer.retry_after))
    items = [
        Handout(
            number=item.attempt.number,
            attempt=item.attempt.attempt,
            token=item.attempt.token,
            parameters=item.parameters,
        )
        for item in answer.items
    ]
    return Handouts(items=items, ended=answer.ended)


@router.post("/trials/{number}/report")
def report(name: StudyName, number: Number, body: ReportBody, parts: Wired) -> DecisionShape:
    """Record the metrics of one step. The decision says whether to go on: `prune` and `pause` end the attempt.

    What is reported twice is answered alike, also when the first answer has ended the attempt.
    """
    study = _external(parts, name)
    key = _attempt_of(study, number, body.token)
    answer = parts.scheduler.ask(Report(attempt=key, step=body.step, metrics=body.metrics))
    if not isinstance(answer, Decision):
        raise _unexpected(answer)
    if not answer.stale:
        return DecisionShape(decision=answer.decision)
    with parts.reads() as session:
        decided = _decided(Trials(session, study), key, body.step)
    if decided is None:
        raise _stale(key)
    return DecisionShape(decision=decided)


@router.post("/trials/{number}/tell")
def tell(name: StudyName, number: Number, body: TellBody, parts: Wired) -> Trial:
    """End an attempt, once. `complete` needs the objective's metric, told now or reported before.

    `diverged` says that the objective, or a metric of a constraint, was not finite: the trial is FAILED, and the search
    takes it for one that came out as badly as the worst so far; of one that is only `failed` it learns nothing.
    `infeasible` says that the trial cannot run with these parameters, as for want of memory: it is PRUNED, and the
    search keeps away from them.
    After the decision `prune` there is nothing left to tell: the answer is the PRUNED trial as it is.
    What is told twice is answered alike; another state, or other metrics, than were told first are refused with 409.
    `failed` and `diverged` are alike here: the trial is FAILED, and the search goes by what was told first.
    """
    study = _external(parts, name)
    key = _attempt_of(study, number, body.token)
    outcome, ended = _ENDS[body.state]
    answer = parts.scheduler.ask(Finish(attempt=key, outcome=outcome, metrics=body.metrics, reason=body.reason))
    if not isinstance(answer, Settled):
        raise _unexpected(answer)
    with parts.reads() as session:
        trials = Trials(session, study)
        attempt = trials.attempt(key)
        # Told again, or told after the decision to prune, which has settled the attempt: no mistake of the worker's.
        settled = attempt is not None and attempt.outcome in (ended, Outcome.PRUNED)
        trial = trials.get(number)
        if answer.stale and trials.newest_attempt(number) == key and attempt is not None:
            _check_repeated(trial, Outcome(attempt.outcome) if attempt.outcome else None, body)
        if answer.stale and not settled:
            raise _stale(key)
        return Trial.of(trial, trials.attempts([number])[number])


_ENDS: dict[str, tuple[Literal["finished", "failed", "diverged", "infeasible"], Outcome]] = {
    "complete": ("finished", Outcome.FINISHED),
    "failed": ("failed", Outcome.FAILED),
    "diverged": ("diverged", Outcome.FAILED),
    "infeasible": ("infeasible", Outcome.FAILED),
}


_STATES: dict[str, TrialState] = {
    "complete": TrialState.COMPLETE,
    "failed": TrialState.FAILED,
    "diverged": TrialState.FAILED,
    "infeasible": TrialState.PRUNED,
}


def _decided(trials: Trials, key: AttemptKey, step: int) -> DecisionName | None:
    """What a report was answered that ended this attempt: the worker has not heard it if it reports the step again."""
    attempt = trials.attempt(key)
    if attempt is None or trials.newest_attempt(key.number) != key or step != trials.last_step(key):
        return None
    return _LAST_WORDS.get(attempt.outcome or "")


_LAST_WORDS: dict[str, DecisionName] = {Outcome.PRUNED: "prune", Outcome.PAUSED: "pause"}


def _check_repeated(trial: TrialRow, outcome: Outcome | None, body: TellBody) -> None:
    """Raises: Conflict: a trial has ended by what was told before, and this is something else."""
    if outcome not in (Outcome.FINISHED, Outcome.FAILED) or not TrialState(trial.state).ended:
        return  # nobody has told it, or it is run again
    kept, told = trial.metrics or {}, body.metrics if body.state == "complete" else {}
    if trial.state == _STATES[body.state] and told.items() <= kept.items():
        return
    measured = f" with {orjson.dumps(kept).decode()}" if outcome is Outcome.FINISHED else ""
    raise Conflict(f"trial {trial.number} is {trial.state}{measured}, as was told first, and what is told now differs")


def _external(parts: Parts, name: str) -> StudyRow:
    """Raises: NotFound, Conflict: the study's trials are not for asking."""
    with parts.reads() as session:
        study = Studies(session).get(name)
    kind = study.definition["trial"]["kind"]
    if kind != "external":
        raise Conflict(
            f"the trials of the study {name!r} are of kind {kind!r} and run on our own workers; "
            "only those of `trial: {kind: external}` are handed out by ask"
        )
    return study


def _attempt_of(study: StudyRow, number: int, token: str) -> AttemptKey:
    """Raises: BadRequest: the text is no token. Conflict: it is that of another trial."""
    key = AttemptKey.of_token(token)
    if (key.study_id, key.number) != (study.id, number) or not 1 <= key.attempt <= MAX_STEP:
        raise Conflict(
            f"the token is not one of trial {number} of the study {study.name!r}; use the one that ask returned"
        )
    return key


def _stale(key: AttemptKey) -> StaleAttempt:
    return StaleAttempt(
        f"attempt {key.attempt} of trial {key.number} is over and changes nothing any more; ask for a new one"
    )


def _unexpected(answer: Answer) -> TrialyardError:
    if isinstance(answer, Refused):
        where, _, what = answer.message.partition(": ")
        return Unprocessable(answer.message, [Problem(where, what)])
    return TrialyardError(f"the scheduler answered {answer.kind!r}, which is no answer to this request")
