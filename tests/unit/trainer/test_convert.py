"""Models in other forms say what the original says; one that does not is refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.unit.trainer.conftest import CPU
from trainer.config import Data, Model
from trainer.convert import NotConverted, convert
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.models.build import build
from trainer.models.mlp import MLP


def test_a_convolution_is_converted_and_compared_on_real_rows() -> None:
    digits = prepare(Data(source="sklearn:digits"), device=CPU, data_folders=(), as_images=True)

    data = convert(build(Model(name="cnn", depth=1, width=4), digits.schema), digits.validation, "torch")

    assert len(data) > 1000


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
