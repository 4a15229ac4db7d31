"""Models in other forms say what the original says; one that does not is refused."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import onnxruntime
import pandas as pd
import pytest
import torch
from torch import Tensor

from tests.unit.trainer.conftest import CPU
from trainer.config import Data, Model
from trainer.convert import NotConverted, convert
from trainer.data.prepare import prepare
from trainer.data.prepared import Part, Prepared
from trainer.data.schema import Target
from trainer.data.texts import TextSchema, fit_texts
from trainer.loop import evaluate
from trainer.models.build import build
from trainer.models.mlp import MLP

TARGET = Target(name="label", task="classification", classes=("a", "b"))
SMALL: dict[str, Any] = {"hidden": [4], "width": 4, "depth": 1, "heads": 2}
ROWS = ["a fine day", "so good, so well done", "no", "win cash now"] * 4


@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize(
    "knobs", [{"name": "mlp", "hidden": [4] * 4, "skip": "shake_drop"}, {"name": "ft_transformer"}]
)
def test_a_model_of_tables_is_converted(knobs: dict[str, Any], form: str, iris: Prepared) -> None:
    model = build(Model(**SMALL | knobs), iris.schema)

    run = program(convert(model, iris.validation, form), form)

    for rows in (first(iris.train, 1), first(iris.train, 70)):
        assert torch.allclose(run(rows), evaluate(model, rows), atol=1e-5)


@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize("knobs", [{"name": "cnn", "norm": "batch"}, {"name": "vit"}])
def test_a_model_of_images_is_converted(knobs: dict[str, Any], form: str) -> None:
    digits = prepare(Data(source="sklearn:digits"), device=CPU, data_folders=(), as_images=True)
    model = build(Model(**SMALL | knobs), digits.schema)

    run = program(convert(model, digits.validation, form), form)

    for rows in (first(digits.train, 1), first(digits.train, 70)):
        assert torch.allclose(run(rows), evaluate(model, rows), atol=1e-5)


@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize(
    ("name", "most"),
    [("embedding_bag", 12), ("text_cnn", 12), ("transformer", 12), ("transformer", 1), ("transformer", 2)],
)
def test_a_model_of_texts_is_converted_for_texts_of_any_length(name: str, most: int, form: str) -> None:
    schema = fit_texts(pd.DataFrame({"t": ROWS}), Data(source="file:x", text="t", max_tokens=most), TARGET)
    model = build(Model(**SMALL | {"name": name}), schema)

    run = program(convert(model, tokens(schema, "no"), form), form)  # a single row, of one token

    for texts in (["no"], ["cash", "a well done fine day"], [*ROWS, "so " * 20]):
        rows = tokens(schema, *texts)
        assert torch.allclose(run(rows), evaluate(model, rows), atol=1e-5)


def test_a_file_that_errs_about_a_single_row_is_refused(iris: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(Model(hidden=[4]), iris.schema)

    def off(inputs: tuple[Tensor, ...]) -> Tensor:
        outputs: Tensor = model(*inputs)
        return outputs + 0.5 if len(outputs) == 1 else outputs

    monkeypatch.setattr("trainer.convert._torch", lambda _program: (b"", off))

    with pytest.raises(NotConverted, match=r"gives outputs up to 0\.5 from the original's on a single row"):
        convert(model, iris.validation, "torch")


def program(data: bytes, form: str) -> Callable[[Part], Tensor]:
    """What a file says of rows, as who has taken it away asks it."""
    if form == "torch":
        module = torch.export.load(io.BytesIO(data)).module()
        return lambda rows: module(*rows.inputs)
    session = onnxruntime.InferenceSession(data)
    names = [each.name for each in session.get_inputs()]

    def run(rows: Part) -> Tensor:
        wide = [each.long() if each.dtype == torch.int32 else each for each in rows.inputs]
        return torch.from_numpy(session.run(None, dict(zip(names, (each.numpy() for each in wide), strict=True)))[0])

    return run


def first(part: Part, rows: int) -> Part:
    return Part(tuple(each[:rows] for each in part.inputs), part.y[:rows])


def tokens(schema: TextSchema, *texts: str) -> Part:
    (encoded,) = schema.encode(pd.DataFrame({"t": texts}))
    return Part((torch.from_numpy(encoded),), torch.zeros(len(texts)))


def test_a_model_that_says_something_else_when_it_is_exported_is_refused(
    iris: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(Model(hidden=[4]), iris.schema)
    forward = MLP.forward

    def two_faced(self: MLP, numbers: Tensor, categories: Tensor) -> Tensor:
        off = 0.5 if torch.compiler.is_compiling() else 0.0
        return forward(self, numbers, categories) + off

    monkeypatch.setattr(MLP, "forward", two_faced)

    with pytest.raises(NotConverted, match=r"model\.pt2 gives outputs up to 0\.5 from the original's on 30 rows"):
        convert(model, iris.validation, "torch")
