"""The best trial trained again on training and validation rows, as a task: an ensemble of the method `refit`.

Torch is imported with the first one, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from store.artifacts import Folder
from store.errors import TrialyardError
from store.messages import AttemptKey
from trainer.errors import TrainerError
from worker.rescoring import Following
from worker.tasks import Returned, Workplace
from worker.training import Training

if TYPE_CHECKING:
    from trainer.data.prepared import Prepared
    from trainer.fit import Fitted


class Refitting:
    """The request has the trial that it is made of with its attempt, the section `trial` to train now, and how many
    seeds."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """The training as it was up to its best epoch, by more rows; the ensemble lies in the task's folder. What an
        earlier attempt has trained is gone on from.

        Raises:
            TrialyardError: the model of the trial is gone, which knows its best epoch.
            TrainerError: the data cannot be used, or a training diverged. Returned.
        """
        from trainer import model_file
        from trainer.ensemble import ensemble_file
        from trainer.ensemble.combine import Weighted

        best, seeds = request["members"][0], request["rounds"]
        key = AttemptKey(place.study_id, best["trial"], best["attempt"])
        try:
            known = model_file.load(place.artifacts.attempt(key))
        except FileNotFoundError:
            raise TrialyardError(f"the model of trial {key.number} is gone, and with it its best epoch") from None
        fitted, prepared = self._train(request, known.best_epoch, place)
        if not _is_of(place.artifacts.attempt(key), prepared):
            raise changed_since(key.number)
        ensemble_file.save(place.folder, Weighted(weights=(1.0,)), [])
        return {
            "members": [{"trial": None, "weight": 1 / seeds}] * seeds,
            "metrics": {name: value for name, value in fitted.metrics.items() if name.startswith("test/")},
            "best_member": {"trial": best["trial"], "metrics": known.metrics},
            "epochs": fitted.epochs,
            "rows": {"train": prepared.train.rows, "test": prepared.test.rows if prepared.test else 0},
        }

    def _train(self, request: Mapping[str, Any], epochs: int, place: Workplace) -> tuple[Fitted, Prepared]:
        """Raises: TrainerError, Returned."""
        from trainer.ensemble import ensemble_file
        from trainer.fit import fit
        from trainer.progress import Newest

        origins = {source: AttemptKey(*key) for source, key in request["origins"].items()}
        config, prepared, origin = self._training.make_whole_ready(
            place.study_id, request["trial"], request["rounds"], origins
        )
        folder = ensemble_file.Below(place.folder, ensemble_file.member_prefix(0))
        fitted = fit(
            config,
            prepared,
            monitor=Newest("train/loss", "minimize"),
            reporter=_UpTo(epochs, place),
            origin=origin,
            folder=folder,
            resume_from=[folder],
            should_leave=place.should_leave,
        )
        if fitted.ending != "finished":
            raise Returned
        return fitted, prepared


def changed_since(number: int) -> TrainerError:
    """Rows that the trial has learned may be among those that would judge what is trained now."""
    return TrainerError(
        f"the data are no longer those that trial {number} was trained on, and what is trained now could not be held "
        "against it; send a new study"
    )


def _is_of(folder: Folder, prepared: Prepared) -> bool:
    """Whether a trial was trained on these data; where its predictions are gone, nobody knows better."""
    from trainer import predictions

    try:
        return predictions.load(folder).fingerprint == prepared.fingerprint
    except FileNotFoundError:
        return True


class _UpTo(Following):
    """Ends a training after an epoch: no validation row could say that it is enough."""

    def __init__(self, epoch: int, place: Workplace) -> None:
        super().__init__(place)
        self._last = epoch

    def report(self, epoch: int, metrics: Mapping[str, float]) -> Literal["continue", "pause", "stop"]:
        return "stop" if epoch >= self._last else super().report(epoch, metrics)
