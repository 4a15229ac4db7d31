"""Compression: what is taken away, that the model is really smaller, and that nothing of it is lost on the way."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer.compress import masks_of, narrowed, share_before, steps_of, without_units
from trainer.config import Compression, Model, TrainConfig
from trainer.data.prepare import prepare, prepare_for
from trainer.data.prepared import Prepared
from trainer.errors import ModelError
from trainer.fit import Fitted, Monitor, fit
from trainer.model_file import DOCUMENT, TENSORS, load
from trainer.models.build import build
from trainer.preflight import check
from trainer.training import Training
from trainer.transfer import Origins

LOSS = Monitor("val/loss", "minimize")


def configure(**sections: Any) -> TrainConfig:
    document = {
        "data": {"source": "sklearn:iris"}, "epochs": 6, "batch_size": 16,
        "model": {"hidden": [16, 8], "norm": "batch"}, "optimizer": {"lr": 0.02}, "checkpoint": {"every_seconds": 0},
    }  # fmt: skip
    return TrainConfig.model_validate(document | sections)


def run(config: TrainConfig, prepared: Any, **more: Any) -> tuple[Fitted, MemoryFolder, Recorder]:
    folder, reporter = MemoryFolder(), Recorder()
    fitted = fit(config, prepared, monitor=LOSS, **({"folder": folder, "reporter": reporter} | more))
    return fitted, folder, reporter


@pytest.mark.parametrize(
    ("rule", "steps", "shares"),
    [
        ({"begin": 0.5}, [10], [0.5]),  # at once
        ({"begin": 0.2, "end": 0.6, "steps": 3}, [4, 8, 12], [0.5 * 19 / 27, 0.5 * 26 / 27, 0.5]),  # 1 - (1 - k/3)^3
        ({"begin": 0.0, "end": 0.99, "steps": 2}, [0, 19], [0.5 * 7 / 8, 0.5]),  # one epoch is left at least
    ],
)
def test_steps_are_spread_over_the_epochs_and_become_smaller(
    rule: dict[str, Any], steps: list[int], shares: list[float]
) -> None:
    config = configure(epochs=20, compression={"name": "magnitude", **rule})

    assert steps_of(config.compression, 20) == steps
    assert [share_before(config, step) for step in steps] == pytest.approx(shares)
    assert share_before(config, steps[0] - 1) == 0


def test_the_smallest_weights_go_wherever_they_stand_and_never_come_back(iris: Prepared) -> None:
    config = configure(compression={"name": "magnitude", "share": 0.6, "begin": 0.2, "end": 0.6, "steps": 3})
    training = Training(config, iris, LOSS)
    weights = {name for name, parameter in training.model.named_parameters() if parameter.ndim > 1}
    gone: list[set[tuple[str, int]]] = []

    while not training.over:
        training.run_epoch()
        gone.append({
            (name, place)
            for name in weights
            for place in (training.model.state_dict()[name].flatten() == 0).nonzero().flatten().tolist()
        })  # fmt: skip

    total = sum(training.model.state_dict()[name].numel() for name in weights)
    # Before epochs 1, 2 and 3 of 0 to 5; of 0.6, 19/27, 26/27 and all.
    assert [len(each) for each in gone] == [round(total * 0.6 * part) for part in (0, 19 / 27, 26 / 27, 1, 1, 1)]
    assert all(before <= after for before, after in pairwise(gone))


@pytest.mark.parametrize(
    "sections",
    [
        {"regularization": {"snapshots": 3}, "schedule": {"name": "cosine_restarts", "restart_epochs": 2}},
        {"regularization": {"ema": 0.9}},
        {"regularization": {"swa": True, "swa_start": 0.0}},
        {"optimizer": {"lr": 0.02, "lookahead_steps": 2}},
    ],
)
def test_whatever_is_judged_has_lost_what_was_taken_away(iris: Prepared, sections: dict[str, Any]) -> None:
    rule = {"name": "magnitude", "share": 0.6, "begin": 0.5}  # before epoch 3 of 0 to 5
    config = configure(compression=rule, **sections)

    _, folder, _ = run(config, iris)

    weights = {name: tensor for name, tensor in load(folder).members[0].model.state_dict().items() if tensor.ndim > 1}
    zeros = sum(int((tensor == 0).sum()) for tensor in weights.values())
    assert zeros == pytest.approx(0.6 * sum(tensor.numel() for tensor in weights.values()), abs=2)


@pytest.mark.parametrize(
    ("hidden", "groups", "says"),
    [([6], 2, "2 groups do not divide a width of 3"), ([4], 2, "in 2 groups of a width of 2 each number")],
)
def test_a_preflight_knows_what_no_norm_can_do_once_units_are_gone(hidden: list[int], groups: int, says: str) -> None:
    model = {"hidden": hidden, "norm": "group", "groups": groups}
    config = configure(model=model, compression={"name": "units", "share": 0.5})

    problems, _ = check([config], wanted={}, data_folders=(), device=CPU)

    assert [(problem.path, says in problem.message) for problem in problems] == [("trial.model.groups", True)]


@pytest.mark.parametrize("seeds", [1, 2])
def test_patience_waits_for_the_steps_and_begins_anew_with_each(iris: Prepared, seeds: int) -> None:
    impatient = {"patience": 1, "min_delta": 1e9}  # nothing is ever better
    rule = {"name": "magnitude", "begin": 0.5}  # before epoch 3 of 0 to 5

    fitted, _, _ = run(configure(compression=rule, early_stopping=impatient, seeds=seeds), iris)

    assert fitted.epochs == 5  # three before the step, and after it the first one and one that is not better


def test_the_units_with_the_largest_weights_stay_with_all_that_belongs_to_them() -> None:
    schema = prepare(configure().data, device=CPU, data_folders=()).schema
    wide = Model(hidden=[3, 2], norm="batch", activation="relu")
    old, new = build(wide, schema).eval(), build(narrowed(wide, 1 / 3), schema).eval()
    with torch.no_grad():  # the second unit of the first layer weighs least, and the first of the second
        old.blocks[0].weight.copy_(torch.tensor([[3.0, 3, 3, 3], [1, 1, 1, 1], [2, 2, 2, 2]]))
        old.blocks[0].bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
        old.blocks[1].running_mean.copy_(torch.tensor([1.0, 2, 3]))
        old.blocks[4].weight.copy_(torch.tensor([[1.0, 9, 1], [4, 0, 4]]))

    new.load_state_dict(without_units(old, new))

    assert new.blocks[0].weight.tolist() == [[3.0] * 4, [2.0] * 4]
    assert new.blocks[0].bias.tolist() == pytest.approx([0.1, 0.3])
    assert new.blocks[1].running_mean.tolist() == [1.0, 3.0]
    assert new.blocks[4].weight.tolist() == [[4.0, 4.0]]  # what led to the unit that is gone counts no more
    assert torch.equal(new.head.weight, old.head.weight[:, 1:])


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_channels_that_do_nothing_are_taken_out_without_a_trace(norm: str) -> None:
    """The same outputs from fewer channels, through pooling and into the head's places."""
    prepared = prepare(configure(data={"source": "sklearn:digits"}).data, device=CPU, data_folders=(), as_images=True)
    wide = Model.model_validate({"name": "cnn", "width": 4, "depth": 2, "norm": norm})
    old, new = build(wide, prepared.schema).eval(), build(narrowed(wide, 0.5), prepared.schema).eval()
    with torch.no_grad():
        for layer, norm_layer in ((old.stages[1], old.stages[2]), (old.stages[5], old.stages[6])):
            layer.weight[::2] = 0
            layer.bias[::2] = 0
            if norm != "none":
                norm_layer.weight[::2] = 0

    new.load_state_dict(without_units(old, new))

    assert [module.out_channels for module in new.modules() if isinstance(module, torch.nn.Conv2d)] == [2, 4]
    rows = prepared.validation.inputs[0][:8]
    if norm != "layer":  # which normalizes over all channels, those that do nothing too
        torch.testing.assert_close(new(rows), old(rows))


@pytest.mark.parametrize(
    "compression",
    [
        {"name": "units", "share": 0.5, "steps": 2, "begin": 0.2, "end": 0.5},
        {"name": "magnitude", "share": 0.8, "steps": 2, "begin": 0.2, "end": 0.5},
        {"name": "magnitude", "share": 0.8, "begin": 0.4, "rewind": True},
    ],
)
def test_a_compression_killed_at_any_epoch_goes_on_bit_for_bit(compression: dict[str, Any]) -> None:
    config = configure(
        compression=compression,
        early_stopping={"patience": 2},
        regularization={"dropout": 0.1, "ema": 0.5},
        cross_validation={"folds": 2},
    )
    prepared = prepare_for(config, device=CPU, data_folders=())
    finished, whole, _ = run(config, prepared)
    assert finished.best_epoch > 2  # of the model that is wanted

    for epoch in (1, 2, 4):
        killed = MemoryFolder()
        with pytest.raises(Killed):
            run(config, prepared, folder=killed, reporter=Recorder(killed_at=epoch))
        ended, resumed, _ = run(config, prepared, resume_from=[killed])
        assert ended == finished
        assert resumed[TENSORS] == whole[TENSORS]


def test_a_model_without_half_its_units_is_kept_and_counted_as_it_is(iris: Prepared) -> None:
    config = configure(compression={"name": "units"})

    fitted, folder, recorder = run(config, iris)

    hidden = next(member.model.blocks for member in load(folder).members)
    assert [layer.out_features for layer in hidden if isinstance(layer, torch.nn.Linear)] == [8, 4]
    # 4 · 16 + 16, 16 · 8 + 8 and 8 · 3 + 3 with norms of 2 · 16 and 2 · 8; then of half the widths
    assert recorder.costs[1]["params"] == 80 + 136 + 27 + 48 == 291
    assert fitted.costs["params"] == recorder.costs[6]["params"] == 40 + 36 + 15 + 24 == 115
    assert fitted.costs["bytes"] < recorder.costs[1]["bytes"] / 2
    assert fitted.costs["latency"] > 0
    assert fitted.costs["nonzero"] <= 115


def test_rewinding_gives_what_stays_the_weights_that_it_began_with(iris: Prepared) -> None:
    config = configure(compression={"name": "magnitude", "share": 0.5, "begin": 0.5, "rewind": True})
    training, fresh = Training(config, iris, LOSS), Training(config, iris, LOSS)
    for _ in range(3):
        training.run_epoch()
    masks = masks_of(training.model, 0.5)

    training._compress()

    begun = fresh.model.state_dict()
    for name, tensor in training.model.state_dict().items():
        expected = begun[name] * masks.kept[name] if name in masks.kept else begun[name]
        assert torch.equal(tensor, expected), name


def test_a_finished_model_is_compressed_and_trained_on(iris: Prepared, tmp_path: Any) -> None:
    """As a follow-up: the finished trial is the source of another one, which begins with the step."""
    _, folder, _ = run(configure(), iris)
    for name in (TENSORS, DOCUMENT):
        (tmp_path / name).write_bytes(folder[name])
    config = configure(
        model={"name": "pretrained", "source": "file:model.safetensors"}, compression={"name": "units", "begin": 0.0}
    )
    origin = Origins([tmp_path]).of(config)
    assert origin
    config = origin.resolve(config)
    prepared = prepare_for(config, device=CPU, data_folders=(), given=origin.given(config))

    fitted, kept, _ = run(config, prepared, origin=origin)

    assert fitted.costs["params"] == 115
    assert load(kept).predict(iris_rows()).shape == (150,)


def iris_rows() -> Any:
    from sklearn.datasets import load_iris

    return load_iris(as_frame=True).data


def test_units_stay_where_others_are_added_to_them() -> None:
    with pytest.raises(ModelError, match="not out of resnet"):
        narrowed(Model(name="resnet"), 0.5)
    config = configure(
        data={"source": "sklearn:digits"},
        model={"name": "resnet", "width": 4, "depth": 1},
        compression={"name": "units"},
    )
    problems, _ = check([config], wanted={"objective.metric": LOSS.metric}, data_folders=(), device=CPU)
    assert [problem.path for problem in problems] == ["trial.compression.name"]


@pytest.mark.parametrize(
    ("rule", "says"),
    [({"begin": 0.9}, "begin 0.9 comes after end 0.75"), ({"name": "units", "rewind": True}, "goes with magnitude")],
)
def test_what_cannot_be_compressed_is_refused(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Compression.model_validate(rule)
