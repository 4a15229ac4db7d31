"""A model in another form, as a task: compared with the original on real rows, and kept beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from store.errors import Problem, TrialyardError
from store.messages import AttemptKey
from worker.library import Library
from worker.tasks import Workplace

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.data.prepared import Part
    from trainer.folder import Folder
    from trainer.members import Member
    from trainer.model_file import Predictor


class Converting:
    """The request names a form, `onnx`, `torch` or `int8`, and a trial's attempt; or the task that was a refit, and the
    section `trial` that was trained."""

    keeps_log: ClassVar[bool] = False

    def __init__(self, library: Library) -> None:
        self._library = library

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """The name of the file, and of `int8` what it costs beside the original; or the problem, where the model cannot
        be put into the form.
        """
        from trainer.errors import DataError, TrainerError

        try:
            return self._convert(request, place)
        except DataError as error:
            said = f"it is compared with the model on rows of the study's data, which this worker cannot read: {error}"
        except (TrialyardError, TrainerError) as error:
            said = str(error)
        return {"problems": [Problem("form", said).as_dict()], "message": said}

    def _convert(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """What the task comes to.

        Raises:
            TrialyardError: the trial has models of several folds.
            NotConverted: it cannot be done.
            DataError: the rows to compare on cannot be read any more.
        """
        from trainer.convert import FILES, convert
        from trainer.int8 import quantized
        from trainer.members import Member, together
        from trainer.model_file import load, packed

        folder, prefix = _folder_of(request, place)
        model = load(folder)
        if any(member.schema != model.schema for member in model.members):
            raise TrialyardError(
                f"the trial has {len(model.members)} models, of folds that each prepare rows in their own way, and no "
                "single one. A refit of it is one: `trialyard refit STUDY`, then `trialyard export-model STUDY "
                "--ensemble N` with the same options"
            )
        rows, is_judged = self._rows(model, request)
        name = FILES[request["form"]]
        if request["form"] != "int8":
            folder.write(name, convert(together(model.members).model, rows, request["form"]))
            return {"name": prefix + name}
        small = [Member(quantized(member.model), member.schema) for member in model.members]
        folder.write(name, packed(small))
        both = {"original": model.members, "int8": small}
        measured = {
            form: (_quality(together(each), rows, model.config) if is_judged else {}) | _costs(together(each), rows)
            for form, each in both.items()
        }
        return {"name": prefix + name, "measured": measured}

    def _rows(self, model: Predictor, request: Mapping[str, Any]) -> tuple[Part, bool]:
        """Real rows as the model reads them, and whether they can judge it: a refit has learned all but the test's."""
        import torch

        from trainer.config import TrainConfig
        from trainer.data.prepare import Given, prepare, prepare_whole

        cpu, folders, given = torch.device("cpu"), self._library.folders, Given(model.schema)
        if "task" in request:
            config = TrainConfig.model_validate(request["trial"])
            config = config.model_copy(update={"data": self._library.local(config.data)})
            return prepare_whole(config, device=cpu, data_folders=folders, given=given).train, False
        data, as_images = self._library.local(model.config.data), model.config.takes_images
        if "find_dates" not in data.model_fields_set:  # from before dates were looked for, and rows are divided as then
            data = data.model_copy(update={"find_dates": False})
        prepared = prepare(data, device=cpu, data_folders=folders, as_images=as_images, given=given)
        return prepared.validation, True


def _folder_of(request: Mapping[str, Any], place: Workplace) -> tuple[Folder, str]:
    """Where the model lies, and what its files' names begin with there."""
    from trainer.ensemble.ensemble_file import Below, member_prefix

    if "task" in request:
        prefix = member_prefix(0)
        return Below(place.artifacts.task(place.study_id, request["task"]), prefix), prefix
    return place.artifacts.attempt(AttemptKey(place.study_id, request["trial"], request["attempt"])), ""


def _quality(member: Member, part: Part, config: TrainConfig) -> dict[str, float]:
    """How good a model is on the validation rows."""
    from trainer.loop import evaluate
    from trainer.metrics import measure

    metrics = measure(evaluate(member.model, part), part.y, member.schema.target.deviation, config.loss.predicted)
    return {f"val/{name}": value for name, value in metrics.items()}


def _costs(member: Member, part: Part) -> dict[str, float]:
    """What a model costs on this processor."""
    from trainer.compress import LATENCY_ROWS, latency, nonzero, size_in_bytes

    model = member.model
    return {
        "nonzero": nonzero(model),
        "bytes": size_in_bytes(model),
        "latency": latency(model, part.first(LATENCY_ROWS)),
    }
