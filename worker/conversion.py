"""A trial's model in another form, as a task: compared with the original on real rows, and kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from store.errors import Problem, TrialyardError
from store.messages import AttemptKey
from worker.library import Library
from worker.tasks import Workplace


class Converting:
    """The request names a trial's attempt and a form: `onnx` or `torch`."""

    keeps_log: ClassVar[bool] = False

    def __init__(self, library: Library) -> None:
        self._library = library

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """The name of the file; or the problem, where the model cannot be put into the form."""
        from trainer.errors import TrainerError

        try:
            return {"name": self._convert(request, place)}
        except (TrialyardError, TrainerError) as error:
            return {"problems": [Problem("form", str(error)).as_dict()], "message": str(error)}

    def _convert(self, request: Mapping[str, Any], place: Workplace) -> str:
        """The name of the file that is kept.

        Raises:
            TrialyardError: the trial has several models.
            NotConverted: it cannot be done.
            DataError: the rows to compare on cannot be read any more.
        """
        import torch

        from trainer.convert import FILES, convert
        from trainer.data.prepare import prepare
        from trainer.model_file import load

        folder = place.artifacts.attempt(AttemptKey(place.study_id, request["trial"], request["attempt"]))
        model = load(folder)
        if len(model.members) > 1:
            raise TrialyardError(f"the trial has {len(model.members)} models, of its folds or seeds, and no single one")
        config = model.config
        prepared = prepare(
            self._library.local(config.data),
            device=torch.device("cpu"),
            data_folders=self._library.folders,
            as_images=config.takes_images,
        )
        name = FILES[request["form"]]
        folder.write(name, convert(model.members[0].model, prepared.validation, request["form"]))
        return name
