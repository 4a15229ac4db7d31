"""Models with weights of eight bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from trainer.compress import nonzero, size_in_bytes
from trainer.config import Data, Model, TrainConfig
from trainer.convert import NotConverted, convert
from trainer.data.prepare import prepare, prepare_for
from trainer.data.prepared import Part, Prepared
from trainer.ensemble.ensemble_file import parameters_of
from trainer.fit import Fitted, Monitor, fit
from trainer.heritage import read
from trainer.int8 import Int8Linear, Int8Table, as_floats, quantized
from trainer.loop import evaluate
from trainer.model_file import load, packed
from trainer.models.build import build
from trainer.models.layers import Network
from trainer.ranks import ALONE, Ranks
from trainer.training import Training

ACCURACY = Monitor("val/accuracy", "maximize")


class Alone(Network):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> Any:
        return self.layer(x)


def configure(**sections: Any) -> TrainConfig:
    document = {"data": {"source": "sklearn:digits"}, "model": {"hidden": [64, 32], "norm": "batch"}, "epochs": 4}
    return TrainConfig.model_validate(document | {"optimizer": {"lr": 0.01}} | sections)


def run(config: TrainConfig, prepared: Any, **more: Any) -> tuple[Fitted, MemoryFolder]:
    folder = MemoryFolder()
    return fit(config, prepared, monitor=ACCURACY, reporter=Recorder(), folder=folder, **more), folder


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(Data(source="sklearn:digits"), device=CPU, data_folders=())


@pytest.mark.parametrize("rows", [1, 2, 40])
def test_a_layer_of_one_input_says_what_its_weights_say(rows: int) -> None:
    layer = nn.Linear(1, 3)
    x = torch.linspace(-2, 2, rows)[:, None]
    small = quantized(Alone(layer))

    with torch.inference_mode():
        assert torch.allclose(small(x), layer(x), atol=1e-5)  # one weight a scale, one input a scale: nothing is lost


def test_weights_are_rounded_by_output_and_inputs_by_row() -> None:
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.27, -0.64, 0.0], [0.0, 0.0, 254.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.0]))
    small = quantized(Alone(layer)).layer
    assert isinstance(small, Int8Linear)

    assert small.weight.tolist() == [[127, -64, 0], [0, 0, 127]]
    assert small.scale.tolist() == pytest.approx([0.01, 2.0])
    rows = torch.tensor([[127.0, 1.4, 0.0], [0.0, 0.0, -2.54], [0.0, 0.0, 0.0]])
    # Scales of the rows 1, 0.02 and none: 127, 1, 0 / 0, 0, -127 / zeros.
    expected = [[127 * 1.27 - 0.64 + 0.5, 0.0], [0.5, -2.54 * 254], [0.5, 0.0]]
    assert torch.allclose(small(rows), torch.tensor(expected), rtol=1e-5)


def test_tables_are_rounded_by_row_and_padding_counts_for_nothing() -> None:
    table, bag = nn.Embedding(9, 4), nn.EmbeddingBag(9, 4, mode="mean", padding_idx=0)
    tokens = torch.tensor([[3, 4, 0, 0], [5, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.int32)

    for layer in (table, bag):
        small = quantized(Alone(layer))
        assert isinstance(small.layer, Int8Table)
        assert torch.allclose(small(tokens), layer(tokens), atol=layer.weight.detach().abs().max().item() / 127)


@pytest.mark.parametrize(
    ("source", "text", "name"),
    [
        ("synthetic:classification?rows=80&columns=6&classes=3", None, "mlp"),
        ("synthetic:classification?rows=80&columns=6&classes=3", None, "ft_transformer"),
        ("synthetic:shapes?rows=80&size=8", None, "vit"),
        ("synthetic:texts?rows=80&classes=3", "text", "embedding_bag"),
        ("synthetic:texts?rows=80&classes=3", "text", "transformer"),
    ],
)
def test_every_kind_of_model_says_nearly_the_same_in_fewer_bytes(source: str, text: str | None, name: str) -> None:
    prepared = prepare(Data(source=source, text=text), device=CPU, data_folders=())
    torch.manual_seed(0)
    model = build(Model(name=name, width=32, heads=2, depth=1, hidden=[32, 32]), prepared.schema).eval()

    small = quantized(model)

    before, after = evaluate(model, prepared.validation), evaluate(small, prepared.validation)
    assert (before - after).abs().max() < 0.05 * before.abs().max()
    assert size_in_bytes(small) < 0.6 * size_in_bytes(model)
    assert next(model.parameters()).dtype == torch.float32  # the original stays as it was


def test_a_training_leaves_the_small_model_and_measures_it(digits: Prepared) -> None:
    plain, large = run(configure(compression={"name": "none"}), digits)
    fitted, folder = run(configure(compression={"name": "magnitude", "share": 0.5, "int8": True}), digits)

    model = load(folder).members[0].model
    floats = load(large).members[0].model
    assert isinstance(model.get_submodule("head"), Int8Linear)
    # 64 * 64 + 64 * 32 + 32 * 10 weights take a byte each, 106 outputs a scale; half of the weights are zero.
    assert size_in_bytes(floats) - size_in_bytes(model) == 3 * 6464 - 4 * 106
    assert fitted.costs["bytes"] == size_in_bytes(model) < 0.35 * plain.costs["bytes"]
    assert fitted.costs["nonzero"] == nonzero(model) < 0.6 * plain.costs["nonzero"]
    assert parameters_of([load(folder)]) == parameters_of([load(large)]) == fitted.costs["params"]
    assert len(folder["model.safetensors"]) < 0.4 * len(large["model.safetensors"])
    for part, name in ((digits.validation, "val"), (digits.test, "test")):
        assert part is not None
        right = (evaluate(model, part).argmax(1) == part.y).float().mean().item()
        assert fitted.metrics[f"{name}/accuracy"] == pytest.approx(right)
    assert fitted.metrics["val/accuracy"] > plain.metrics["val/accuracy"] - 0.05


def test_a_small_model_becomes_a_program_of_torch_and_no_onnx(iris: Prepared) -> None:
    model = quantized(build(Model(hidden=[8]), iris.schema))

    assert convert(model, iris.validation, "torch")
    with pytest.raises(NotConverted, match="ONNX cannot hold layers in eight bits"):
        convert(model, iris.validation, "onnx")


def test_folds_and_seeds_are_made_small_each(iris: Prepared) -> None:
    small = {"compression": {"name": "none", "int8": True}, "data": {"source": "sklearn:iris"}, "batch_size": 16}
    seeds, of_seeds = run(configure(**small, seeds=2), iris)
    folded = configure(**small, cross_validation={"folds": 2})
    folds, of_folds = run(folded, prepare_for(folded, device=CPU, data_folders=()))

    for fitted, folder in ((seeds, of_seeds), (folds, of_folds)):
        members = load(folder).members
        assert all(isinstance(member.model.get_submodule("head"), Int8Linear) for member in members)
        assert {"val/accuracy_se", "test/accuracy"} <= fitted.metrics.keys()


def test_the_rows_that_nobody_trained_on_are_looked_at_once(digits: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Part] = []

    def seen(model: Network, part: Part, ranks: Ranks = ALONE) -> torch.Tensor:
        looked.append(part)
        return evaluate(model, part, ranks)

    monkeypatch.setattr("trainer.predictions.evaluate", seen)
    monkeypatch.setattr("trainer.training.evaluate", seen)
    run(configure(epochs=1), digits)

    assert sum(part is digits.test for part in looked) == 1
    looked.clear()
    run(configure(epochs=1, seeds=2), digits)
    assert sum(part is digits.test for part in looked) == 2


def test_what_begins_with_a_small_model_begins_with_its_floats(digits: Prepared) -> None:
    _, folder = run(configure(compression={"name": "none", "int8": True}), digits)
    weights = as_floats(dict(load(folder).members[0].model.state_dict()))

    heir = Training(configure(), digits, ACCURACY, None, read("trial 0", folder).of_member(0))

    assert heir.inherited == 1.0
    own = heir.model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in weights.items() if tensor.is_floating_point())
    assert own["head.weight"].abs().max() < 5  # and no whole numbers


def test_a_finished_model_may_be_made_small_for_a_prediction_or_as_a_file(digits: Prepared) -> None:
    _, folder = run(configure(), digits)
    model, rows = load(folder), digits.validation
    expected = evaluate(model.members[0].model, rows)

    model.make_small()
    folder.write("model.int8.safetensors", packed(model.members))
    again = load(folder, "model.int8.safetensors")

    small = evaluate(model.members[0].model, rows)
    assert torch.equal(evaluate(again.members[0].model, rows), small)
    assert (small.argmax(1) == expected.argmax(1)).float().mean() > 0.97
    assert len(folder["model.int8.safetensors"]) < 0.4 * len(folder["model.safetensors"])
