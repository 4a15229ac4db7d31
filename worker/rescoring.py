"""Trials trained again from several seeds, as tasks: the best of many noisy values flatters itself, a mean does not.

Torch is imported with the first one, not with this module.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from store.messages import AttemptKey
from worker.tasks import Returned, Workplace
from worker.training import Training

LEFT_BEHIND = ("model.safetensors", "model.json", "predictions.npz")  # by a training; here only its metrics count


class Rescoring:
    """The request has a trial's section `trial` as it is to be trained now, the study's metric and direction, and the
    trials that its models begin with."""

    keeps_log: ClassVar[bool] = True

    def __init__(self, training: Training) -> None:
        self._training = training

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """The metrics at the best epoch of the mean: means, standard errors, and each seed's. What an earlier attempt
        has trained is gone on from.

        Raises:
            TrainerError: the data cannot be used, or a training diverged. Returned.
        """
        from trainer.fit import Monitor, fit

        origins = {source: AttemptKey(*key) for source, key in request["origins"].items()}
        config, prepared, origin = self._training.make_ready(place.study_id, request["trial"], origins)
        fitted = fit(
            config,
            prepared,
            monitor=Monitor(request["metric"], request["direction"]),
            reporter=Following(place),
            origin=origin,
            folder=place.folder,
            resume_from=[place.folder],
            should_leave=place.should_leave,
        )
        if fitted.ending != "finished":
            raise Returned
        for name in LEFT_BEHIND:
            place.folder.delete(name)
        return {"metrics": fitted.metrics, "epochs": fitted.epochs}


class Following:
    """Nobody prunes the training of a task; it ends early when it is wanted no more."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    def report(self, _epoch: int, _metrics: Mapping[str, float]) -> Literal["continue", "pause", "stop"]:
        return "continue" if self._place.is_wanted() else "pause"

    def log(self, line: str) -> None:
        sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
