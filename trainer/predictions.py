"""What a finished training says of its held-out rows: `predictions.npz` beside the model, so that ensembles can be
built from many trainings without a model or a row of the data.

The file is a compressed NumPy archive: `document` (JSON: format, fingerprint, target, out_of_fold) and of each part
`<part>.outputs` (float16) and `<part>.y`; the parts are `validation` and, where there is one, `test`.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.prepared import Part, Prepared
from trainer.data.schema import Target
from trainer.errors import Damaged
from trainer.folder import Folder
from trainer.loop import evaluate
from trainer.models.layers import Network

NAME = "predictions.npz"
FORMAT = 1
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class Held:
    """Held-out rows: what the model put out for them, and what is true."""

    outputs: NDArray[np.float32]  # (rows, classes) logits, or (rows,) in units of the target's deviation
    y: NDArray[np.generic]  # (rows,), the class as int64, or the standardized target as float32


@dataclass(frozen=True, eq=False)
class Predictions:
    """One training's predictions. Two belong together when their fingerprints, which tell data and split, are equal.

    `out_of_fold`: the validation rows are all that are not test rows, each predicted by the fold that had not seen it.
    """

    fingerprint: str
    target: Target
    validation: Held
    test: Held | None
    out_of_fold: bool = False


def of_training(model: Network, prepared: Prepared) -> Predictions:
    """What a trained model says of the parts that it was not trained on."""
    test = None if prepared.test is None else _held(model, prepared.test)
    return Predictions(prepared.fingerprint, prepared.schema.target, _held(model, prepared.validation), test)


def save(folder: Folder, predictions: Predictions) -> None:
    document = {
        "format": FORMAT,
        "fingerprint": predictions.fingerprint,
        "target": predictions.target.model_dump(mode="json"),
        "out_of_fold": predictions.out_of_fold,
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
            )
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Damaged(f"{NAME} cannot be read: {error}") from error


def _held(model: Network, part: Part) -> Held:
    return Held(_array(evaluate(model, part).float()), _array(part.y))


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


def _packed(part: str, held: Held) -> dict[str, NDArray[Any]]:
    """Ten bits of an output are more than a model knows; classes take the fewest bytes that hold them."""
    outputs = held.outputs.clip(-_LARGEST, _LARGEST).astype(np.float16)
    is_class = np.issubdtype(held.y.dtype, np.integer)
    y = held.y.astype(np.min_scalar_type(int(held.y.max(initial=0)))) if is_class else held.y
    return {f"{part}.outputs": outputs, f"{part}.y": y}


def _unpacked(part: str, arrays: Mapping[str, NDArray[Any]]) -> Held:
    y = arrays[f"{part}.y"]
    is_class = np.issubdtype(y.dtype, np.integer)
    return Held(arrays[f"{part}.outputs"].astype(np.float32), y.astype(np.int64) if is_class else y)
