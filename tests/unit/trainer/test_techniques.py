"""What makes up the regularization cocktail, each against numbers worked out beside it, and all of it after a kill."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from tests.unit.trainer.conftest import Killed, MemoryFolder, Recorder
from trainer import model_file
from trainer.average import STATISTICS_ROWS, Lookahead, MovingAverage, measure_statistics
from trainer.config import Augment, Model, Regularization, Schedule, TrainConfig
from trainer.data.prepared import Part, Prepared
from trainer.fit import Monitor, fit
from trainer.init import initialize
from trainer.loop import evaluate
from trainer.models.layers import Dropout, Network
from trainer.models.mlp import MLP
from trainer.models.residual import Residual
from trainer.regularize import dropout_rates
from trainer.schedule import falls_end
from trainer.training import Training

LOSS = Monitor("val/loss", "minimize")
RESTARTS = {"name": "cosine_restarts", "restart_epochs": 2}


def configure(**sections: Any) -> TrainConfig:
    document = {
        "data": {"source": "sklearn:iris"}, "epochs": 6, "batch_size": 16,
        "model": {"hidden": [8, 8, 8], "norm": "batch"}, "optimizer": {"lr": 0.02}, "checkpoint": {"every_seconds": 0},
    }  # fmt: skip
    return TrainConfig.model_validate(document | sections)


def curve(config: TrainConfig, prepared: Prepared, folder: MemoryFolder | None = None, **more: Any) -> Any:
    reporter = more.pop("reporter", None) or Recorder()
    fit(config, prepared, monitor=LOSS, reporter=reporter, folder=MemoryFolder() if folder is None else folder, **more)
    return reporter.reports


TECHNIQUES: dict[str, dict[str, Any]] = {
    "swa": {"regularization": {"swa": True, "swa_start": 0.4}},
    "swa_lr": {"regularization": {"swa": True, "swa_start": 0.4, "swa_lr": 0.1}},
    "snapshots": {"regularization": {"snapshots": 3}, "schedule": RESTARTS},
    "averaged snapshots": {"regularization": {"snapshots": 2, "swa": True, "swa_start": 0.5}, "schedule": RESTARTS},
    "lookahead": {"optimizer": {"lr": 0.02, "lookahead_steps": 5, "lookahead_size": 0.8}},
    "averaged lookahead": {
        "optimizer": {"lr": 0.02, "lookahead_steps": 5}, "regularization": {"ema": 0.9},
    },
    "shaped dropout": {"regularization": {"dropout": 0.5, "dropout_shape": "funnel"}},
    "skip": {"model": {"hidden": [8, 8, 8], "skip": "standard"}},
    "stochastic depth": {
        "model": {"hidden": [8, 8, 8], "skip": "standard"}, "regularization": {"stochastic_depth": 0.5},
    },
    "shake_shake": {"model": {"hidden": [8, 8, 8], "skip": "shake_shake"}},
    "shake_drop": {"model": {"hidden": [8, 8, 8], "skip": "shake_drop"}},
    "cutout": {"data": {"source": "sklearn:iris", "augment": {"cutout": 0.5, "probability": 0.5}}},
    "cutmix": {"data": {"source": "sklearn:iris", "augment": {"cutmix": 1.0}}},
    "fgsm": {"data": {"source": "sklearn:iris", "augment": {"fgsm": 0.2}}},
}  # fmt: skip

WITHOUT: dict[str, dict[str, Any]] = {
    "swa_lr": {"regularization": {"swa": True, "swa_start": 0.4}},
    "snapshots": {"schedule": RESTARTS},
    "averaged snapshots": {"regularization": {"snapshots": 2}, "schedule": RESTARTS},
    "averaged lookahead": {"regularization": {"ema": 0.9}},
    "shaped dropout": {"regularization": {"dropout": 0.5}},
    "skip": {"model": {"hidden": [8, 8, 8]}},
    "stochastic depth": {"model": {"hidden": [8, 8, 8], "skip": "standard"}},
    "shake_shake": {"model": {"hidden": [8, 8, 8], "skip": "standard"}},
    "shake_drop": {"model": {"hidden": [8, 8, 8], "skip": "standard"}},
}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_a_technique_changes_the_training(name: str, iris: Prepared) -> None:
    few = {"batch_size": 45, "epochs": 4}

    assert (
        curve(configure(**few, **TECHNIQUES[name]), iris)[4]
        != curve(configure(**few, **WITHOUT.get(name, {})), iris)[4]
    )


@pytest.mark.parametrize(
    "mixed",
    [
        {
            "model": {"hidden": [8, 8, 8], "norm": "batch", "skip": "shake_shake"},
            "optimizer": {"lr": 0.02, "lookahead_steps": 2},
            "regularization": {"swa": True, "swa_start": 0.5, "snapshots": 3, "stochastic_depth": 0.3},
            "schedule": RESTARTS,
            "data": {"source": "sklearn:iris", "augment": {"cutmix": 1.0, "probability": 0.5}},
        },
        {
            "model": {"hidden": [8, 8, 8], "skip": "shake_drop"},
            "optimizer": {"lr": 0.02, "lookahead_steps": 3},
            "regularization": {"ema": 0.9, "dropout": 0.3, "dropout_shape": "stairs"},
            "data": {"source": "sklearn:iris", "augment": {"fgsm": 0.1}},
        },
    ],
    ids=["epochs", "steps"],
)
def test_a_cocktail_goes_on_bit_for_bit_after_a_kill_at_any_epoch(mixed: dict[str, Any], iris: Prepared) -> None:
    config, whole = configure(batch_size=30, **mixed), MemoryFolder()
    reports = curve(config, iris, whole)

    for epoch in range(1, config.epochs + 1):
        killed, resumed = MemoryFolder(), MemoryFolder()
        with pytest.raises(Killed):
            curve(config, iris, killed, reporter=Recorder(killed_at=epoch))
        after = curve(config, iris, resumed, resume_from=[killed])
        assert after == {step: reports[step] for step in range(epoch + 1, config.epochs + 1)}
        assert resumed == whole


def test_the_averaged_model_is_the_mean_of_the_last_epochs_with_batch_statistics_of_its_own(iris: Prepared) -> None:
    training = Training(configure(regularization={"swa": True, "swa_start": 0.5}), iris, LOSS)
    reference: AveragedModel | None = None
    for epoch in range(1, 7):
        training.run_epoch()
        if epoch > 3:  # half of six epochs
            reference = reference or AveragedModel(training.model)
            reference.update_parameters(training.model)
    assert reference is not None
    update_bn([iris.train.inputs[0]], _OfNumbers(reference.module))  # 90 rows: one batch here as there

    kept = evaluate(training._judged.model, iris.validation)  # type: ignore[attr-defined]

    torch.testing.assert_close(kept, evaluate(reference.module, iris.validation))
    assert not torch.allclose(kept, evaluate(training.model, iris.validation), atol=1e-3)


def test_batch_statistics_of_a_part_that_is_sorted_are_those_of_all_of_it() -> None:
    rows = 4 * STATISTICS_ROWS
    numbers = torch.cat([torch.zeros(rows // 2, 1), torch.ones(rows // 2, 1)])
    part = Part((numbers, torch.empty(rows, 0, dtype=torch.int64)), torch.zeros(rows, dtype=torch.int64))
    model = MLP(Model(hidden=[1], norm="batch"), numeric=1, categories=[], outputs=2)
    norm = model.blocks[1]
    assert isinstance(norm, nn.BatchNorm1d)

    measure_statistics(model, [norm], part)

    seen = model.blocks[0](numbers)
    torch.testing.assert_close(norm.running_mean, seen.mean(0), rtol=0.05, atol=1e-3)
    torch.testing.assert_close(norm.running_var, seen.var(0), rtol=0.01, atol=0)  # of halves alone it would be 0


def test_the_rate_that_is_set_for_the_average_is_not_lowered_by_a_plateau(iris: Prepared) -> None:
    sections: dict[str, Any] = {
        "schedule": {"name": "plateau", "plateau_epochs": 1, "factor": 0.1}, "epochs": 8, "model": {"hidden": [8]},
        "regularization": {"swa": True, "swa_start": 0.75, "swa_lr": 1e-20},
        "optimizer": {"lr": 1e-30},  # with which no epoch is better than the one before
    }  # fmt: skip
    training, rates = Training(configure(**sections), iris, LOSS), []
    for _ in range(8):
        training.run_epoch()
        rates += [group["lr"] for group in training._optimizer.param_groups]

    assert rates[:6] == pytest.approx([1e-30] * 3 + [1e-31] * 2 + [1e-32])
    assert rates[6:] == [1e-20] * 2


class _OfNumbers(nn.Module):
    """A model of tables without categories, called with its numbers alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(numbers, torch.empty(len(numbers), 0, dtype=torch.int64))
        return out


def test_snapshots_predict_with_the_mean_of_what_the_training_was_at_the_ends_of_its_falls(iris: Prepared) -> None:
    config, folder = configure(schedule=RESTARTS, regularization={"snapshots": 2}), MemoryFolder()
    training, at_the_end = Training(config, iris, LOSS), {}
    for epoch in range(1, 7):
        training.run_epoch()
        at_the_end[epoch] = evaluate(training.model, iris.validation).softmax(1)
        if epoch == 2:
            assert training.metrics["val/loss"] == pytest.approx(_log_loss(at_the_end[2], iris), abs=1e-6)

    assert training.metrics["val/loss"] == pytest.approx(_log_loss((at_the_end[4] + at_the_end[6]) / 2, iris), abs=1e-6)

    fitted = fit(config, iris, monitor=LOSS, reporter=Recorder(), folder=folder)
    assert fitted.best_epoch == 6, "the case is about a best epoch with snapshots before it"
    kept = model_file.load(folder).members[0].model
    said = evaluate(kept, iris.validation).softmax(1)
    torch.testing.assert_close(said, (at_the_end[4] + at_the_end[6]) / 2)
    assert len(list(kept.parameters())) == 2 * len(list(training.model.parameters()))


def _log_loss(probabilities: torch.Tensor, prepared: Prepared) -> float:
    own = probabilities[torch.arange(len(probabilities)), prepared.validation.y]
    return -own.log().mean().item()


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        ({"restart_epochs": 15, "restart_growth": 2}, [15, 45, 105]),
        ({"restart_epochs": 40}, [40, 80]),
        ({"restart_epochs": 40, "warmup_epochs": 1.5}, [41, 81]),  # at 41.5 and 81.5
    ],
)
def test_falls_end_where_the_next_begins(schedule: dict[str, Any], ends: list[int]) -> None:
    assert falls_end(Schedule.model_validate({"name": "cosine_restarts"} | schedule), 105) == ends
    assert falls_end(Schedule.model_validate({"name": "cosine"} | schedule), 105) == []


def test_lookahead_takes_the_slow_weights_a_share_of_the_way_and_the_fast_ones_back_to_them() -> None:
    fast, slow = _Weight(0.0), _Weight(0.0)
    lookahead = Lookahead(slow, steps=2, size=0.5)
    seen = []
    for step in range(4):
        with torch.no_grad():
            fast.weight += 1.0
        lookahead.after_step(fast, step)
        seen.append((fast.weight.item(), slow.weight.item()))

    # after two steps the fast weight is at 2, and the slow one goes half of the way; then it is at 3, half from 1 to 3
    assert seen == [(1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (2.0, 2.0)]


def test_the_moving_average_forgets_the_beginning_soon_and_takes_the_batch_statistics_along() -> None:
    trained, average = (MLP(Model(hidden=[2], norm="batch"), numeric=1, categories=[], outputs=2) for _ in range(2))
    _fill(average, 0.0)
    follower, seen = MovingAverage(average, decay=0.5), []
    for step in range(9):
        _fill(trained, float(step + 1))
        follower.after_step(trained, step)
        seen.append(next(average.parameters())[0, 0].item())

    # decays of 1/10, 2/11, … 8/17, and then of 1/2, which (1 + 8) / (10 + 8) is as well
    expected, mean = [], 0.0
    for step, decay in enumerate([*((1 + step) / (10 + step) for step in range(8)), 0.5], start=1):
        mean = decay * mean + (1 - decay) * step
        expected.append(mean)
    assert seen == pytest.approx(expected)
    assert all(torch.equal(own, its) for own, its in zip(average.buffers(), trained.buffers(), strict=True))


@pytest.mark.parametrize("after", [1, 2])
def test_lookahead_takes_the_batch_statistics_of_every_step_along(after: int) -> None:
    trained, slow = (MLP(Model(hidden=[2], norm="batch"), numeric=1, categories=[], outputs=2) for _ in range(2))
    lookahead = Lookahead(slow, steps=2, size=0.5)
    for step in range(after):
        _fill(trained, float(step + 1))
        lookahead.after_step(trained, step)

    assert all(torch.equal(own, its) for own, its in zip(slow.buffers(), trained.buffers(), strict=True))


def _fill(model: nn.Module, value: float) -> None:
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(value)


class _Weight(Network):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))


@pytest.mark.parametrize(
    ("shape", "shares"),
    [
        ("brick", [1, 1, 1, 1, 1, 1]),
        ("even", [1, 1, 1, 1, 1, 1]),
        ("funnel", [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        ("long_funnel", [1, 1, 1, 1, 2 / 3, 1 / 3]),
        ("diamond", [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3]),
        ("hexagon", [1 / 2, 1, 1, 1, 1, 1 / 2]),
        ("triangle", [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1]),
        ("stairs", [1, 1, 4 / 6, 4 / 6, 2 / 6, 2 / 6]),
    ],
)
def test_dropout_has_its_shape_over_the_layers(shape: Any, shares: list[float]) -> None:
    assert dropout_rates(shape, 0.6, 6) == pytest.approx([0.6 * share for share in shares])

    model = MLP(Model(hidden=[4] * 6), numeric=2, categories=[], outputs=2)
    model.set_rates(Regularization(dropout=0.6, dropout_shape=shape))
    rates = [module.rate for module in model.modules() if isinstance(module, Dropout)]
    assert rates == pytest.approx([0.6 * share for share in shares])


def residual(branched: Any, *factors: float) -> Residual:
    """Branches that multiply by a factor, beside a shortcut that lets nothing through."""
    branches = [nn.Linear(1, 1, bias=False) for _ in factors]
    for branch, factor in zip(branches, factors, strict=True):
        nn.init.constant_(branch.weight, factor)
    nothing = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(nothing.weight)
    return Residual(branches, nothing, torch.Generator().manual_seed(0), branched)


ONES = torch.ones(4000, 1)


def test_stochastic_depth_leaves_a_branch_out_for_its_share_of_the_rows() -> None:
    block = residual("standard", 3.0)
    block.drop_rate = 0.4

    out = block(ONES)

    assert (out == 0).float().mean().item() == pytest.approx(0.4, abs=0.03)
    assert out.max().item() == pytest.approx(3 / 0.6)
    assert torch.equal(block.eval()(ONES), 3 * ONES)


def test_shake_shake_mixes_by_one_share_forward_and_another_backward() -> None:
    block = residual("shake_shake", 0.0, 1.0)
    x = ONES.clone().requires_grad_()

    out = block(x)
    out.sum().backward()
    forward, backward = out.detach()[:, 0], x.grad[:, 0]  # type: ignore[index]  # both 1 - share of the first branch

    for share in (forward, backward):
        assert 0 <= share.min() < 0.01
        assert 0.99 < share.max() <= 1
        assert share.mean().item() == pytest.approx(0.5, abs=0.02)
    assert abs(np.corrcoef(forward, backward)[0, 1]) < 0.05
    assert torch.equal(block.eval()(ONES), ONES / 2)


def test_shake_drop_multiplies_some_rows_by_random_numbers_and_keeps_the_mean() -> None:
    block = residual("shake_drop", 1.0)
    block.shake_rate = 0.4
    x = ONES.clone().requires_grad_()

    out = block(x)
    out.sum().backward()
    forward, backward = 0.6 * out.detach()[:, 0], 0.6 * x.grad[:, 0]  # type: ignore[index]

    left = (forward - 1).abs() < 1e-6
    assert left.float().mean().item() == pytest.approx(0.6, abs=0.03)
    assert torch.allclose(backward[left], torch.tensor(1.0))
    assert -1 <= forward[~left].min() < -0.98 < 0.98 < forward[~left].max() <= 1
    assert 0 <= backward[~left].min() < backward[~left].max() <= 1
    assert forward.mean().item() == pytest.approx(0.6, abs=0.03)
    assert torch.equal(block.eval()(ONES), ONES)


def test_rates_rise_with_the_depth() -> None:
    model = MLP(Model(hidden=[4] * 9, skip="shake_drop"), numeric=2, categories=[], outputs=2)

    model.set_rates(Regularization(stochastic_depth=0.4, shake_drop=0.8))

    blocks = [module for module in model.modules() if isinstance(module, Residual)]
    assert [block.drop_rate for block in blocks] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [block.shake_rate for block in blocks] == pytest.approx([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize("skip", ["standard", "shake_shake", "shake_drop"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("hidden", [[], [4], [4, 4], [4, 4, 6, 3]])
def test_a_branch_that_begins_with_nothing_leaves_the_shortcut_alone(skip: Any, norm: Any, hidden: list[int]) -> None:
    model = MLP(Model(hidden=hidden, skip=skip, norm=norm), numeric=2, categories=[], outputs=3)
    initialize(model, "kaiming_normal", "relu", torch.Generator().manual_seed(0), zero_residual=True)
    blocks = [module for module in model.modules() if isinstance(module, Residual)]

    assert len(blocks) == len(hidden) // 2
    assert model(torch.randn(5, 2), torch.empty(5, 0)).shape == (5, 3)
    for block in blocks:
        x = torch.randn(5, next(block.branches.parameters()).shape[1])
        assert torch.equal(block.train()(x), block.shortcut(x))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"regularization": {"ema": 0.9, "swa": True}}, "set ema to 0 or swa to false"),
        ({"data": {"source": "file:a.csv", "text": "t", "augment": {"fgsm": 0.1}}, "model": {"name": "text_cnn"}},
         "words cannot be moved uphill"),
        ({"regularization": {"dropout_shape": "cone"}}, "funnel"),
        ({"optimizer": {"lookahead_size": 0}}, "greater than 0"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        configure(**document)


def test_only_one_of_the_four_acts_where_one_is_named() -> None:
    four = {"mixup": 0.1, "cutmix": 0.2, "cutout": 0.3, "fgsm": 0.4}

    assert Augment.model_validate(four | {"only": "cutmix", "noise": 0.1}).chosen == {"cutmix", "noise"}
    assert Augment.model_validate(four | {"only": "none"}).chosen == frozenset()
