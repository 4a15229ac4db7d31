"""The models that a study leaves: asked for predictions."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter
from pydantic import Field, JsonValue

from api.deps import StudyName, Wired
from api.errands import have_done
from api.parts import Parts
from api.requests import RequestModel, StrictRoute
from api.shapes import Predictions
from store.errors import Conflict, NotFound, TooLate
from store.messages import MAX_STEP, AttemptKey
from store.models import StudyRow, TrialState
from store.parcels import Parcels
from store.studies import Studies
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}", route_class=StrictRoute, tags=["models"])

MODEL = "model.json"


class PredictBody(RequestModel):
    rows: Annotated[list[JsonValue], Field(min_length=1, max_length=10_000)]
    trial: Annotated[int, Field(ge=0, le=MAX_STEP)] | None = None


@router.post("/predict", response_model_exclude_none=True)
def predict(name: StudyName, body: PredictBody, parts: Wired) -> Predictions:
    """What the best trial's model, or the named one's, says of rows; a worker of the study's pool is asked.

    A row is a mapping of columns to values; a text alone, of a model of texts; of one of images nested lists of pixels,
    or a PNG or JPEG file in base64.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
        attempt = model_of(parts, study, Trials(session, study), body.trial)
    parcels = Parcels(parts.redis, parts.settings.predict_seconds)
    rows, answer = parcels.new(), parcels.new()
    parcels.put(rows, orjson.dumps(body.rows))
    try:
        request = {"trial": attempt.number, "attempt": attempt.attempt, "rows": rows, "answer": answer}
        have_done(parts, study, "predict", request)
        document = parcels.get(answer)
    finally:
        parcels.drop(rows, answer)
    if document is None:
        raise TooLate("the answer was lost on its way; ask again")
    return Predictions(trial=attempt.number, **orjson.loads(document))


def model_of(parts: Parts, study: StudyRow, trials: Trials, number: int | None) -> AttemptKey:
    """The attempt that left the model of a trial, or of the best one.

    Raises:
        NotFound: there is no such trial, or none is complete.
        Conflict: it has left no model.
    """
    trial = trials.best() if number is None else trials.get(number)
    if trial is None:
        raise NotFound(f"no trial of the study {study.name!r} is complete yet")
    if trial.state != TrialState.COMPLETE:
        raise Conflict(f"trial {trial.number} is {trial.state}; only a COMPLETE one has a model")
    if study.definition["trial"]["kind"] != "train":
        raise Conflict(f"the study {study.name!r} runs code of its own: what its trials leave is no model of ours")
    attempt = trials.newest_attempt(trial.number)
    if attempt is None or MODEL not in parts.artifacts.attempt(attempt).names():
        raise Conflict(f"the model of trial {trial.number} is gone; run its parameters again to have it anew")
    return attempt
