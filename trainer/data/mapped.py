"""A prepared data set in files that are mapped into memory.

All processes of a machine that map them share one copy, which the kernel reads as it is trained on and may drop again:
the data may be larger than the memory. An array a file in NumPy's format, which aligns them as memory of one's own: so
that sums come out the same to the last bit.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from trainer.data.prepared import AnySchema, Folds, Part, Prepared

_SCHEMA: TypeAdapter[AnySchema] = TypeAdapter(AnySchema)
DOCUMENT = "document.json"
ROOM_SHARE = 0.5  # of the device's free memory that the data may take: the rest is for the model and its activations


def save(prepared: Prepared | Folds, folder: Path) -> None:
    """Write a data set into a new folder, which is there whole or not at all."""
    tensors: dict[str, Tensor] = {}
    if isinstance(prepared, Folds):
        parts = [_taken_apart(part, f"{place}.", tensors) for place, part in enumerate(prepared.parts)]
        tensors |= {f"{place}.validated": torch.from_numpy(rows) for place, rows in enumerate(prepared.validated)}
        document = {"folds": parts, "repeats": prepared.repeats, "fingerprint": prepared.fingerprint}
    else:
        document = _taken_apart(prepared, "", tensors)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".writing."))
    try:
        for name, tensor in tensors.items():
            np.save(temporary / f"{name}.npy", tensor.cpu().numpy())
        (temporary / DOCUMENT).write_text(json.dumps(document))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path) -> Prepared | Folds:
    """The data set of a folder, whose arrays stay there until they are read; it may be deleted meanwhile.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    document = json.loads((folder / DOCUMENT).read_text())
    tensors = {file.stem: _mapped(file) for file in folder.glob("*.npy")}
    if "folds" not in document:
        return _put_together(document, "", tensors)
    parts = [_put_together(part, f"{place}.", tensors) for place, part in enumerate(document["folds"])]
    validated = tuple(tensors[f"{place}.validated"].numpy() for place in range(len(parts)))
    return Folds(tuple(parts), validated, document["repeats"], document["fingerprint"])


@overload
def placed(prepared: Prepared, device: torch.device, room: int) -> Prepared: ...
@overload
def placed(prepared: Prepared | Folds, device: torch.device, room: int) -> Prepared | Folds: ...
def placed(prepared: Prepared | Folds, device: torch.device, room: int) -> Prepared | Folds:
    """The data on a device, if it has so many bytes left for them; else the targets alone, and the inputs of each batch
    follow as they are needed.
    """
    if isinstance(prepared, Folds):
        share = room // len(prepared.parts)
        return replace(prepared, parts=tuple(_placed(part, device, share) for part in prepared.parts))
    return _placed(prepared, device, room)


def room_on(device: torch.device, share: float = 1.0) -> int:
    """Bytes that data may take on a GPU of which a process has a share of the memory. On a processor none need to: what
    is mapped is at hand.
    """
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return int(ROOM_SHARE * min(free, share * total))


def _placed(prepared: Prepared, device: torch.device, room: int) -> Prepared:
    parts = [part for part in (prepared.train, prepared.validation, prepared.test) if part is not None]
    fits = sum(tensor.nbytes for part in parts for tensor in part.inputs) <= room
    weight = prepared.class_weight
    return replace(
        prepared,
        train=_moved(prepared.train, device, fits),
        validation=_moved(prepared.validation, device, fits),
        test=_moved(prepared.test, device, fits) if prepared.test else None,
        class_weight=None if weight is None else weight.to(device),
    )


def _moved(part: Part, device: torch.device, fits: bool) -> Part:
    inputs = tuple(tensor.to(device) for tensor in part.inputs) if fits else part.inputs
    return Part(inputs, part.y.to(device))


def _taken_apart(prepared: Prepared, prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Put the tensors among the others, and the rest into a document."""
    for name, part in (("train", prepared.train), ("validation", prepared.validation), ("test", prepared.test)):
        if part is not None:
            tensors[f"{prefix}{name}.y"] = part.y
            tensors |= {f"{prefix}{name}.{place}": tensor for place, tensor in enumerate(part.inputs)}
    if prepared.class_weight is not None:
        tensors[f"{prefix}class_weight"] = prepared.class_weight
    return {
        "schema": _SCHEMA.dump_python(prepared.schema, mode="json"),
        "missing": dict(prepared.missing),
        "fingerprint": prepared.fingerprint,
    }


def _put_together(document: Mapping[str, Any], prefix: str, tensors: Mapping[str, Tensor]) -> Prepared:
    has_test = f"{prefix}test.y" in tensors
    return Prepared(
        schema=_SCHEMA.validate_python(document["schema"]),
        train=_part(f"{prefix}train.", tensors),
        validation=_part(f"{prefix}validation.", tensors),
        test=_part(f"{prefix}test.", tensors) if has_test else None,
        class_weight=tensors.get(f"{prefix}class_weight"),
        missing=document["missing"],
        fingerprint=document["fingerprint"],
    )


def _mapped(file: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(file, mmap_mode="c"))  # c: what is written to it would be one's own
    except ValueError:  # an array without values cannot be mapped
        return torch.from_numpy(np.load(file))


def _part(prefix: str, tensors: Mapping[str, Tensor]) -> Part:
    count = sum(name.startswith(prefix) for name in tensors) - 1
    return Part(tuple(tensors[f"{prefix}{place}"] for place in range(count)), tensors[f"{prefix}y"])
