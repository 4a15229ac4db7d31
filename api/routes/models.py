"""The models that a study leaves: asked for predictions."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter
from pydantic import Field, JsonValue
from sqlalchemy.orm import Session

from api.deps import StudyName, Wired
from api.errands import have_done
from api.kept_models import complete_ensemble, model_of
from api.parts import Parts
from api.requests import RequestModel, StrictRoute
from api.result_shapes import Predictions
from store.errors import TooLate, Unprocessable
from store.messages import MAX_STEP
from store.models import StudyRow
from store.parcels import Parcels
from store.studies import Studies
from store.trials import Trials

router = APIRouter(prefix="/studies/{name}", route_class=StrictRoute, tags=["models"])


class PredictBody(RequestModel):
    rows: Annotated[list[JsonValue], Field(min_length=1, max_length=10_000)]
    trial: Annotated[int, Field(ge=0, le=MAX_STEP)] | None = None
    ensemble: Annotated[int, Field(ge=1, le=MAX_STEP)] | None = None
    int8: bool = False


@router.post("/predict", response_model_exclude_none=True)
def predict(name: StudyName, body: PredictBody, parts: Wired) -> Predictions:
    """What the best trial's model, or that of a trial or an ensemble, says of rows; a worker of the study's pool is
    asked. With `int8` its linear layers have weights of eight bits.

    A row is a mapping of columns to values; a text alone, of a model of texts; of one of images nested lists of pixels,
    or an image file (PNG, JPEG, WebP, …) in base64.
    """
    with parts.reads() as session:
        study = Studies(session).get(name)
        asked = _asked(parts, session, study, body)
    parcels = Parcels(parts.redis, parts.settings.predict_seconds)
    rows, answer = parcels.new(), parcels.new()
    parcels.put(rows, orjson.dumps(body.rows))
    try:
        have_done(parts, study, "predict", {**asked, "rows": rows, "answer": answer})
        document = parcels.get(answer)
    finally:
        parcels.drop(rows, answer)
    if document is None:
        raise TooLate("the answer was lost on its way; ask again")
    return Predictions(trial=asked.get("trial"), ensemble=body.ensemble, **orjson.loads(document))


def _asked(parts: Parts, session: Session, study: StudyRow, body: PredictBody) -> dict[str, int]:
    """Raises: NotFound: there is no such model. Conflict: there is none (yet, or any more)."""
    if body.ensemble is not None:
        if body.trial is not None:
            raise Unprocessable("trial and ensemble exclude each other; name one of them")
        if body.int8:
            raise Unprocessable("int8 is for the model of a trial; leave it or ensemble out")
        return {"ensemble": complete_ensemble(session, study, body.ensemble).number}
    attempt = model_of(parts, study, Trials(session, study), body.trial)
    return {"trial": attempt.number, "attempt": attempt.attempt, "int8": body.int8}
