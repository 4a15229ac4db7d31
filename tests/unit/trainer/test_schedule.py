"""Every schedule, step by step, against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler

from trainer.config import Schedule
from trainer.progress import Plateau
from trainer.schedule import learning_rate

LR = 0.5
EPOCHS, STEPS = 6, 4


def ours(**schedule: object) -> list[float]:
    config = Schedule.model_validate(schedule)
    return [
        learning_rate(config, LR, step=step, steps_per_epoch=STEPS, epochs=EPOCHS) for step in range(EPOCHS * STEPS)
    ]


def torchs(make: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = make(optimizer)  # type: ignore[operator]
    rates = []
    for _ in range(EPOCHS * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant_stays() -> None:
    assert ours(name="constant") == [LR] * EPOCHS * STEPS


def test_step_is_pytorchs_step_lr() -> None:
    expected = torchs(lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=2 * STEPS, gamma=0.3))

    assert ours(name="step", step_epochs=2, factor=0.3) == pytest.approx(expected)


def test_cosine_is_pytorchs_cosine_annealing() -> None:
    expected = torchs(
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * STEPS, eta_min=0.1 * LR)
    )

    assert ours(name="cosine", min_factor=0.1) == pytest.approx(expected)


TOTAL = EPOCHS * STEPS


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (
            {"name": "multi_step", "milestones": [2, 3], "factor": 0.5},
            lambda o: lr_scheduler.MultiStepLR(o, [2 * STEPS, 3 * STEPS], gamma=0.5),
        ),
        ({"name": "exponential", "factor": 0.5}, lambda o: lr_scheduler.ExponentialLR(o, 0.5 ** (1 / STEPS))),
        ({"name": "linear", "min_factor": 0.2}, lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=TOTAL)),
        ({"name": "polynomial", "power": 3.0}, lambda o: lr_scheduler.PolynomialLR(o, TOTAL, power=3.0)),
        (
            {"name": "cosine_restarts", "restart_epochs": 1, "restart_growth": 2},
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=STEPS, T_mult=2),
        ),
        (
            {"name": "cosine_restarts", "restart_epochs": 2},
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=2 * STEPS),
        ),
    ],
)
def test_the_other_schedules_are_pytorchs(schedule: dict[str, object], make: object) -> None:
    assert ours(**schedule) == pytest.approx(torchs(make))


def test_one_cycle_is_pytorchs() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=TOTAL, cycle_momentum=False)
    expected = []
    for step in range(TOTAL):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < TOTAL - 1:
            scheduler.step()

    assert ours(name="one_cycle") == pytest.approx(expected)


def test_plateau_falls_when_pytorchs_does() -> None:
    losses = [3.0, 2.0, 2.5, 2.0, 2.1, 1.9, 1.9, 1.9, 1.9, 1.9, 1.9, 1.0]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, threshold=0.0)
    plateau = Plateau(Schedule(name="plateau", factor=0.5, plateau_epochs=2))
    for loss in losses:
        theirs.step(loss)
        plateau.observe({"val/loss": loss})
        assert plateau.scale == optimizer.param_groups[0]["lr"]
    assert plateau.scale == 0.25


def test_cosine_after_a_warm_up_is_pytorchs_sequence_of_both() -> None:
    warmup = 2 * STEPS
    expected = torchs(
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [
                lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup - 1),
                lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS * STEPS - warmup),
            ],
            milestones=[warmup],
        )
    )

    assert ours(name="cosine", warmup_epochs=2) == pytest.approx(expected)


def test_a_warm_up_of_part_of_an_epoch_is_rounded_up_to_steps() -> None:
    # 0.6 of 4 steps: 3 steps
    assert ours(name="constant", warmup_epochs=0.6)[:4] == pytest.approx([LR / 3, 2 * LR / 3, LR, LR])


def test_a_warm_up_longer_than_the_training_rises_to_the_end() -> None:
    rates = ours(name="cosine", warmup_epochs=2 * EPOCHS)

    assert rates == pytest.approx([LR * (step + 1) / (2 * EPOCHS * STEPS) for step in range(EPOCHS * STEPS)])
