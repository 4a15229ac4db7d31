"""Every optimizer against PyTorch's plain one with the decay written out, and against numbers derived by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.compress import masks_of
from trainer.config import Optimizer, TrainConfig
from trainer.data.prepared import Prepared
from trainer.optim import decay, decay_all, make_optimizer, set_lr, weights_of
from trainer.progress import Monitor
from trainer.training import Training

STEPS = 20
LR, DECAY = 0.05, 0.1


Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def walk(make: Make, decayed: Callable[[torch.nn.Parameter], None]) -> Tensor:
    """Where some steps down a bowl, steeper in one direction, lead from a random start."""
    weight = torch.nn.Parameter(torch.randn(3, 2, generator=torch.Generator().manual_seed(0)))
    optimizer = make([weight])
    for _ in range(STEPS):
        weight.grad = weight.detach() * torch.linspace(0.5, 3, weight.numel()).view_as(weight)
        decayed(weight)
        optimizer.step()
    return weight.detach()


def ours(config: Optimizer) -> Tensor:
    return walk(
        lambda parameters: make_optimizer(parameters, config),
        lambda weight: decay([weight], config.lr, config.weight_decay),
    )


def torchs(make: Make, weight_decay: float) -> Tensor:
    def decayed(weight: torch.nn.Parameter) -> None:
        weight.data -= LR * weight_decay * weight.data

    return walk(make, decayed)


@pytest.mark.parametrize("weight_decay", [0.0, DECAY])
@pytest.mark.parametrize(
    ("knobs", "make"),
    [
        ({"name": "sgd"}, lambda p: torch.optim.SGD(p, LR, foreach=False)),
        ({"name": "sgd", "momentum": 0.9}, lambda p: torch.optim.SGD(p, LR, momentum=0.9, foreach=False)),
        (
            {"name": "sgd", "momentum": 0.9, "nesterov": True},
            lambda p: torch.optim.SGD(p, LR, momentum=0.9, nesterov=True, foreach=False),
        ),
        (
            {"name": "adam", "beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
            lambda p: torch.optim.Adam(p, LR, betas=(0.8, 0.95), eps=1e-6, foreach=False),
        ),
        (
            {"name": "nadam", "beta1": 0.8, "beta2": 0.95, "eps": 1e-6},
            lambda p: torch.optim.NAdam(p, LR, betas=(0.8, 0.95), eps=1e-6, foreach=False),
        ),
        ({"name": "adagrad", "eps": 1e-6}, lambda p: torch.optim.Adagrad(p, LR, eps=1e-6, foreach=False)),
        (
            {"name": "rmsprop", "alpha": 0.9, "momentum": 0.5, "eps": 1e-6},
            lambda p: torch.optim.RMSprop(p, LR, alpha=0.9, momentum=0.5, eps=1e-6, foreach=False),
        ),
    ],
)
def test_an_optimizer_is_pytorchs_with_the_decay_beside_it(
    knobs: dict[str, object], make: Make, weight_decay: float
) -> None:
    config = Optimizer.model_validate(knobs | {"lr": LR, "weight_decay": weight_decay})

    torch.testing.assert_close(ours(config), torchs(make, weight_decay))


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_adam_and_adamw_with_a_decay_are_both_pytorchs_adamw(name: str) -> None:
    config = Optimizer.model_validate({"name": name, "lr": LR, "weight_decay": DECAY})

    def adamw(parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, LR, weight_decay=DECAY, foreach=False)

    torch.testing.assert_close(ours(config), torchs(adamw, weight_decay=0.0))


def test_the_first_two_steps_of_adamw_are_those_of_the_paper() -> None:
    # w0 = 1, g1 = 2, g2 = -1, lr 0.1, decay 0.5, beta 0.9 and 0.99; Loshchilov and Hutter 2019, algorithm 2
    weight = torch.nn.Parameter(torch.tensor([[1.0]]))
    config = Optimizer(name="adamw", lr=0.1, weight_decay=0.5, beta1=0.9, beta2=0.99, eps=1e-8)
    optimizer = make_optimizer([weight], config)
    for gradient in (2.0, -1.0):
        weight.grad = torch.tensor([[gradient]])
        decay([weight], 0.1, 0.5)
        optimizer.step()

    first = 1.0 * (1 - 0.1 * 0.5) - 0.1 * 1.0  # m / sqrt(v) is g / |g| after bias correction
    m, v = (0.9 * 0.2 - 0.1) / (1 - 0.9**2), (0.99 * 0.04 + 0.01) / (1 - 0.99**2)
    assert weight.item() == pytest.approx(first * 0.95 - 0.1 * m / math.sqrt(v), rel=1e-5)


def test_adamw_takes_pytorchs_steps_to_the_bit_and_leaves_alone_what_has_no_gradient() -> None:
    shapes = [(5, 3), (3,), (2, 3)]
    draw = torch.Generator().manual_seed(0)
    starts, gradients = ([torch.randn(shape, generator=draw) for shape in shapes] for _ in range(2))

    def stepped(make: Make) -> tuple[list[Tensor], dict[str, Any]]:
        weights = [torch.nn.Parameter(start.clone()) for start in starts]
        optimizer = make(weights)
        for step in range(6):
            if step == 3:  # goes on from its own state, as a resumed training does
                optimizer.load_state_dict(optimizer.state_dict())
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient * (step + 1)
            weights[1].grad = None if step < 2 else weights[1].grad  # frozen at first
            optimizer.step()
        return [weight.detach() for weight in weights], optimizer.state_dict()["state"]

    ours, state = stepped(lambda p: make_optimizer(p, Optimizer(lr=LR, beta1=0.8)))
    theirs, expected = stepped(lambda p: torch.optim.AdamW(p, LR, betas=(0.8, 0.999), weight_decay=0.0, fused=True))

    assert all(map(torch.equal, ours, theirs))
    assert [float(state[index]["step"]) for index in range(3)] == [6, 4, 6]
    assert all(torch.equal(state[index][name], expected[index][name]) for index in state for name in expected[index])


def test_the_first_two_steps_of_lion_are_those_of_the_paper() -> None:
    # lr 0.1, beta 0.9 and 0.5, from (1, 1). First gradient (2, -1): m is 0, so w = (0.9, 1.1), and m = (1, -0.5).
    # Second gradient (-1, -1): 0.9 m + 0.1 g = (0.8, -0.55), so w = (0.8, 1.2)
    weight = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = make_optimizer([weight], Optimizer(name="lion", lr=0.1, beta1=0.9, beta2=0.5))
    for gradient in ([2.0, -1.0], [-1.0, -1.0]):
        weight.grad = torch.tensor(gradient)
        optimizer.step()

    assert weight.tolist() == pytest.approx([0.8, 1.2])
    assert optimizer.state[weight]["exp_avg"].tolist() == [0.0, -0.75]


def test_the_learning_rate_can_change_between_steps() -> None:
    weight = torch.nn.Parameter(torch.tensor([[1.0]]))
    optimizer = make_optimizer([weight], Optimizer(name="sgd", lr=1.0))
    for lr in (0.5, 0.25):
        weight.grad = torch.tensor([[1.0]])
        set_lr(optimizer, lr)
        optimizer.step()

    assert weight.item() == 1 - 0.5 - 0.25


def test_groups_go_at_their_own_share_of_the_learning_rate_and_decay_by_it() -> None:
    plain, slow = (torch.nn.Parameter(torch.ones(1, 1)) for _ in range(2))
    optimizer = make_optimizer([{"params": [plain]}, {"params": [slow], "scale": 0.1}], Optimizer(name="sgd"))
    for weight in (plain, slow):
        weight.grad = torch.ones(1, 1)

    set_lr(optimizer, 0.5)
    decay_all(optimizer, [plain, slow], 0.4)
    optimizer.step()

    # 1 - 0.5 * 0.4, and then a step of 0.5; the other 1 - 0.05 * 0.4, and a step of 0.05
    assert [plain.item(), slow.item()] == pytest.approx([0.8 - 0.5, 0.98 - 0.05])


def test_matrices_and_embeddings_are_decayed_biases_and_norms_are_not() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(3, 2), torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4))

    assert [tuple(weight.shape) for weight in weights_of(model)] == [(3, 2), (4, 2)]


@pytest.mark.parametrize("model", [{"name": "ft_transformer"}, {"numbers": "periodic"}])
def test_a_bias_of_each_column_is_a_bias(model: dict[str, Any], iris: Prepared) -> None:
    """It has two axes, as a matrix has."""
    document = {"data": {"source": "sklearn:iris"}, "optimizer": {"weight_decay": 100.0}, "epochs": 1, "model": model}
    training = Training(TrainConfig.model_validate(document), iris, Monitor("val/loss", "minimize"))
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    training.run_epoch()
    after, kept = training.model.state_dict(), masks_of(training.model, 0.9).kept

    biases = [name for name in before if "bias" in name and before[name].ndim > 1]
    assert len(biases) == 1
    for name in biases:  # with adamw at 1e-3, each number moves by a thousandth; a decay would take a tenth off it
        assert (after[name] - before[name]).abs().max() < 2e-3
        assert name not in kept
