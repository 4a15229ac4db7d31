"""Ensembles of a study's finished trials: ordered, listed, taken away."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path
from pydantic import Field, model_validator
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response, StreamingResponse

from api.bundle import bundle_ensemble, pieces
from api.cursors import Cursor
from api.deps import CursorText, Digits, Limit, PathStudy, Reading, StudyName, Wired
from api.errands import ConvertBody, have_done
from api.kept_models import MODEL, PREDICTIONS, complete_ensemble
from api.model_card import ensemble_card
from api.once import OnceRoute
from api.parts import Parts
from api.requests import RequestModel
from api.result_shapes import Artifact, Ensemble
from api.shapes import Page
from search.definition import parse
from search.live_tasks import COLLECT
from search.refitting import METHOD, own_refit, request_of
from store.artifacts import Folder
from store.errors import Conflict
from store.messages import MAX_STEP, AttemptKey
from store.models import StudyRow, StudyState, TaskRow, TrialRow, TrialState
from store.studies import Studies
from store.tasks import ENSEMBLE, Tasks
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}/ensembles", route_class=OnceRoute, tags=["models"])

CANDIDATES = {"average": 10, "greedy": 50, "stacking": 20, "bagging": 1, "boosting": 1, "refit": 1}
MOST_LOOKED_AT = 500
ROUNDS = {"greedy": 30, "bagging": 10, "boosting": 10}
IMAGE_SIZE = "data.image_size"
TRAINED_ANEW = ("bagging", "boosting", "refit")

EnsembleNumber = Annotated[int, Digits, Path(alias="ensemble", ge=1, le=MAX_STEP, description="the ensemble's number")]


class EnsembleBody(RequestModel):
    method: Literal["average", "greedy", "stacking", "bagging", "boosting", "refit"] = "greedy"
    candidates: Annotated[int, Field(ge=2, le=200)] | None = None
    rounds: Annotated[int, Field(ge=1, le=200)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _has_its_options(self) -> Self:
        if self.rounds is not None and self.method in ("average", "stacking"):
            raise ValueError(f"{self.method} has no rounds: greedy, bagging, boosting and refit have rounds")
        if self.candidates is not None and self.method in TRAINED_ANEW:
            raise ValueError(
                f"{self.method} is of the best trial alone: average, greedy and stacking choose from candidates"
            )
        return self


@router.post("", status_code=201, response_model=Ensemble)
def build_ensemble(name: StudyName, body: EnsembleBody, parts: Wired) -> Response:
    """Have an ensemble built by a worker of the study's pool.

    `average`, `greedy` (Caruana et al. 2004) and `stacking` combine the best trials that are complete; at most
    `candidates` of them. `bagging` and `boosting` train the best configuration again, `rounds` times at most. `refit`
    trains it on training and validation rows, from `rounds` seeds, for as many epochs as its best one.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
        request = _request(parts, session, study, body)
    with parts.writes.begin() as session:
        task = Tasks(session, study).add(ENSEMBLE, request, parts.clock())
    parts.scheduler.announce(study.id)
    location = {"Location": f"/api/v1/studies/{name}/ensembles/{task.ordinal}"}
    return JSONResponse(Ensemble.of(task).model_dump(mode="json"), 201, location)


@router.get("")
def list_ensembles(session: Reading, study: PathStudy, limit: Limit = 50, cursor: CursorText = None) -> Page[Ensemble]:
    """The newest first."""
    cursors = Cursor(f"ensembles {study.id}", int)
    found = Tasks(session, study).page(ENSEMBLE, cursors.decode(cursor), limit + 1)
    more = cursors.encode(found[limit - 1].number) if len(found) > limit else None
    return Page(items=[Ensemble.of(task) for task in found[:limit]], next_cursor=more)


@router.get("/{ensemble}")
def read_ensemble(session: Reading, study: PathStudy, ensemble: EnsembleNumber) -> Ensemble:
    return Ensemble.of(Tasks(session, study).ensemble(ensemble))


@router.get("/{ensemble}/model", response_class=StreamingResponse)
def download_ensemble(session: Reading, study: PathStudy, ensemble: EnsembleNumber, parts: Wired) -> StreamingResponse:
    """The ensemble with all its members' models in one zip."""
    task = complete_ensemble(session, study, ensemble)
    stem = f"{study.name}-ensemble-{ensemble}"
    own = parts.artifacts.task(study.id, task.number)
    file = bundle_ensemble(own, _members(parts, study, task), ensemble_card(study, task, own.names()), stem)
    head = {"Content-Disposition": f'attachment; filename="{stem}.zip"'}
    return StreamingResponse(pieces(file), media_type="application/zip", headers=head)


@router.post("/{ensemble}/artifacts", status_code=201)
def convert_refit(name: StudyName, ensemble: EnsembleNumber, body: ConvertBody, parts: Wired) -> Artifact:
    """Put the model of a refit into another form beside it: `onnx`, `torch` or `int8`, as that of a trial. The download
    then has it, too. Of `int8` the costs are measured, and nothing else: a refit has learned the validation rows.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
        task = complete_ensemble(session, study, ensemble)
    if task.request["method"] != METHOD:
        raise Conflict(f"ensemble {ensemble} puts several models together; only a trial's, or a refit, is a single one")
    request = {"task": task.number, "trial": task.request["trial"], "form": body.form}
    done = have_done(parts, study, "convert", request)
    size = parts.artifacts.task(study.id, task.number).sizes()[done["name"]]
    return Artifact(id=done["name"], attempt=task.attempt, bytes=size, measured=done.get("measured"))


@router.delete("/{ensemble}", status_code=204)
def delete_ensemble(name: StudyName, ensemble: EnsembleNumber, parts: Wired) -> None:
    """Delete an ensemble; one that is being built is given up."""
    with parts.writes.begin() as session:
        study = Studies(session).get(name)
        tasks = Tasks(session, study)
        task = tasks.ensemble(ensemble)
        if task.request.get("own") and task is own_refit(session, study):
            raise Conflict(f"ensemble {ensemble} is the refit that the study itself asks for; it goes with the study")
        tasks.delete(task.number)
        if StudyState(study.state).ended:  # only the ensemble may have kept its members' models
            tasks.add(COLLECT, {}, parts.clock())
    parts.scheduler.announce(study.id)
    parts.artifacts.delete_task(study.id, task.number)


def _request(parts: Parts, session: Session, study: StudyRow, body: EnsembleBody) -> dict[str, Any]:
    """Raises: Conflict: the study has nothing that such an ensemble could be made of."""
    definition = parse(study.definition)
    if definition.kind != "train":
        raise Conflict(f"the study {study.name!r} runs code of its own; ensembles are made of trials of our training")
    retrained = body.method in TRAINED_ANEW
    found = list(islice(_candidates(parts, Trials(session, study)), body.candidates or CANDIDATES[body.method]))
    if len(found) < (1 if retrained else 2):
        pruned = Studies(session).counts([study.id])[study.id][TrialState.PRUNED]
        kind = "feasible complete" if definition.constraints else "complete"
        raise Conflict(_too_few(body.method, len(found), pruned, kind, retrained=retrained))
    if body.method == METHOD:
        return request_of(session, definition, *found[0], body.rounds or 1)
    best = definition.resolve(found[0][0].parameters)
    if retrained and best.get("cross_validation"):
        raise Conflict(f"{body.method} trains on one split, and these trials are cross-validated; take another method")
    if retrained and (best.get("model") or {}).get("name") == "pretrained":
        raise Conflict(f"{body.method} trains from nothing, and these trials from another model; take another method")
    return {
        "method": body.method,
        "rounds": body.rounds or ROUNDS.get(body.method, 1),
        "seed": body.seed,
        "members": [{"trial": key.number, "attempt": key.attempt} for _, key in found],
        "metric": definition.objective.metric,
        "direction": definition.objective.direction,
        "trial": best,
    }


def _too_few(method: str, kept: int, pruned: int, kind: str, *, retrained: bool) -> str:
    """What is missing, and where from it may come."""
    needed = f"a {kind} trial" if retrained else f"at least two {kind} trials"
    message = f"{method} needs {needed} whose model and predictions are kept; there are {kept}"
    if pruned:
        message += f", and {pruned} that were pruned: search with a larger least_complete of asha, or no pruner"
    return message if retrained or not kept else f"{message}; bagging and boosting need one"


def _candidates(parts: Parts, trials: Trials) -> Iterator[tuple[TrialRow, AttemptKey]]:
    """Complete trials that break no constraint and whose model and predictions are kept, the best first; none that see
    images of another size than it does, as what is predicted is read once."""
    best: TrialRow | None = None
    for trial in trials.ranked(MOST_LOOKED_AT):
        key = trials.newest_attempt(trial.number)
        if key is not None and {MODEL, PREDICTIONS} <= set(parts.artifacts.attempt(key).names()):
            best = best or trial
            if trial.parameters.get(IMAGE_SIZE) == best.parameters.get(IMAGE_SIZE):
                yield trial, key


def _members(parts: Parts, study: StudyRow, task: TaskRow) -> list[Folder]:
    """Where the members' models lie that are trials of the study; none of an ensemble that trained its own."""
    attempts = {member["trial"]: member["attempt"] for member in task.request["members"]}
    used = [member["trial"] for member in (task.result or {})["members"] if member["trial"] is not None]
    return [parts.artifacts.attempt(AttemptKey(study.id, number, attempts[number])) for number in used]
