"""Predictions for rows that somebody sent, as a task: the models stay in memory from one to the next.

Torch is imported with the first prediction, not with this module.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from store.errors import TrialyardError
from store.messages import AttemptKey
from store.parcels import Parcels
from worker.tasks import Workplace

if TYPE_CHECKING:
    from trainer.predict import Model

KEPT_MODELS = 8


class Predicting:
    """The request names a trial's attempt, and the parcels that hold the rows and shall hold the answer."""

    def __init__(self, parcels: Parcels) -> None:
        self._parcels = parcels
        self._models: OrderedDict[AttemptKey, Model] = OrderedDict()

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
        from trainer.model_file import load

        key = AttemptKey(place.study_id, request["trial"], request["attempt"])
        if key not in self._models:
            while len(self._models) >= KEPT_MODELS:
                self._models.popitem(last=False)
            try:
                self._models[key] = load(place.artifacts.attempt(key))
            except FileNotFoundError:
                raise TrialyardError(f"the model of trial {key.number} is gone") from None
        self._models.move_to_end(key)
        return self._models[key]
