"""Predictions for rows that somebody sent, as a task: the models stay in memory from one to the next.

Torch is imported with the first prediction, not with this module.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from store.errors import TrialyardError
from store.messages import AttemptKey
from store.parcels import Parcels
from worker.ensembling import load_ensemble
from worker.tasks import Workplace

if TYPE_CHECKING:
    from trainer.predict import Model

KEPT_MODELS = 8


class Predicting:
    """The request names a trial's attempt or an ensemble, and the parcels that hold the rows and shall hold the
    answer."""

    keeps_log: ClassVar[bool] = False

    def __init__(self, parcels: Parcels) -> None:
        self._parcels = parcels
        self._models: OrderedDict[tuple[int | None, ...], Model] = OrderedDict()

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """Raises: TrialyardError: nobody waits for the answer any more, or the model is gone."""
        from trainer.predict import WrongRows, answer

        rows = self._parcels.get(request["rows"])
        if rows is None:
            raise TrialyardError("the rows are gone: nobody waits for this prediction any more")
        try:
            found = answer(self._model(request, place), json.loads(rows))
        except WrongRows as error:
            return {"problems": [asdict(problem) for problem in error.problems], "message": str(error)}
        self._parcels.put(request["answer"], json.dumps(found).encode())
        return {}

    def _model(self, request: Mapping[str, Any], place: Workplace) -> Model:
        wanted = (request.get(name) for name in ("ensemble", "trial", "attempt", "int8"))
        key = (place.study_id, *wanted)
        if key not in self._models:
            while len(self._models) >= KEPT_MODELS:
                self._models.popitem(last=False)
            self._models[key] = _load(request, place)
        self._models.move_to_end(key)
        return self._models[key]


def _load(request: Mapping[str, Any], place: Workplace) -> Model:
    from trainer.model_file import load

    if request.get("ensemble") is not None:
        return load_ensemble(place, request["ensemble"])
    key = AttemptKey(place.study_id, request["trial"], request["attempt"])
    try:
        model = load(place.artifacts.attempt(key))
    except FileNotFoundError:
        raise TrialyardError(f"the model of trial {key.number} is gone") from None
    if request.get("int8"):
        model.make_small()
    return model
