"""Penalties, the smoothed loss and clipping, against autograd, PyTorch and sums done by hand; and each of them, dropout
and weight decay too, seen to act in a training."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from sklearn.metrics import mean_pinball_loss
from torch.nn import BCEWithLogitsLoss

from tests.unit.trainer.conftest import MemoryFolder, Recorder
from trainer.config import Data, Loss, TrainConfig
from trainer.data.prepared import Prepared
from trainer.fit import Monitor, fit
from trainer.model_file import load
from trainer.regularize import add_penalty_gradients, clip_gradients, task_loss


def test_smoothed_labels_are_a_mixture_with_the_uniform_distribution() -> None:
    # two classes with probabilities 3/4 and 1/4, target the first, smoothing 0.2: targets 0.9 and 0.1
    logits = torch.tensor([[math.log(3.0), 0.0]])

    loss = task_loss(logits, torch.tensor([0]), label_smoothing=0.2, class_weight=None)

    assert loss.item() == pytest.approx(-0.9 * math.log(3 / 4) - 0.1 * math.log(1 / 4))


def test_class_weights_make_the_mean_a_weighted_one() -> None:
    # probabilities 3/4 for class 0 in both rows; weights 1 and 3
    logits = torch.tensor([[math.log(3.0), 0.0], [math.log(3.0), 0.0]])

    loss = task_loss(logits, torch.tensor([0, 1]), label_smoothing=0.0, class_weight=torch.tensor([1.0, 3.0]))

    assert loss.item() == pytest.approx((-1 * math.log(3 / 4) - 3 * math.log(1 / 4)) / 4)


def test_the_loss_of_a_regression_is_the_mean_squared_error() -> None:
    loss = task_loss(torch.tensor([1.0, 4.0]), torch.tensor([0.0, 2.0]), label_smoothing=0.0, class_weight=None)

    assert loss.item() == (1 + 4) / 2


def test_the_gradient_of_the_penalties_is_that_of_autograd() -> None:
    weight = torch.nn.Parameter(torch.tensor([[1.5, -2.0], [0.0, 0.3]]))
    l1, l2 = 0.1, 0.05
    (weight.sum() ** 2 + l1 * weight.abs().sum() + l2 * weight.square().sum()).backward()
    expected = weight.grad

    weight.grad = None
    (weight.sum() ** 2).backward()
    add_penalty_gradients([weight], l1, l2)

    torch.testing.assert_close(weight.grad, expected)


def test_clipping_scales_all_gradients_together_and_leaves_short_ones_alone() -> None:
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0]), torch.tensor([4.0])  # norm 5

    clip_gradients([a, b], 10.0)
    assert (a.grad.item(), b.grad.item()) == (3.0, 4.0)

    clip_gradients([a, b], 1.0)
    assert (a.grad.item(), b.grad.item()) == (pytest.approx(0.6, rel=1e-5), pytest.approx(0.8, rel=1e-5))


def test_focal_loss_is_the_papers() -> None:
    # two classes, the target given 3/4, gamma 2: (1/4)^2 * -log(3/4)
    logits = torch.tensor([[math.log(3.0), 0.0]])

    loss = task_loss(
        logits, torch.tensor([0]), label_smoothing=0.0, class_weight=None, loss=Loss(name="focal", gamma=2.0)
    )

    assert loss.item() == pytest.approx(-math.log(3 / 4) / 16)


@pytest.mark.parametrize("class_weight", [None, torch.tensor([1.0, 3.0])])
def test_focal_loss_that_forgives_nothing_is_the_cross_entropy(class_weight: torch.Tensor | None) -> None:
    logits, y = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 4)

    focal, plain = (
        task_loss(logits, y, label_smoothing=0.0, class_weight=class_weight, loss=loss)
        for loss in (Loss(name="focal", gamma=0.0), Loss())
    )

    torch.testing.assert_close(focal, plain)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (Loss(name="mae"), (0.5 + 3) / 2),
        # within delta half the square; beyond it delta * (distance - delta / 2)
        (Loss(name="huber", delta=1.0), (0.5 * 0.25 + (3 - 0.5)) / 2),
        # both are too high: each counts by what the quantile leaves
        (Loss(name="quantile", quantile=0.9), mean_pinball_loss([1.0, 1.0], [1.5, 4.0], alpha=0.9)),
        (Loss(name="quantile", quantile=0.5), (0.5 + 3) / 2 / 2),
    ],
)
def test_losses_of_a_regression_are_what_they_are_called(loss: Loss, expected: float) -> None:
    outputs, y = torch.tensor([1.5, 4.0]), torch.tensor([1.0, 1.0])

    measured = task_loss(outputs, y, label_smoothing=0.0, class_weight=None, loss=loss)

    assert measured.item() == pytest.approx(expected)


def test_a_quantile_lies_above_its_share_of_the_rows() -> None:
    y = torch.randn(500, generator=torch.Generator().manual_seed(0))
    guess = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([guess], 0.5)
    for _ in range(200):
        optimizer.zero_grad()
        task_loss(guess.expand(500), y, label_smoothing=0.0, class_weight=None,
                  loss=Loss(name="quantile", quantile=0.8)).backward()  # fmt: skip
        optimizer.step()

    assert (y < guess).float().mean().item() == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("class_weight", [None, torch.tensor([1.0, 3.0, 0.5])])
def test_bce_takes_each_class_against_the_rest(class_weight: torch.Tensor | None) -> None:
    logits, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2] * 2)
    smooth = torch.full((6, 3), 0.3 / 3).scatter_(1, y[:, None], 0.7 + 0.3 / 3)
    weight = torch.ones(6) if class_weight is None else class_weight[y]
    of_rows = BCEWithLogitsLoss(reduction="none")(logits, smooth).sum(1)

    loss = task_loss(logits, y, label_smoothing=0.3, class_weight=class_weight, loss=Loss(name="bce"))

    torch.testing.assert_close(loss, (of_rows * weight).sum() / weight.sum())


def test_bce_of_two_classes_is_the_cross_entropy() -> None:
    logits, y = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 3)
    bce, plain = (task_loss(logits, y, label_smoothing=0.0, class_weight=None, loss=Loss(name=name))
                  for name in ("bce", "cross_entropy"))  # fmt: skip

    assert bce == plain
    assert bce.item() == pytest.approx(BCEWithLogitsLoss()(logits[:, 1] - logits[:, 0], y.float()).item())


def test_clipping_by_value_cuts_each_number() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    weight.grad = torch.tensor([3.0, -0.2, -4.0])

    clip_gradients([weight], None, 0.5)

    assert weight.grad.tolist() == pytest.approx([0.5, -0.2, -0.5])


def trained(prepared: Prepared, *, epochs: int = 12, **sections: dict[str, object]) -> dict[str, torch.Tensor]:
    """The weights after training with a section changed, and what the model then says on the validation part."""
    config = TrainConfig.model_validate(
        {"data": Data(source="sklearn:iris"), "epochs": epochs, "batch_size": 16, "model": {"hidden": [16]},
         "optimizer": {"name": "sgd", "lr": 0.1}} | sections
    )  # fmt: skip
    folder = MemoryFolder()
    # The last epoch counts as the best: train/loss without end would do, but noise must not choose another one.
    fit(config, prepared, monitor=Monitor("train/loss", "minimize"), reporter=Recorder(), folder=folder)
    model = load(folder).members[0].model
    with torch.no_grad():
        probabilities = model(prepared.validation.inputs[0], prepared.validation.inputs[1]).softmax(1)
    return {"weights": torch.cat([p.flatten() for p in model.parameters() if p.ndim > 1]), "says": probabilities}


@pytest.mark.parametrize(
    "sections",
    [
        {"regularization": {"l1": 0.02}},
        {"regularization": {"l2": 0.02}},
        {"optimizer": {"name": "sgd", "lr": 0.1, "weight_decay": 0.05}},
    ],
    ids=["l1", "l2", "weight_decay"],
)
def test_a_penalty_or_a_decay_keeps_the_weights_small(iris: Prepared, sections: dict[str, dict[str, object]]) -> None:
    assert trained(iris, **sections)["weights"].norm() < 0.95 * trained(iris)["weights"].norm()


def test_l1_brings_many_weights_close_to_zero(iris: Prepared) -> None:
    def near_zero(l1: float) -> float:
        weights = trained(iris, epochs=40, regularization={"l1": l1})["weights"]
        return (weights.abs() < 0.01).float().mean().item()

    assert near_zero(0.02) > near_zero(0.0) + 0.2


def test_label_smoothing_makes_a_model_less_sure(iris: Prepared) -> None:
    def confidence(smoothing: float) -> float:
        return trained(iris, regularization={"label_smoothing": smoothing})["says"].amax(1).mean().item()

    assert confidence(0.4) < confidence(0.0) - 0.05


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_bounds_a_step_of_sgd(iris: Prepared, precision: str) -> None:
    # an epoch of one batch: the step is lr * gradient, so at most lr * max_norm from where it began
    def weights(lr: float, max_norm: float | None, l2: float = 0.0) -> torch.Tensor:
        one_batch = iris.train.rows
        return trained(
            iris, epochs=1, batch_size=one_batch, precision=precision,
            optimizer={"name": "sgd", "lr": lr}, regularization={"max_grad_norm": max_norm, "l2": l2},
        )["weights"]  # type: ignore[arg-type]  # fmt: skip

    start = weights(1e-12, None)
    assert (weights(1.0, None) - start).norm() > 0.05
    assert 0.04 < (weights(1.0, 0.05) - start).norm() <= 0.05 * (1 + 1e-4)  # the biases' part is not seen here
    assert (weights(1.0, 0.05, l2=10.0) - start).norm() <= 0.05 * (1 + 1e-4)  # the penalties, too


def test_dropout_makes_learning_harder_and_predicting_exact(iris: Prepared) -> None:
    def last_loss(rate: float) -> float:
        reporter = Recorder()
        config = TrainConfig.model_validate(
            {"data": Data(source="sklearn:iris"), "epochs": 12, "batch_size": 16, "regularization": {"dropout": rate}}
        )
        fit(config, iris, monitor=Monitor("val/loss", "minimize"), reporter=reporter, folder=MemoryFolder())
        return reporter.reports[12]["train/loss"]

    assert last_loss(0.8) > 1.5 * last_loss(0.0)
    once, again = (trained(iris, regularization={"dropout": 0.5})["says"] for _ in range(2))
    assert torch.equal(once, again)


def test_smoothing_and_weights_do_not_change_how_the_validation_is_measured(iris: Prepared) -> None:
    """Trials that differ in them are compared by val/loss: one step too small to matter must give the same value."""

    def first(**regularization: float) -> float:
        reporter = Recorder()
        config = TrainConfig.model_validate(
            {"data": Data(source="sklearn:iris"), "epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-12},
             "regularization": regularization}
        )  # fmt: skip
        fit(config, iris, monitor=Monitor("val/loss", "minimize"), reporter=reporter, folder=MemoryFolder())
        return reporter.reports[1]["val/loss"]

    plain = first()
    assert first(label_smoothing=0.3, l1=1.0, l2=1.0) == pytest.approx(plain, abs=1e-6)


def test_accumulated_batches_make_the_step_of_one_large_batch(iris: Prepared) -> None:
    # 90 rows: five steps of 16, and one of the last ten
    one, four = trained(iris, batch_size=16), trained(iris, batch_size=4, accumulate=4)  # type: ignore[arg-type]

    torch.testing.assert_close(four["weights"], one["weights"], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(trained(iris, batch_size=4)["weights"], one["weights"], atol=1e-3)  # type: ignore[arg-type]


def test_accumulated_batches_weigh_their_classes_as_one_large_batch_does(iris: Prepared) -> None:
    weighted = dataclasses.replace(iris, class_weight=torch.tensor([1.0, 10.0, 0.1]))
    one, four = trained(weighted, batch_size=16), trained(weighted, batch_size=4, accumulate=4)  # type: ignore[arg-type]

    torch.testing.assert_close(four["weights"], one["weights"], rtol=1e-3, atol=1e-5)


def test_rows_that_go_no_way_uphill_count_once(iris: Prepared) -> None:
    far, no_way = ({"source": "sklearn:iris", "augment": {"fgsm": epsilon}} for epsilon in (0.5, 1e-12))
    plain = trained(iris)["weights"]

    torch.testing.assert_close(trained(iris, data=no_way)["weights"], plain)
    assert not torch.allclose(trained(iris, data=far)["weights"], plain, atol=1e-3)


def test_averaged_weights_are_those_that_are_kept(iris: Prepared) -> None:
    # One epoch of six steps with decays min(0.9, (1 + t) / (10 + t)): what is kept lies between beginning and end
    begun, ended = trained(iris, epochs=1, optimizer={"name": "sgd", "lr": 1e-12}), trained(iris, epochs=1)
    averaged = trained(iris, epochs=1, regularization={"ema": 0.9})

    whole = (ended["weights"] - begun["weights"]).norm()
    assert 0 < (averaged["weights"] - begun["weights"]).norm() < whole
    assert 0 < (averaged["weights"] - ended["weights"]).norm() < whole


def test_clipping_by_value_and_the_loss_change_what_is_learned(iris: Prepared) -> None:
    plain = trained(iris)["weights"]

    assert not torch.equal(trained(iris, regularization={"max_grad_value": 0.01})["weights"], plain)
    assert not torch.equal(trained(iris, loss={"name": "focal"})["weights"], plain)


def test_balanced_sampling_finds_more_of_a_rare_class(iris: Prepared) -> None:
    few = torch.cat([(iris.train.y == 2).nonzero()[:2, 0], (iris.train.y != 2).nonzero()[:, 0]])
    rare = dataclasses.replace(
        iris, train=dataclasses.replace(
            iris.train, inputs=tuple(tensor[few] for tensor in iris.train.inputs), y=iris.train.y[few]
        )
    )  # fmt: skip

    shuffled, balanced = trained(rare), trained(rare, sampling="balanced")  # type: ignore[arg-type]

    assert balanced["says"][:, 2].sum() > 1.5 * shuffled["says"][:, 2].sum()
