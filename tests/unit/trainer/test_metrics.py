"""Every metric against scikit-learn's of that name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from trainer.config import CLASSIFICATION_METRICS, REGRESSION_METRICS
from trainer.metrics import direction_of, measure


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_of_a_classification_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (50, 4))
    y = rng.choice([0, 1, 3], 50, p=[0.7, 0.2, 0.1])  # class 2 has no row
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    measured = measure(torch.from_numpy(logits).float(), torch.from_numpy(y), deviation=1.0)

    with np.errstate(all="ignore"), pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = reference.balanced_accuracy_score(y, logits.argmax(1))
    assert measured == {
        "loss": pytest.approx(reference.log_loss(y, probabilities, labels=[0, 1, 2, 3]), rel=1e-6),
        "accuracy": pytest.approx(reference.accuracy_score(y, logits.argmax(1))),
        "balanced_accuracy": pytest.approx(balanced),
        "f1": pytest.approx(reference.f1_score(y, logits.argmax(1), average="macro", zero_division=0)),
        "auc": pytest.approx(np.mean([reference.roc_auc_score(y == c, probabilities[:, c]) for c in (0, 1, 3)])),
        "log_loss": measured["loss"],
        "ece": pytest.approx(calibration_error(probabilities, y)),
    }
    assert set(measured) == set(CLASSIFICATION_METRICS)


def calibration_error(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Bin by bin, as the paper has it, with scikit-learn's accuracy of each."""
    confidence, guessed = probabilities.max(1), probabilities.argmax(1)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            gap = reference.accuracy_score(y[inside], guessed[inside]) - confidence[inside].mean()
            error += abs(gap) * inside.mean()
    return error


def test_the_calibration_of_models_that_are_hardly_sure_has_bins_of_its_own() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 0.5, (400, 30))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert probabilities.max(1).min() < 1 / 15 < probabilities.max(1).mean() < 2 / 15

    # What is said with less than 1/15 is always right, and the rest always wrong: in one bin they would make up.
    y = np.where(probabilities.max(1) < 1 / 15, logits.argmax(1), logits.argmin(1))
    measured = measure(torch.from_numpy(logits), torch.from_numpy(y), 1.0)

    assert measured["ece"] == pytest.approx(calibration_error(probabilities, y))


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_have_the_f1_and_the_auc_of_scikit_learn_ties_and_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.choice([0, 1], 60, p=[0.8, 0.2])
    logits = np.stack([np.zeros(60), rng.integers(-2, 3, 60) + y], axis=1).astype(float)

    measured = measure(torch.from_numpy(logits), torch.from_numpy(y), deviation=1.0)

    assert measured["f1"] == pytest.approx(reference.f1_score(y, logits.argmax(1)))
    assert measured["auc"] == pytest.approx(reference.roc_auc_score(y, logits[:, 1]))


def test_the_auc_of_many_classes_is_ranked_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.normal(0, 1, (200, 30)), rng.integers(0, 29, 200)  # the last class has no row
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.mean([reference.roc_auc_score(y == c, probabilities[:, c]) for c in np.unique(y)])

    for at_once in (1, 200 * 7, 2**22):  # one class, seven, all
        monkeypatch.setattr("trainer.metrics.RANKED_AT_ONCE", at_once)
        assert measure(torch.from_numpy(logits), torch.from_numpy(y), 1.0)["auc"] == pytest.approx(expected)


def test_a_part_with_one_class_has_no_order_to_measure() -> None:
    measured = measure(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]), deviation=1.0)

    assert (measured["auc"], measured["f1"], measured["accuracy"]) == (0.5, 0.0, 0.5)


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_of_a_regression_are_those_of_scikit_learn_in_the_unit_of_the_target(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean, deviation = 100.0, 20.0
    y, outputs = rng.normal(0, 1, (2, 50)).astype(np.float32)
    in_unit, predicted = y.astype(float) * deviation + mean, outputs.astype(float) * deviation + mean

    measured = measure(torch.from_numpy(outputs), torch.from_numpy(y), deviation, quantile=0.9)

    assert measured == {
        "loss": pytest.approx(reference.mean_squared_error(y, outputs), rel=1e-5),  # of the standardized target
        "rmse": pytest.approx(reference.root_mean_squared_error(in_unit, predicted)),
        "mae": pytest.approx(reference.mean_absolute_error(in_unit, predicted)),
        "r2": pytest.approx(reference.r2_score(in_unit, predicted)),
        "pinball": pytest.approx(reference.mean_pinball_loss(in_unit, predicted, alpha=0.9)),
    }
    assert set(measured) == set(REGRESSION_METRICS)


def test_what_is_too_low_weighs_the_quantile_and_what_is_too_high_the_rest() -> None:
    # In the unit of the target 20 too low and 10 too high: (0.9 * 20 + 0.1 * 10) / 2 = 9.5
    measured = measure(torch.tensor([-1.0, 1.5]), torch.tensor([1.0, 0.5]), deviation=10.0, quantile=0.9)

    assert measured["pinball"] == pytest.approx(9.5)
    assert "pinball" not in measure(torch.tensor([-1.0]), torch.tensor([1.0]), deviation=10.0)


@pytest.mark.parametrize("outputs", [[2.0, 2.0], [1.0, 2.0]])
def test_r2_of_a_part_with_one_target_is_that_of_scikit_learn(outputs: list[float]) -> None:
    measured = measure(torch.tensor(outputs), torch.tensor([2.0, 2.0]), deviation=1.0)

    assert measured["r2"] == reference.r2_score([2.0, 2.0], outputs)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [("val/loss", "minimize"), ("val/rmse", "minimize"), ("val/mae", "minimize"), ("val/pinball", "minimize"),
     ("val/r2", "maximize"), ("val/accuracy", "maximize"), ("val/balanced_accuracy", "maximize"),
     ("train/loss", "minimize")],
)  # fmt: skip
def test_every_metric_has_a_better_side(metric: str, direction: str) -> None:
    assert direction_of(metric) == direction
