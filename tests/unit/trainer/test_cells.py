"""The cells of a convolutional network."""

from __future__ import annotations

import pytest
import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.compress import narrowed
from trainer.config import Data, Model, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.errors import ModelError
from trainer.fit import Monitor, fit
from trainer.model_file import load
from trainer.models.build import build
from trainer.models.cells import Identity
from trainer.models.residual import Residual
from trainer.preflight import check

CELLS = ("conv", "residual", "separable", "inverted", "squeeze", "identity")


@pytest.fixture(scope="module")
def shapes() -> Prepared:
    return prepare(Data(source="synthetic:shapes?rows=60&size=8"), device=CPU, data_folders=())


@pytest.mark.parametrize(
    ("cell", "params"),
    [  # of one channel to eight by 3 × 3 kernels with biases; the head has 8 * 4 * 4 * 4 + 4 = 516
        ("conv", 9 * 8 + 8),
        ("residual", (9 * 8 + 8) + (9 * 8 * 8 + 8) + 8),
        ("separable", (9 + 1) + (8 + 8)),
        ("inverted", (2 + 2) + (9 * 2 + 2) + (2 * 8 + 8)),  # 2 * 1 inner channels
        ("squeeze", (9 * 8 + 8) + (8 * 2 + 2) + (2 * 8 + 8)),
        ("identity", 0),
    ],
)
def test_a_cell_has_the_parameters_of_its_layers(shapes: Prepared, cell: str, params: int) -> None:
    model = build(Model(name="cnn", channels=[8], cell=cell), shapes.schema)

    assert sum(each.numel() for each in model.parameters()) == params + 516


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
@pytest.mark.parametrize("kernel", [2, 3])
def test_any_cells_go_with_any_depth_width_norm_and_kernel(shapes: Prepared, norm: str, kernel: int) -> None:
    for first in CELLS:
        for second in CELLS:
            config = Model.model_validate(
                {
                    "name": "cnn",
                    "channels": [8, 4],
                    "cells": [first, second],
                    "norm": norm,
                    "groups": 4,
                    "kernel": kernel,
                }
            )
            model = build(config, shapes.schema).eval()

            outputs = model(*(tensor[:5] for tensor in shapes.train.inputs))
            outputs.sum().backward()

            assert outputs.shape == (5, 4)
            assert all(each.grad is not None for each in model.parameters())


def test_what_an_identity_adds_is_nothing() -> None:
    images = torch.rand(2, 3, 4, 4)

    assert torch.equal(Identity(3, 5)(images)[:, :3], images)
    assert not Identity(3, 5)(images)[:, 3:].any()
    assert torch.equal(Identity(3, 2)(images), images[:, :2])


def test_branches_of_cells_are_those_that_may_be_left_out_or_begin_as_nothing(shapes: Prepared) -> None:
    config = Model.model_validate({"name": "cnn", "channels": [8, 8], "cells": ["residual", "inverted"]})

    residuals = [module for module in build(config, shapes.schema).modules() if isinstance(module, Residual)]

    assert len(residuals) == 2


def test_a_network_of_cells_is_trained_saved_and_loaded(shapes: Prepared) -> None:
    model = {"name": "cnn", "width": 8, "depth": 2, "cells": ["squeeze", "inverted"], "norm": "batch"}
    config = TrainConfig.model_validate({"data": {"source": "synthetic:shapes?rows=60"}, "model": model, "epochs": 2})
    folder = MemoryFolder()

    fitted = fit(config, shapes, monitor=Monitor("val/loss", "minimize"), reporter=Recorder(), folder=folder)

    assert fitted.ending == "finished"
    assert load(folder).config.model.stage_cells == ["squeeze", "inverted"]
    with pytest.raises(ModelError, match="a cnn of other cells than conv"):
        narrowed(config.model, 0.5)


def test_stages_that_an_image_has_no_room_for_are_found_before_any_trial() -> None:
    data = {"source": "synthetic:shapes?rows=60&size=8"}
    models = [{"name": "cnn", "depth": depth, "cell": "residual"} for depth in (1, 5)]
    trials = [{"data": data, "batch_size": 8, "model": model} for model in models]

    problems, facts = check(
        [TrainConfig.model_validate(trial) for trial in trials],
        wanted={},
        data_folders=(),
        device=torch.device("cpu"),
    )

    assert [problem.path for problem in problems] == ["trial.model.depth"]
    assert facts["parameters"]["least"] > 0
