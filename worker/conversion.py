"""A trial's model in another form, as a task: compared with the original on real rows, and kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from store.errors import Problem, TrialyardError
from store.messages import AttemptKey
from worker.library import Library
from worker.tasks import Workplace

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.data.prepared import Prepared
    from trainer.members import Member


class Converting:
    """The request names a trial's attempt and a form: `onnx`, `torch` or `int8`."""

    keeps_log: ClassVar[bool] = False

    def __init__(self, library: Library) -> None:
        self._library = library

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """The name of the file, and of `int8` what it costs beside the original; or the problem, where the model cannot
        be put into the form.
        """
        from trainer.errors import TrainerError

        try:
            return self._convert(request, place)
        except (TrialyardError, TrainerError) as error:
            return {"problems": [Problem("form", str(error)).as_dict()], "message": str(error)}

    def _convert(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """What the task comes to.

        Raises:
            TrialyardError: the trial has models of several folds.
            NotConverted: it cannot be done.
            DataError: the rows to compare on cannot be read any more.
        """
        import torch

        from trainer.convert import FILES, convert
        from trainer.data.prepare import Given, prepare
        from trainer.int8 import quantized
        from trainer.members import Member, together
        from trainer.model_file import load, packed

        folder = place.artifacts.attempt(AttemptKey(place.study_id, request["trial"], request["attempt"]))
        model = load(folder)
        if any(member.schema != model.schema for member in model.members):
            raise TrialyardError(
                f"the trial has {len(model.members)} models, of folds that each prepare rows in their own way, and no "
                "single one; all can be exported as they are, and a study of its parameters without folds makes one"
            )
        config, members = model.config, model.members
        prepared = prepare(
            self._library.local(config.data),
            device=torch.device("cpu"),
            data_folders=self._library.folders,
            as_images=config.takes_images,
            given=Given(model.schema),  # as the model reads them, and not as it would be done anew
        )
        name = FILES[request["form"]]
        if request["form"] != "int8":
            folder.write(name, convert(together(members).model, prepared.validation, request["form"]))
            return {"name": name}
        small = [Member(quantized(member.model), member.schema) for member in members]
        folder.write(name, packed(small))
        both = {"original": members, "int8": small}
        measured = {form: _figures(together(each), prepared, config) for form, each in both.items()}
        return {"name": name, "measured": measured}


def _figures(member: Member, prepared: Prepared, config: TrainConfig) -> dict[str, float]:
    """How good a model is on the validation rows, and what it costs on this processor."""
    from trainer.compress import LATENCY_ROWS, latency, nonzero, size_in_bytes
    from trainer.loop import evaluate
    from trainer.metrics import measure

    part, model = prepared.validation, member.model
    metrics = measure(evaluate(model, part), part.y, member.schema.target.deviation, config.loss.predicted)
    costs = {
        "nonzero": nonzero(model),
        "bytes": size_in_bytes(model),
        "latency": latency(model, part.first(LATENCY_ROWS)),
    }
    return {f"val/{name}": value for name, value in metrics.items()} | costs
