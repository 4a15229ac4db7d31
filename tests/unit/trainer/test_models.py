"""Every model on every kind of data that it takes: shapes, what it is indifferent to, that it learns, and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.unit.trainer.conftest import CPU, MemoryFolder, Recorder
from tests.unit.trainer.test_synthetic import trained
from trainer import preflight
from trainer.config import MODELS, Data, Model, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.init import initialize
from trainer.model_file import load
from trainer.models.build import build
from trainer.models.layers import Network
from trainer.models.text import TextTransformer

ACCURACY = Monitor("val/accuracy", "maximize")
SOURCES = {
    "table": Data(source="synthetic:classification?rows=60&columns=5&classes=3", categorical=["x0"]),
    "image": Data(source="synthetic:shapes?rows=60&size=8"),
    "text": Data(source="synthetic:texts?rows=60&classes=3", text="text"),
}
SMALL = Model(width=8, heads=2, depth=2, hidden=[8, 8])


@pytest.fixture(scope="module")
def prepared() -> dict[str, Prepared]:
    return {kind: prepare(data, device=CPU, data_folders=()) for kind, data in SOURCES.items()}


def built(config: Model, prepared: Prepared, seed: int = 0) -> Network:
    model = build(config, prepared.schema)
    initialize(model, config.init, config.activation, torch.Generator().manual_seed(seed))
    return model


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in MODELS for name in sorted(MODELS[kind])])
def test_a_model_gives_one_output_a_class_and_uses_all_of_its_weights(
    prepared: dict[str, Prepared], kind: str, name: str
) -> None:
    data = prepared[kind]
    model = built(SMALL.model_copy(update={"name": name}), data)

    outputs = model(*(tensor[:7] for tensor in data.train.inputs))
    outputs.square().sum().backward()

    assert outputs.shape == (7, len(data.classes))
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in MODELS for name in sorted(MODELS[kind])])
def test_the_generator_alone_decides_how_a_model_begins(prepared: dict[str, Prepared], kind: str, name: str) -> None:
    config = SMALL.model_copy(update={"name": name})
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(1)
        one = built(config, prepared[kind])
        torch.manual_seed(2)
        same, other = built(config, prepared[kind]), built(config, prepared[kind], seed=3)

    weights = [list(model.parameters()) for model in (one, same, other)]
    assert all(torch.equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


def test_padding_changes_nothing_of_what_a_text_transformer_says(prepared: dict[str, Prepared]) -> None:
    data = prepared["text"]
    model = built(SMALL.model_copy(update={"name": "transformer"}), data).eval()
    tokens = data.train.inputs[0][:5]
    longer = torch.cat([tokens, torch.zeros(5, 9, dtype=torch.int32)], 1)

    assert isinstance(model, TextTransformer)
    torch.testing.assert_close(model(longer), model(tokens))
    assert torch.isfinite(model(torch.zeros(1, 4, dtype=torch.int32))).all()  # a text without a word
    assert not torch.equal(model(tokens.flip(0)[:, :3].flip(1)), model(tokens.flip(0)[:, :3]))  # order counts


@pytest.mark.parametrize("name", ["resnet", "ft_transformer"])
def test_a_table_may_have_numbers_alone_or_categories_alone(name: str) -> None:
    config = SMALL.model_copy(update={"name": name})
    for source, categorical in (("synthetic:spirals?rows=60", []), ("synthetic:spirals?rows=60", ["x0", "x1"])):
        data = prepare(Data(source=source, categorical=categorical), device=CPU, data_folders=())

        assert built(config, data)(*data.validation.inputs).shape == (data.validation.rows, 2)


@pytest.mark.parametrize(
    ("name", "source"), [("resnet", "synthetic:spirals?rows=500"), ("ft_transformer", "sklearn:wine")]
)
def test_models_of_tables_learn(name: str, source: str) -> None:
    metrics = trained(source, ACCURACY, model={"name": name, "depth": 2}, epochs=20, batch_size=32)

    assert metrics["val/accuracy"] > 0.93


def test_a_vision_transformer_learns_digits_and_predicts_from_its_file() -> None:
    config = TrainConfig.model_validate(
        {"data": {"source": "sklearn:digits"}, "model": {"name": "vit", "patch": 2, "depth": 1},
         "optimizer": {"lr": 0.005}, "epochs": 6, "batch_size": 64}
    )  # fmt: skip
    digits = prepare(config.data, device=CPU, data_folders=(), as_images=config.takes_images)
    folder = MemoryFolder()

    metrics = fit(config, digits, monitor=ACCURACY, reporter=Recorder(), folder=folder).metrics

    assert metrics["val/accuracy"] > 0.85
    assert digits.test is not None
    guessed = load(folder).predict(digits.test.inputs[0].numpy())
    right = [name == digits.classes[label] for name, label in zip(guessed, digits.test.y.tolist(), strict=True)]
    assert sum(right) / len(right) == pytest.approx(metrics["test/accuracy"])


def test_a_text_transformer_learns_which_words_a_class_prefers() -> None:
    metrics = trained(
        "synthetic:texts?classes=3&rows=500", ACCURACY, epochs=6, data={"text": "text"},
        model={"name": "transformer", "depth": 1}, optimizer={"lr": 0.003},
    )  # fmt: skip

    assert metrics["val/accuracy"] > 0.9


def test_a_linear_model_is_one_layer(prepared: dict[str, Prepared]) -> None:
    model = built(Model(name="linear"), prepared["image"])

    assert [tuple(weight.shape) for weight in model.parameters()] == [(4, 64), (4,)]


def test_groups_are_each_normalized_by_themselves(prepared: dict[str, Prepared]) -> None:
    model = built(Model(hidden=[8], norm="group", groups=2), prepared["table"])
    normalized: list[torch.Tensor] = []
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.GroupNorm))
    norm.register_forward_hook(lambda _module, _inputs, output: normalized.append(output))

    model(*prepared["table"].train.inputs)

    halves = normalized[0].unflatten(1, (2, 4))  # (rows, groups, of a group)
    torch.testing.assert_close(halves.mean(2), torch.zeros(halves.shape[:2]), atol=1e-5, rtol=0)
    torch.testing.assert_close(halves.var(2, correction=0), torch.ones(halves.shape[:2]), atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            {"name": "vit", "width": 30, "heads": 4},
            "model.heads: 4 heads do not divide a width of 30; take one of 1, 2",
        ),
        ({"hidden": [64, 20], "norm": "group"}, "model.groups: 8 groups do not divide a width of 20"),
        ({"name": "cnn", "width": 12, "norm": "group"}, "model.groups: 8 groups do not divide a width of 12"),
    ],
)
def test_what_does_not_divide_is_refused_by_arithmetic_alone(model: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TrainConfig.model_validate({"data": {"source": "sklearn:digits"}, "model": model})


@pytest.mark.parametrize(
    ("source", "model", "path", "says"),
    [
        ("sklearn:iris", {"name": "cnn"}, "trial.model.name", "cnn takes images, and the source holds tables"),
        ("sklearn:iris", {"name": "vit"}, "trial.model.name", "vit takes images, and the source holds tables"),
        (
            "synthetic:shapes?rows=60", {"name": "ft_transformer"},
            "trial.model.name", "ft_transformer takes tables, and the source holds images",
        ),
        (
            "synthetic:shapes?rows=60&size=10", {"name": "vit", "patch": 4},
            "trial.model.patch", "squares of 4 pixels do not tile images of 10 × 10",
        ),
        (
            "sklearn:iris", {"hidden": [16, 8], "norm": "group", "groups": 8},
            "trial.model.groups", "in 8 groups of a width of 8 each number is normalized by itself, to 0",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_refused_before_any_trial(
    source: str, model: dict[str, Any], path: str, says: str
) -> None:
    config = TrainConfig.model_validate({"data": {"source": source}, "model": model, "batch_size": 8})

    problems, _ = preflight.check([config], wanted={"objective.metric": "val/accuracy"}, data_folders=(), device=CPU)

    assert [(problem.path, problem.message) for problem in problems] == [(path, says)]
    assert problems[0].hint
