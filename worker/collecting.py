"""The collection of files that a study does not keep, as a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from store.messages import AttemptKey
from worker.tasks import Workplace

MODELS = ("model.", "checkpoint-")
PREDICTIONS = ("predictions.",)


class Collecting:
    """The request lists the attempts whose models, and those whose predictions, are not kept. What is gone already is
    no error: a collection that was interrupted begins anew.
    """

    keeps_log: ClassVar[bool] = False

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """Raises: Returned."""
        files = freed = 0
        for kind, prefixes in (("models", MODELS), ("predictions", PREDICTIONS)):
            for number, attempt in request[kind]:
                place.check()
                folder = place.artifacts.attempt(AttemptKey(place.study_id, number, attempt))
                for name, size in folder.sizes().items():
                    if name.startswith(prefixes):
                        folder.delete(name)
                        files, freed = files + 1, freed + size
        return {"files": files, "bytes": freed}
