"""What people ask of a study: a trial with given parameters, the end or a retry of one, another budget.

The scheduler alone writes trials, and holds the budget in memory: these requests go to it, and are answered when it has
committed what they ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Response
from pydantic import Field, JsonValue

from api.deps import Number, StudyName, Wired
from api.once import OnceRoute
from api.parts import Parts
from api.requests import RequestModel
from api.routes.studies import shown
from api.shapes import Study, Trial
from search.amending import changed
from search.definition import Definition, parse
from search.optuna_trials import ENQUEUED
from search.points import completed
from search.sections import Priority
from search.space import Space
from store.errors import Conflict, TrialyardError, Unprocessable
from store.messages import Amend, CancelTrial, Done, Enqueue, Refused, RetryTrial
from store.models import StudyRow, StudyState, TrialState
from store.studies import Studies
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}", route_class=OnceRoute, tags=["control"])


class EnqueueBody(RequestModel):
    missing: ClassVar[Mapping[str, str]] = {"parameters": 'as in {"parameters": {"optimizer.lr": 0.01}}'}

    parameters: Annotated[dict[str, JsonValue], Field(max_length=1000)]


class AmendBody(RequestModel):
    fixed = {field.alias or name: "begin another study" for name, field in Definition.model_fields.items()} | {
        "enqueue": "POST /api/v1/studies/{name}/trials adds trials of given parameters",
        "name": "a study keeps its name",
    }

    budget: Annotated[dict[str, Any], Field(default_factory=dict)]
    parameters: Annotated[dict[str, Any], Field(default_factory=dict, max_length=1000)]
    parameter_constraints: Annotated[list[Any] | None, Field(max_length=1000)] = None
    priority: Priority | None = None


@router.patch("")
def change_study(name: StudyName, body: AmendBody, parts: Wired) -> Study:
    """Change the priority, keys of `budget` and `parameters`, or `parameter_constraints` as a whole, effective at once.

    A null in the budget stands for what holds where a key is left out. An entry of `parameters` replaces the one of its
    name, or is added; trials that were made before stay, and teach the sampler as far as they fit.

    A study that has ended COMPLETE or FAILED runs again if that gives it something to do; else the answer is 409.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
    wanted = Amend(study_id=study.id, **body.model_dump())
    changed(study.definition, wanted, len(study.past_spaces) + 1, study.system_attrs.get(ENQUEUED, 0))
    _ask(parts, wanted)
    with parts.reads() as session:
        return shown(session, Studies(session).get(name))[0]


@router.post("/trials", status_code=201)
def enqueue_trial(name: StudyName, body: EnqueueBody, parts: Wired, response: Response) -> Trial:
    """Make a trial with these parameters; it is the next one to begin, and counts as one of the budget's.

    Those that are left out have the value that the section `trial` says, or a constant; else the sampler proposes them.
    """
    study = _open_study(parts, name)
    definition = parse(study.definition)
    space = Space(definition.parameters, definition.parameter_constraints)
    point = completed(space.conditions, body.parameters, definition.told())
    if problems := space.check_given(point, definition.sampler.name):
        raise Unprocessable("; ".join(map(str, problems)), problems)
    trial = _trial(parts, study, _ask(parts, Enqueue(study_id=study.id, parameters=point)))
    response.headers["Location"] = f"/api/v1/studies/{name}/trials/{trial.number}"
    return trial


@router.post("/trials/{number}/cancel")
def cancel_trial(name: StudyName, number: Number, parts: Wired) -> Trial:
    """End an open trial: it is CANCELLED. If it runs, its worker hears of it at its next report."""
    study = _open_study(parts, name, number)
    with parts.reads() as session:
        state = TrialState(Trials(session, study).get(number).state)
    if state.ended:
        raise Conflict(f"trial {number} is {state}; only an open one can be cancelled")
    return _trial(parts, study, _ask(parts, CancelTrial(study_id=study.id, number=number)))


@router.post("/trials/{number}/retry")
def retry_trial(name: StudyName, number: Number, parts: Wired) -> Trial:
    """Run a FAILED or CANCELLED trial again, in a new attempt that goes on from its newest checkpoint.

    A study that has ended COMPLETE or FAILED runs again until the trial has ended.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
        Trials(session, study).get(number)
    return _trial(parts, study, _ask(parts, RetryTrial(study_id=study.id, number=number)))


def _open_study(parts: Parts, name: str, number: int | None = None) -> StudyRow:
    """Raises: NotFound: there is no such study, or no such trial in it. Conflict: it has ended."""
    with parts.reads() as session:
        study = Studies(session).get(name)
        if number is not None:
            Trials(session, study).get(number)
    if StudyState(study.state).ended:
        cure = f'a larger budget takes it up again: trialyard edit {name} \'{{"budget": {{"trials": …}}}}\''
        if study.state == StudyState.CANCELLED:
            cure = f"a new one learns from its trials with warm_start: {{study: {name}}}"
        raise Conflict(f"the study {name!r} has ended ({study.state}); {cure}")
    return study


def _ask(parts: Parts, request: Amend | Enqueue | CancelTrial | RetryTrial) -> int:
    """The number of the trial that the request was about.

    Raises:
        Conflict: as things stand it cannot be done.
        Unavailable: no scheduler answers.
    """
    answer = parts.scheduler.ask(request)
    if isinstance(answer, Refused):
        raise Conflict(answer.message)
    if not isinstance(answer, Done):
        raise TrialyardError(f"the scheduler answered {answer.kind!r}, which is no answer to this request")
    return -1 if answer.number is None else answer.number


def _trial(parts: Parts, study: StudyRow, number: int) -> Trial:
    with parts.reads() as session:
        return Trial.at(Trials(session, study), number)
