"""What a finished training says of its held-out rows: `predictions.npz` beside the model, so that ensembles can be
built from many trainings without a model or a row of the data.

The file is a compressed NumPy archive: `document` (JSON: format, fingerprint, target, out_of_fold, quantile)
and of each part `<part>.outputs` (float16) and `<part>.y`; the parts are `validation` and, where there is one, `test`.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.prepared import Folds, Part, Prepared
from trainer.data.schema import Target
from trainer.data.split import Rows
from trainer.errors import Damaged
from trainer.folder import Folder
from trainer.loop import evaluate
from trainer.members import mean_outputs
from trainer.models.layers import Network
from trainer.ranks import ALONE, Ranks

NAME = "predictions.npz"
FORMAT = 1
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Held:
    """Held-out rows: what the model put out for them, and what is true."""

    outputs: NDArray[np.float32]  # (rows, classes) logits, or (rows,) in units of the target's deviation
    y: NDArray[Any]  # (rows,), the class as int64, or the standardized target as float32


@dataclass(frozen=True, eq=False)
class Predictions:
    """One training's predictions. Two belong together when their fingerprints, which tell data and split, are equal.

    `out_of_fold`: the validation rows are all that are not test rows, each predicted by the fold that had not seen it.
    `quantile`: what is predicted of a target in place of its mean.
    """

    fingerprint: str
    target: Target
    validation: Held
    test: Held | None
    out_of_fold: bool = False
    quantile: float | None = None


def of_training(model: Network, prepared: Prepared, quantile: float | None = None) -> Predictions:
    """What a trained model says of the parts that it was not trained on."""
    return of_outputs(outputs_of(model, prepared), prepared, quantile)


def outputs_of(
    model: Network, prepared: Prepared, ranks: Ranks = ALONE, but: Collection[str] = ()
) -> dict[str, Tensor]:
    """A trained model's outputs for `val` and `test`, where there are such rows, `but` for what is known already. All
    ranks call it together.
    """
    parts = {"val": prepared.validation, "test": prepared.test}
    return {
        name: evaluate(model, part, ranks)
        for name, part in parts.items()
        if part is not None and part.rows and name not in but
    }


def of_outputs(outputs: Mapping[str, Tensor], prepared: Prepared, quantile: float | None = None) -> Predictions:
    """The same from what `outputs_of` has found."""
    test = None if prepared.test is None else _held(outputs["test"], prepared.test)
    validation = _held(outputs["val"], prepared.validation)
    return Predictions(prepared.fingerprint, prepared.schema.target, validation, test, quantile=quantile)


def of_seeds(members: Sequence[Predictions]) -> Predictions:
    """The mean of models that were trained and validated on the same rows."""
    return replace(members[0], validation=_mean([each.validation for each in members], members), test=_tests(members))


def of_folds(members: Sequence[Predictions], folds: Folds) -> Predictions:
    """Out-of-fold predictions, in the order of the rows: each row's by the model that validated on it, in the mean
    over the repeats.
    """
    a_repeat = len(members) // folds.repeats
    repeats = [
        _joined(members[at : at + a_repeat], folds.validated[at : at + a_repeat], members[0].target)
        for at in range(0, len(members), a_repeat)
    ]
    validation = _mean(repeats, [members[0]] * len(repeats))
    first = members[0]
    return Predictions(folds.fingerprint, first.target, validation, _tests(members), True, first.quantile)


def save(folder: Folder, predictions: Predictions) -> None:
    document = {
        "format": FORMAT,
        "fingerprint": predictions.fingerprint,
        "target": predictions.target.model_dump(mode="json"),
        "out_of_fold": predictions.out_of_fold,
        "quantile": predictions.quantile,
    }
    arrays: dict[str, NDArray[Any]] = {"document": np.frombuffer(json.dumps(document).encode(), np.uint8)}
    arrays |= _packed("validation", predictions.validation)
    arrays |= _packed("test", predictions.test) if predictions.test else {}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # its flag allow_pickle is not among ours
    folder.write(NAME, file.getvalue())


def load(folder: Folder) -> Predictions:
    """The predictions of a finished training.

    Raises:
        FileNotFoundError: it has left none, or they were collected to save disk.
        Damaged: the file is cut short.
    """
    data = folder.read(NAME)
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            document = json.loads(arrays["document"].tobytes())
            return Predictions(
                fingerprint=document["fingerprint"],
                target=Target.model_validate(document["target"]),
                validation=_unpacked("validation", arrays),
                test=_unpacked("test", arrays) if "test.y" in arrays else None,
                out_of_fold=document["out_of_fold"],
                quantile=document.get("quantile"),
            )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Damaged(f"{NAME} cannot be read: {error}") from error


def _held(outputs: Tensor, part: Part) -> Held:
    return Held(_array(outputs.float()), _array(part.y))


def _tests(members: Sequence[Predictions]) -> Held | None:
    tests = [each.test for each in members if each.test is not None]
    return _mean(tests, members) if tests else None


def _mean(held: Sequence[Held], members: Sequence[Predictions]) -> Held:
    """What several say of the same rows, each about its own target, in units of the first one's."""
    outputs = [torch.from_numpy(each.outputs) for each in held]
    return Held(_array(mean_outputs(outputs, [member.target for member in members]).float()), held[0].y)


def _joined(members: Sequence[Predictions], rows: Sequence[Rows], unit: Target) -> Held:
    """What the folds of one repeat say, each of its own rows, in the order of the rows."""
    outputs, y = zip(*(_in_units_of(unit, member) for member in members), strict=True)
    order = np.argsort(np.concatenate(rows))
    return Held(np.concatenate(outputs)[order], np.concatenate(y)[order])


def _in_units_of(unit: Target, member: Predictions) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Outputs and truth of the validation rows; of a regression in deviations of another training part's target."""
    held, target = member.validation, member.target
    if target.task == "classification":
        return held.outputs, held.y
    scale, shift = target.deviation / unit.deviation, (target.mean - unit.mean) / unit.deviation
    return (held.outputs * scale + shift).astype(np.float32), (held.y * scale + shift).astype(np.float32)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _packed(part: str, held: Held) -> dict[str, NDArray[Any]]:
    """Ten bits of an output are more than a model knows, if the likeliest class of a row has a logit of 0; classes take
    the fewest bytes that hold them.
    """
    outputs = held.outputs - held.outputs.max(1, keepdims=True) if held.outputs.ndim == 2 else held.outputs
    outputs = outputs.clip(-_LARGEST, _LARGEST).astype(np.float16)
    is_class = np.issubdtype(held.y.dtype, np.integer)
    y = held.y.astype(np.min_scalar_type(int(held.y.max(initial=0)))) if is_class else held.y
    return {f"{part}.outputs": outputs, f"{part}.y": y}


def _unpacked(part: str, arrays: Mapping[str, NDArray[Any]]) -> Held:
    y = arrays[f"{part}.y"]
    is_class = np.issubdtype(y.dtype, np.integer)
    return Held(arrays[f"{part}.outputs"].astype(np.float32), y.astype(np.int64) if is_class else y)
