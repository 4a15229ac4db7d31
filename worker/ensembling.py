"""Ensembles of a study's trials, as tasks.

Torch is imported with the first one, not with this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from store.errors import TrialyardError
from store.messages import AttemptKey
from worker.library import Library
from worker.refitting import Refitting, changed_since
from worker.tasks import Workplace

if TYPE_CHECKING:
    from trainer.config import TrainConfig
    from trainer.data.prepared import Prepared
    from trainer.ensemble.candidates import Candidates
    from trainer.ensemble.combine import Combination
    from trainer.ensemble.ensemble_file import Ensemble
    from trainer.ensemble.select import Chosen
    from trainer.members import Member
    from trainer.model_file import Predictor
    from trainer.predictions import Predictions


class Ensembling:
    """The request has a method with its options, the candidates by trial and attempt, the best one first, the metric
    that they are judged by, and the configuration of the best one.
    """

    keeps_log: ClassVar[bool] = True

    def __init__(self, library: Library, device: str, refitting: Refitting) -> None:
        self._refitting = refitting
        self._library = library
        self._device = device

    def run(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """Raises: TrainerError: the candidates do not go together, or a training went wrong. Returned."""
        match request["method"]:
            case "refit":
                best = request["members"][0]
                return self._refitting.run(request, place) | _costs(place, best)
            case "bagging" | "boosting":
                return self._retrain(request, place)
            case _:
                return self._choose(request, place)

    def _choose(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """An ensemble of trainings that are done."""
        from trainer.ensemble import ensemble_file
        from trainer.ensemble.candidates import Candidates

        given: Sequence[Mapping[str, int]] = request["members"]
        candidates = Candidates.of({each["trial"]: _predictions(place, each) for each in given})
        chosen = _chosen(candidates, request)
        members = [dict(given[index]) for index in chosen.members]
        ensemble_file.save(place.folder, chosen.combination, members)
        return {
            "members": [
                {"trial": member["trial"], "weight": weight}
                for member, weight in zip(members, chosen.combination.weights, strict=True)
            ],
            "metrics": candidates.judge(chosen.combination, chosen.members),
            "best_member": {"trial": given[0]["trial"], "metrics": candidates.judge(_alone(), [0])},
            **_costs(place, given[0]),
        }

    def _retrain(self, request: Mapping[str, Any], place: Workplace) -> dict[str, Any]:
        """An ensemble of new trainings of the best configuration."""
        import torch

        from trainer.config import TrainConfig
        from trainer.data.prepare import prepare
        from trainer.ensemble import ensemble_file, retrain
        from trainer.ensemble.candidates import Candidates
        from trainer.progress import Monitor

        config = TrainConfig.model_validate(request["trial"])
        prepared = prepare(
            self._library.local(config.data),
            device=torch.device(self._device),
            data_folders=self._library.folders,
            as_images=config.takes_images,
        )
        best = request["members"][0]
        known = _predictions(place, best)
        if prepared.fingerprint != known.fingerprint:
            raise changed_since(best["trial"])
        shop = retrain.Workshop(config, prepared, Monitor(request["metric"], request["direction"]), place.check)
        build = retrain.bag if request["method"] == "bagging" else retrain.boost
        members, combination = build(shop, request["rounds"], request["seed"])
        new = {-1 - index: _of_member(member, prepared, config) for index, member in enumerate(members)}
        candidates = Candidates.of({best["trial"]: known} | new)
        for index, member in enumerate(members):
            ensemble_file.save_member(place.folder, index, member, shop.trained)
        ensemble_file.save(place.folder, combination, [])
        return {
            "members": [{"trial": None, "weight": weight} for weight in combination.weights],
            "metrics": candidates.judge(combination, range(1, len(members) + 1)),
            "best_member": {"trial": best["trial"], "metrics": candidates.judge(_alone(), [0])},
            **_costs(place, best),
        }


def load_ensemble(place: Workplace, number: int) -> Ensemble:
    """Raises: TrialyardError: it, or the model of one of its members, is gone."""
    from trainer.ensemble import ensemble_file

    def folder_of(trial: int, attempt: int) -> Any:
        return place.artifacts.attempt(AttemptKey(place.study_id, trial, attempt))

    try:
        return ensemble_file.load(place.artifacts.task(place.study_id, number), folder_of)
    except FileNotFoundError as error:
        raise TrialyardError(f"the ensemble, or a model of its members, is gone: {error}") from None


def _chosen(candidates: Candidates, request: Mapping[str, Any]) -> Chosen:
    from trainer.ensemble import select

    match request["method"]:
        case "greedy":
            return select.greedy(candidates.validation, request["metric"], request["rounds"], request["seed"])
        case "stacking":
            return select.stack(candidates.validation, request["seed"])
        case _:
            return select.average(candidates.validation)


def _alone() -> Combination:
    from trainer.ensemble.combine import Weighted

    return Weighted(weights=(1.0,))


def _predictions(place: Workplace, member: Mapping[str, int]) -> Predictions:
    """Raises: TrialyardError: they are gone."""
    from trainer import predictions

    try:
        return predictions.load(place.artifacts.attempt(_attempt(place, member)))
    except FileNotFoundError:
        raise TrialyardError(f"the predictions of trial {member['trial']} are gone") from None


def _of_member(member: Member, prepared: Prepared, config: TrainConfig) -> Predictions:
    from trainer import predictions

    return predictions.of_training(member.model, prepared, config.loss.predicted)


def _costs(place: Workplace, best: Mapping[str, int]) -> dict[str, Any]:
    """Size and speed of the ensemble that lies in the task's folder, beside those of the best member alone."""
    from trainer.ensemble import ensemble_file
    from trainer.model_file import load

    together = load_ensemble(place, place.number).members
    alone: list[Predictor] = [load(place.artifacts.attempt(_attempt(place, best)))]
    return {
        name: {"ensemble": cost(together), "best_member": cost(alone)}
        for name, cost in (("parameters", ensemble_file.parameters_of), ("latency_ms", ensemble_file.latency_ms))
    }


def _attempt(place: Workplace, member: Mapping[str, int]) -> AttemptKey:
    return AttemptKey(place.study_id, member["trial"], member["attempt"])
