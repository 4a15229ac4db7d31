"""The collection of files that a study does not keep, as a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from store.artifacts import Folder
from store.messages import AttemptKey
from worker.tasks import Workplace

CHECKPOINTS = ("checkpoint-",)
KINDS = {"models": ("model.", *CHECKPOINTS), "predictions": ("predictions.",), "checkpoints": CHECKPOINTS}


class Collecting:
    """The request lists by kind the attempts whose models, predictions or checkpoints are not kept. What is gone is no
    error: a collection that was interrupted begins anew.
    """

    keeps_log: ClassVar[bool] = False

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """Raises: Returned."""
        files = freed = 0
        for kind, prefixes in KINDS.items():
            for number, attempt in request.get(kind, ()):
                place.check()
                gone = delete(place.artifacts.attempt(AttemptKey(place.study_id, number, attempt)), prefixes)
                files, freed = files + len(gone), freed + sum(gone)
        return {"files": files, "bytes": freed}


def delete(folder: Folder, prefixes: tuple[str, ...]) -> list[int]:
    """Delete the files whose names begin so; their sizes."""
    gone = {name: size for name, size in folder.sizes().items() if name.startswith(prefixes)}
    for name in gone:
        folder.delete(name)
    return list(gone.values())
