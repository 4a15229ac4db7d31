"""A trained model in forms that run without this package: ONNX, and a program of `torch.export`.

Both take the inputs of a `Part`, that is rows as `model.json` says how to encode them, any number at a time, and give
the model's outputs; ONNX takes tokens as int64. What is kept was compared with the original on real rows.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.prepared import Part
from trainer.errors import TrainerError
from trainer.int8 import has_small_layers
from trainer.loop import evaluate
from trainer.models.layers import Network

FILES = {"onnx": "model.onnx", "torch": "model.pt2", "int8": "model.int8.safetensors"}
TOLERANCE = 1e-4  # of outputs that are logits or deviations; kernels sum in another order
COMPARED_ROWS = 256

Inputs = tuple[Tensor, ...]


class NotConverted(TrainerError):
    """A model cannot be put into a form, or says something else in it than the original."""


def convert(model: Network, rows: Part, form: str) -> bytes:
    """The model as a file of a form in FILES.

    Args:
        model: on the CPU.
        rows: real ones, also on the CPU; up to 256 of them are compared.

    Raises:
        NotConverted.
    """
    if form == "onnx" and has_small_layers(model):
        raise NotConverted("ONNX cannot hold layers in eight bits as ours are; take a trial without compression.int8")
    model.eval()
    compared, alone = _first(rows, COMPARED_ROWS), _alone(_first(rows, 1), model.pad)
    given: Callable[[Inputs], Inputs] = _wide if form == "onnx" else tuple
    with _quiet():
        try:
            program = _export(model, given(_example(alone.inputs, model.pad)))
            data, run = (_onnx if form == "onnx" else _torch)(program)
            found = [(evaluate(model, part), run(given(part.inputs))) for part in (compared, alone)]
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise NotConverted(f"the model cannot be exported as {FILES[form]}: {reason}") from error
    for expected, outputs in found:
        _compare(expected, outputs, form)
    return data


def _export(model: Network, inputs: Inputs) -> torch.export.ExportedProgram:
    """A program for any number of rows and, where they are texts, of tokens."""
    free = {0: torch.export.Dim.DYNAMIC}
    if model.pad is not None:
        free[1] = torch.export.Dim.DYNAMIC
    shapes = tuple(free for _ in inputs)
    # What takes any number of inputs, as an ensemble does, has them all as its one parameter.
    together = any(each.kind is Parameter.VAR_POSITIONAL for each in signature(model.forward).parameters.values())
    return torch.export.export(model, inputs, dynamic_shapes=(shapes,) if together else shapes)


def _example(row: Inputs, pad: int | None) -> Inputs:
    """A row twice, of two tokens at least: a size of one would be taken for the only one there can be."""
    inputs = tuple(torch.cat([tensor, tensor]) for tensor in row)
    if pad is None:
        return inputs
    (tokens,) = inputs
    return (functional.pad(tokens, (0, max(0, 2 - tokens.shape[1])), value=pad),)


def _first(rows: Part, count: int) -> Part:
    return Part(tuple(tensor[:count] for tensor in rows.inputs), rows.y[:count])


def _alone(row: Part, pad: int | None) -> Part:
    """A row as it comes to be predicted by itself: a text without what it was padded with."""
    if pad is None:
        return row
    (tokens,) = row.inputs
    return Part((tokens[:, : max(1, int((tokens != pad).sum()))],), row.y)


def _wide(inputs: Inputs) -> Inputs:
    """ONNX joins indices with others of its own, which have 64 bits."""
    return tuple(tensor.long() if tensor.dtype == torch.int32 else tensor for tensor in inputs)


def _torch(program: torch.export.ExportedProgram) -> tuple[bytes, Callable[[Inputs], Tensor]]:
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    return file.getvalue(), lambda inputs: loaded(*inputs)


def _onnx(program: torch.export.ExportedProgram) -> tuple[bytes, Callable[[Inputs], Tensor]]:
    """Raises: ModuleNotFoundError: the packages of ONNX are not installed."""
    import onnxruntime

    with TemporaryDirectory() as folder:
        path = Path(folder, FILES["onnx"])
        torch.onnx.export(program, f=path, dynamo=True, external_data=False, verbose=False)
        data = path.read_bytes()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]

    def run(inputs: Inputs) -> Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return data, run


def _compare(expected: Tensor, found: Tensor, form: str) -> None:
    """Raises: NotConverted."""
    if expected.shape != found.shape:
        raise NotConverted(f"{FILES[form]} gives outputs of shape {tuple(found.shape)}, not {tuple(expected.shape)}")
    apart = (expected - found).abs().max().item()
    if not apart <= TOLERANCE * max(1.0, expected.abs().max().item()):
        rows = "a single row" if len(expected) == 1 else f"{len(expected)} rows"
        raise NotConverted(f"{FILES[form]} gives outputs up to {apart:.2g} from the original's on {rows}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of and log their own inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
