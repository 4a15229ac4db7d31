"""What each technique is to show, and on what: the pairs of trainings that `benchmarks.techniques` runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainer.data.prepared import Prepared
from trainer.models.layers import Network
from trainer.optim import weights_of
from trainer.training import Training

Measure = Callable[[Training, Prepared], float]
Document = Mapping[str, Mapping[str, Any] | Any]


def metric(name: str) -> Measure:
    """A metric of the validation part after the last epoch."""
    return lambda training, _: training.metrics[f"val/{name}"]


def best(name: str) -> Measure:
    """A metric of the test part at the best epoch."""
    return lambda training, _: training.restore_best().metrics[f"test/{name}"]


def epochs(training: Training, _: Prepared) -> float:
    return float(training.epoch)


def zeroed(training: Training, _: Prepared) -> float:
    """The share of the first layer's weights that are as good as 0."""
    return (weights_of(training.model)[0].abs() < 1e-3).float().mean().item()


def attacked(training: Training, prepared: Prepared) -> float:
    """The accuracy on test rows whose every number was moved by 0.2 deviations to where the loss rises."""
    assert prepared.test is not None
    model: Network = training.model.eval()
    numbers, categories = prepared.test.inputs
    asked = numbers.clone().requires_grad_()
    loss = functional.cross_entropy(model(asked, categories), prepared.test.y)
    slope: Tensor = torch.autograd.grad(loss, asked)[0].sign()
    outputs = model(numbers + 0.2 * slope, categories)
    return (outputs.argmax(1) == prepared.test.y).float().mean().item()


def shifted(training: Training, prepared: Prepared) -> float:
    """The accuracy on test images that were moved by one pixel, in each of the four directions."""
    assert prepared.test is not None
    model: Network = training.model.eval()
    (images,) = prepared.test.inputs
    with torch.no_grad():
        moved = [model(images.roll(by, (2, 3))).argmax(1) for by in ((0, 1), (0, -1), (1, 0), (-1, 0))]
    return statistics.fmean((answers == prepared.test.y).float().mean().item() for answers in moved)


@dataclass(frozen=True)
class Experiment:
    """A technique's knobs, on top of a training, and what should come of them."""

    knobs: Document
    measure: Measure
    what: str
    should: str  # rise or fall
    base: Document = field(default_factory=dict)
    without: Document = field(default_factory=dict)
    beside: Measure = field(default_factory=lambda: best("accuracy"))
    curve: Measure = field(default_factory=lambda: metric("loss"))  # after each epoch, for the picture
    axis: str = "validation loss"


DIGITS: Document = {"data": {"source": "sklearn:digits"}, "model": {"hidden": [64]}, "epochs": 20, "batch_size": 32}
FEW: Document = {"data": {"split": {"validation": 0.3, "test": 0.5}}}  # 359 rows to train on
CREDIT: Document = {
    "data": {"source": "file:tabular/german_credit.csv"}, "epochs": 20, "optimizer": {"lr": 0.01}, "batch_size": 32,
}  # fmt: skip
HOUSES: Document = {
    "data": {"source": "file:tabular/california_housing.csv", "target": "median_house_value"},
    "epochs": 15, "optimizer": {"lr": 2e-3}, "batch_size": 256,
}  # fmt: skip
DEEP: Document = {"model": {"hidden": [64] * 20, "norm": "batch"}, "epochs": 8}
PLAIN_DEEP: Document = {"model": {"hidden": [64] * 8}, "optimizer": {"name": "sgd", "lr": 0.1}, "epochs": 10}
OVERFITTED: Document = {**FEW, "model": {"hidden": [256]}, "epochs": 60, "optimizer": {"lr": 3e-3}}
IMAGES: Document = {**FEW, "model": {"name": "cnn", "width": 16, "depth": 2, "hidden": []}, "epochs": 30}
MESSAGES: Document = {
    "data": {
        "source": "file:text/sms_spam.tsv", "text": "text", "target": "label", "quoting": "none",
        "split": {"validation": 0.3, "test": 0.6},
    },
    "model": {"name": "text_cnn", "width": 32, "hidden": []}, "optimizer": {"lr": 3e-3}, "epochs": 15, "batch_size": 64,
}  # fmt: skip

EXPERIMENTS: dict[str, Experiment] = {
    "l1": Experiment(
        {"regularization": {"l1": 1e-3}}, zeroed, "first-layer weights at 0", "rise", curve=zeroed,
        axis="first-layer weights at 0",
    ),
    "weight decay": Experiment(
        {"optimizer": {"weight_decay": 1.0}}, best("loss"), "test loss", "fall",
        base=OVERFITTED,
    ),
    "early stopping": Experiment(
        {"early_stopping": {"metric": "val/loss", "patience": 10}}, epochs, "epochs", "fall",
        base={"epochs": 100, "optimizer": {"lr": 3e-3}},
    ),
    "label smoothing": Experiment(
        {"regularization": {"label_smoothing": 0.2}}, metric("ece"), "calibration error", "fall",
        base=CREDIT, beside=metric("accuracy"), curve=metric("ece"), axis="calibration error",
    ),
    "dropout": Experiment(
        {"regularization": {"dropout": 0.5}}, metric("loss"), "last validation loss", "fall",
        base={**CREDIT, "model": {"hidden": [256, 256]}, "optimizer": {"lr": 2e-3}}, beside=metric("accuracy"),
    ),
    "mixup": Experiment(
        {"data": {"augment": {"mixup": 0.4}}}, best("accuracy"), "test accuracy", "rise",
        base=OVERFITTED, beside=best("loss"),
        curve=metric("accuracy"), axis="validation accuracy",
    ),
    "fgsm": Experiment(
        {"data": {"augment": {"fgsm": 0.2}}}, attacked, "accuracy on attacked rows", "rise", curve=attacked,
        axis="accuracy on attacked rows",
    ),
    "swa": Experiment(
        {"regularization": {"swa": True, "swa_start": 0.5}}, metric("loss"), "last validation loss", "fall",
        base=CREDIT, beside=metric("accuracy"),
    ),
    "ema": Experiment(
        {"regularization": {"ema": 0.99}}, metric("loss"), "last validation loss", "fall",
        base=CREDIT, beside=metric("accuracy"),
    ),
    "snapshots": Experiment(
        {"regularization": {"snapshots": 4}}, metric("loss"), "last validation loss", "fall",
        base={**CREDIT, "schedule": {"name": "cosine_restarts", "restart_epochs": 5}},
        beside=metric("accuracy"),
    ),
    "lookahead": Experiment(
        {"optimizer": {"lookahead_steps": 5, "lookahead_size": 0.5}}, metric("loss"), "last validation loss", "fall",
        base={"optimizer": {"lr": 0.01}}, beside=metric("accuracy"),
    ),
    "gradient clipping": Experiment(
        {"regularization": {"max_grad_norm": 1.0}}, metric("loss"), "last validation loss", "fall",
        base={"optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9}, "epochs": 10}, beside=metric("accuracy"),
    ),
    "warm-up": Experiment(
        {"schedule": {"warmup_epochs": 2.0}}, metric("loss"), "last validation loss", "fall",
        base={"model": {"hidden": [64] * 6}, "optimizer": {"lr": 0.02}, "schedule": {"name": "cosine"}, "epochs": 10},
        beside=metric("accuracy"),
    ),
    "skip connections": Experiment(
        {"model": {"skip": "standard"}}, metric("loss"), "last validation loss", "fall", base=DEEP,
        beside=metric("accuracy"),
    ),
    "stochastic depth": Experiment(
        {"regularization": {"stochastic_depth": 0.2}}, metric("loss"), "last validation loss", "fall",
        base={**FEW, "model": {"hidden": [128] * 9, "skip": "standard", "norm": "batch"}, "epochs": 60},
        beside=metric("accuracy"),
    ),
    "numbers as vectors": Experiment(
        {"model": {"numbers": "periodic", "frequency_scale": 1.0}}, best("rmse"), "test error, dollars", "fall",
        base=HOUSES, beside=best("mae"), curve=metric("rmse"), axis="validation error, dollars",
    ),
    "normalized data": Experiment(
        {"data": {"normalize": "standard"}}, best("rmse"), "test error, dollars", "fall",
        base=HOUSES, without={"data": {"normalize": "none"}}, beside=best("mae"), curve=metric("rmse"),
        axis="validation error, dollars",
    ),
    "batch norm": Experiment(
        {"model": {"norm": "batch"}}, metric("loss"), "last validation loss", "fall", base=PLAIN_DEEP,
        beside=metric("accuracy"),
    ),
    "initial weights": Experiment(
        {"model": {"init": "kaiming_normal"}}, metric("loss"), "last validation loss", "fall", base=PLAIN_DEEP,
        beside=metric("accuracy"),
    ),
    "momentum": Experiment(
        {"optimizer": {"momentum": 0.9}}, metric("loss"), "last validation loss", "fall",
        base={"optimizer": {"name": "sgd", "lr": 0.01}}, beside=metric("accuracy"),
    ),
    "cosine": Experiment(
        {"schedule": {"name": "cosine"}}, metric("loss"), "last validation loss", "fall",
        base={**CREDIT, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}}, beside=metric("accuracy"),
    ),
    "accumulation": Experiment(
        {"accumulate": 8}, metric("loss"), "last validation loss", "fall",
        base={"batch_size": 4, "optimizer": {"name": "sgd", "lr": 0.03, "momentum": 0.9}, "epochs": 10},
        beside=metric("accuracy"),
    ),
    "class weights": Experiment(
        {"data": {"class_weight": "balanced"}}, best("balanced_accuracy"), "test balanced accuracy", "rise",
        base={**CREDIT, "model": {"name": "linear"}}, curve=metric("balanced_accuracy"),
        axis="validation balanced accuracy",
    ),
    "synthetic rows": Experiment(
        {"data": {"synthetic": {"method": "smote"}}}, best("balanced_accuracy"), "test balanced accuracy", "rise",
        base=CREDIT, curve=metric("balanced_accuracy"), axis="validation balanced accuracy",
    ),
    "focal loss": Experiment(
        {"loss": {"name": "focal"}}, metric("ece"), "calibration error", "fall", base=CREDIT,
        beside=metric("accuracy"), curve=metric("ece"), axis="calibration error",
    ),
    "moved images": Experiment(
        {"data": {"augment": {"translation": 0.15}}}, shifted, "accuracy on images moved by a pixel", "rise",
        base=IMAGES, curve=shifted, axis="accuracy on moved images",
    ),
    "noise": Experiment(
        {"data": {"augment": {"noise": 0.3}}}, best("loss"), "test loss", "fall", base=OVERFITTED,
    ),
    "token dropout": Experiment(
        {"data": {"augment": {"token_dropout": 0.3}}}, best("f1"), "test F1", "rise", base=MESSAGES,
        beside=best("loss"),
    ),
}  # fmt: skip
