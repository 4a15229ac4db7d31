"""Ensembles: what validation rows choose, what is never looked at, and that predictions of other splits are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import mean_pinball_loss

from tests.unit.trainer.conftest import CPU, MemoryFolder
from trainer import predictions
from trainer.config import Compression, Data, Loss, Model, Optimizer, TrainConfig
from trainer.data.prepare import prepare
from trainer.data.prepared import Prepared
from trainer.data.schema import Target
from trainer.ensemble import ensemble_file, retrain, select
from trainer.ensemble.candidates import Candidates, Rows, TooFewRows, Unlike
from trainer.ensemble.combine import COMBINATIONS, Stacked, Voted, Weighted
from trainer.loop import evaluate
from trainer.members import Member
from trainer.models.build import build
from trainer.predictions import Held, Predictions
from trainer.progress import Monitor

CLASSES = Target(name="c", task="classification", classes=("a", "b"))
NUMBERS = Target(name="n", task="regression", mean=10.0, deviation=2.0)


def classifier(y: NDArray[Any], hits: NDArray[Any], sure: float = 2.0) -> NDArray[np.float32]:
    """Logits of one that is right where `hits` says so."""
    right = np.where(hits, y, 1 - y)
    return (sure * np.eye(2)[right]).astype(np.float32)


def coins(rows: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(2, size=rows)


def said(
    outputs: NDArray[np.float32], y: NDArray[Any], fingerprint: str = "one", target: Target = CLASSES
) -> Predictions:
    return Predictions(fingerprint, target, Held(outputs, y), Held(outputs, y))


def three_that_err_elsewhere(rows: int = 300) -> tuple[Candidates, NDArray[np.int64]]:
    """Each is wrong in a third of the rows, never two in the same, so that the majority is always right."""
    y = coins(rows, 0)
    hits = [np.arange(rows) % 3 != k for k in range(3)]
    return Candidates.of({k: said(classifier(y, hits[k]), y) for k in range(3)}), y


def accuracy(candidates: Candidates, chosen: select.Chosen) -> float:
    return candidates.judge(chosen.combination, chosen.members)["test/accuracy"]


def test_the_mean_of_models_that_err_in_different_rows_is_right_where_each_is_wrong() -> None:
    candidates, _ = three_that_err_elsewhere()

    assert candidates.judge(Weighted(weights=(1.0,)), [0])["test/accuracy"] == pytest.approx(2 / 3)
    assert accuracy(candidates, select.average(candidates.validation)) == 1.0


@pytest.mark.parametrize("metric", ["val/accuracy", "val/log_loss", "val/balanced_accuracy", "val/f1"])
def test_greedy_selection_takes_those_that_help_and_leaves_noise_out(metric: str) -> None:
    _, y = three_that_err_elsewhere()
    noise = {k: said(classifier(y, coins(len(y), k) == 1), y) for k in range(3, 8)}
    own = {k: said(classifier(y, np.arange(len(y)) % 3 != k), y) for k in range(3)}
    everybody = Candidates.of(own | noise)

    chosen = select.greedy(everybody.validation, metric, rounds=20, seed=0)

    weights = dict(zip(chosen.members, chosen.combination.weights, strict=True))
    assert sum(weights.values()) == pytest.approx(1)
    assert sum(weights.get(k, 0) for k in range(3)) > 0.75
    assert accuracy(everybody, chosen) > accuracy(everybody, select.average(everybody.validation))


@pytest.mark.parametrize(("metric", "alone"), [("val/f1", 1), ("val/log_loss", 0)])
def test_a_selection_by_f1_does_not_end_with_a_model_that_finds_nothing(metric: str, alone: int) -> None:
    # By hand: 10 of 100 rows are of class 1. Candidate 0 finds none, at a log loss of 0.37 and an f1 of 0; candidate 1
    # finds all and cries 20 times for nothing, at an f1 of 20 / (10 + 30) = 0.5 and, as it is sure, a log loss above 1.
    y = np.arange(100) < 10
    shy, loud = np.tile([np.log(0.85), np.log(0.15)], (100, 1)), np.tile([0.0, -7.0], (100, 1))
    loud[:30] = [-7.0, 0.0]
    candidates = Candidates.of({0: said(shy, y.astype(int)), 1: said(loud, y.astype(int))})

    chosen = select.greedy(candidates.validation, metric, rounds=1, seed=0)

    assert chosen.members == (alone,)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_cost_of_f1_falls_as_the_metric_rises(classes: int) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(classes - 1, size=60) if classes > 2 else rng.integers(2, size=60)  # of four, one is never there
    candidates = Candidates.of({k: said(rng.normal(size=(60, classes)), y) for k in range(5)})

    costs = select.cost_of(candidates.validation, "val/f1")(candidates.validation.scores)

    own = [candidates.judge(Weighted(weights=(1.0,)), [k]) for k in range(5)]
    expected = [1 - each["val/f1"] + 1e-3 * each["val/log_loss"] for each in own]
    assert costs == pytest.approx(expected, abs=1e-6)


def test_a_selection_of_one_that_is_best_alone_stays_with_it() -> None:
    # By hand: candidate 0 is right everywhere and sure, 1 is wrong everywhere; any of 1 makes the log loss worse.
    y = coins(50, 0)
    right, wrong = classifier(y, np.ones(50, bool)), classifier(y, np.zeros(50, bool))
    candidates = Candidates.of({0: said(right, y), 1: said(wrong, y)})

    chosen = select.greedy(candidates.validation, "val/log_loss", rounds=10, seed=0)

    assert chosen == select.Chosen((0,), Weighted(weights=(1.0,)))


def test_a_quantile_is_followed_and_not_the_mean() -> None:
    # Of targets from 0 to 99 the quantile 0.9 is about 89; the mean, 49.5, is what squared errors would prefer.
    y = np.arange(100.0)
    rows = Rows(np.stack([np.full(100, 49.5), np.full(100, 89.0)]), y, quantile=0.9)

    assert select.greedy(rows, "val/pinball", rounds=1, seed=0).members == (1,)
    assert select.greedy(rows, "val/rmse", rounds=1, seed=0).members == (0,)
    measured = rows.measure(rows.scores[1], NUMBERS)
    assert measured["pinball"] == pytest.approx(mean_pinball_loss(y, rows.scores[1], alpha=0.9))


def test_stacking_weighs_values_as_least_squares_does_where_rows_are_many() -> None:
    # y = 0.8 a + 0.2 b + 1 with a and b independent: what many rows without noise leave no doubt about.
    rng = np.random.default_rng(0)
    a, b = rng.normal(10, 2, 400), rng.normal(10, 2, 400)
    rows = Rows(np.stack([a, b]), 0.8 * a + 0.2 * b + 1)

    chosen = select.stack(rows, seed=0)

    assert chosen.combination.weights == pytest.approx((0.8, 0.2), abs=0.01)
    assert chosen.combination.apply(rows.scores) == pytest.approx(rows.y, abs=0.05)


def test_stacking_of_few_rows_and_many_alike_models_stays_near_the_mean() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=30)
    scores = truth + rng.normal(0, 0.5, (20, 30))

    chosen = select.stack(Rows(scores, truth), seed=0)

    assert np.array(chosen.combination.weights) == pytest.approx(1 / 20, abs=0.05)


@pytest.mark.parametrize("rows", [2, 30])
def test_stacking_of_values_that_are_all_the_same_is_possible(rows: int) -> None:
    truth = np.full(rows, 3.0)

    combination = select.stack(Rows(np.stack([truth + 1, truth + 1, truth]), truth), seed=0).combination

    assert combination.weights == pytest.approx((1 / 3,) * 3)
    assert combination.apply(np.array([[4.0], [4.0], [3.0]])) == pytest.approx([3.0])


@pytest.mark.parametrize("scores", [np.array([[3.0], [4.0]]), np.full((2, 1, 2), 0.5)], ids=["values", "classes"])
def test_stacking_of_a_single_row_is_refused(scores: NDArray[np.float64]) -> None:
    with pytest.raises(
        TooFewRows, match="stacking learns from validation rows, and there is 1; take average or greedy"
    ):
        select.stack(Rows(scores, np.array([1.0])), seed=0)


def test_stacking_of_classes_finds_the_model_that_knows() -> None:
    y = coins(300, 0)
    knows, guesses = classifier(y, coins(300, 1) + coins(300, 2) > 0), classifier(y, coins(300, 3) == 1)
    candidates = Candidates.of({0: said(guesses, y), 1: said(knows, y)})

    chosen = select.stack(candidates.validation, seed=0)

    weights = chosen.combination.weights
    assert abs(weights[0]) < 0.3 * weights[1]
    assert accuracy(candidates, chosen) == pytest.approx(
        candidates.judge(Weighted(weights=(1.0,)), [1])["test/accuracy"]
    )


def test_what_is_selected_does_not_depend_on_the_test_rows() -> None:
    candidates, y = three_that_err_elsewhere()
    planted = replace(candidates, _test=Rows(candidates.validation.scores[::-1], 1 - y))

    for choose in (
        lambda rows: select.average(rows),
        lambda rows: select.greedy(rows, "val/accuracy", rounds=5, seed=0),
        lambda rows: select.stack(rows, seed=0),
    ):
        assert choose(candidates.validation) == choose(planted.validation)
    assert planted.judge(Weighted(weights=(1.0,)), [0])["test/accuracy"] < 1 / 2


def test_a_trial_of_another_split_is_refused_so_that_no_row_that_one_has_learned_judges_another() -> None:
    y = coins(30, 0)
    honest = said(classifier(y, np.ones(30, bool)), y)
    of_another_split = replace(honest, fingerprint="two")
    of_other_rows = said(honest.validation.outputs, 1 - y)
    out_of_fold = replace(honest, out_of_fold=True)
    untested = replace(honest, test=None)

    for planted in (of_another_split, of_other_rows, out_of_fold, untested):
        with pytest.raises(Unlike, match="trial 7 was trained and validated on other rows than trial 3"):
            Candidates.of({3: honest, 7: planted})


def test_values_are_combined_in_the_targets_own_unit() -> None:
    y = np.array([0.0, 1.0, -1.0], np.float32)  # 10, 12, 8
    low, high = y - np.float32(0.5), y + np.float32(1)
    candidates = Candidates.of({0: said(low, y, target=NUMBERS), 1: said(high, y, target=NUMBERS)})

    judged = candidates.judge(Weighted(weights=(0.5, 0.5)), [0, 1])

    assert candidates.validation.y.tolist() == [10, 12, 8]
    assert judged["val/rmse"] == pytest.approx(0.5)  # ((-0.5 + 1) / 2) * 2 in every row
    assert judged["val/loss"] == pytest.approx(0.0625)


@pytest.mark.parametrize(
    "combination",
    [Weighted(weights=(0.3, 0.7)), Stacked(weights=(2.0, -1.0), intercept=(0.1, 0.2)), Voted(weights=(1.0, 3.0))],
)
def test_a_combination_survives_json_and_gives_probabilities(combination: Any) -> None:
    scores = np.array([[[0.9, 0.1]], [[0.2, 0.8]]])

    again = COMBINATIONS.validate_json(combination.model_dump_json())

    assert again == combination
    assert again.apply(scores).sum(1) == pytest.approx(1)


def test_votes_are_weighed() -> None:
    # The first model says a, the second b with three times the weight; two classes: softmax of (1, 3) / 1.
    share = Voted(weights=(1.0, 3.0)).apply(np.array([[[0.9, 0.1]], [[0.4, 0.6]]]))[0, 1]

    assert share == pytest.approx(np.exp(3) / (np.exp(1) + np.exp(3)))


def shop(prepared: Prepared, source: str, **knobs: Any) -> retrain.Workshop:
    config = TrainConfig(
        data=Data(source=source), model=Model(hidden=[]), optimizer=Optimizer(lr=0.05), batch_size=32, epochs=3, **knobs
    )
    return retrain.Workshop(config, prepared, Monitor("val/loss", "minimize"), lambda: None)


def test_bagging_trains_on_other_samples_and_can_be_kept_and_asked(iris: Prepared) -> None:
    workshop = shop(iris, "sklearn:iris")
    folder = MemoryFolder()

    members, combination = retrain.bag(workshop, rounds=3, seed=0)

    own = [predictions.of_training(member.model, iris) for member in members]
    assert not np.array_equal(own[0].validation.outputs, own[1].validation.outputs)
    for place, member in enumerate(members):
        ensemble_file.save_member(folder, place, member, workshop.trained)
    ensemble_file.save(folder, combination, [])
    rows = prepare_rows("sklearn:iris")
    kept = ensemble_file.load(folder)
    expected = np.mean([each.scores(rows) for each in kept.members], axis=0)
    assert kept.scores(rows) == pytest.approx(expected)
    assert ensemble_file.parameters_of(kept.members) == 3 * (4 * 3 + 3)
    assert ensemble_file.latency_ms(kept.members) > 0


@pytest.mark.parametrize("build", [retrain.bag, retrain.boost])
def test_models_that_lost_units_while_they_were_trained_can_be_kept_and_asked(iris: Prepared, build: Any) -> None:
    workshop, folder = shop(iris, "sklearn:iris", compression=Compression(name="units", share=0.5)), MemoryFolder()
    workshop = replace(workshop, config=workshop.config.model_copy(update={"model": Model(hidden=[8])}))

    members, combination = build(workshop, rounds=2, seed=0)

    for place, member in enumerate(members):
        ensemble_file.save_member(folder, place, member, workshop.trained)
    ensemble_file.save(folder, combination, [])
    kept = ensemble_file.load(folder)
    assert ensemble_file.parameters_of(kept.members) == len(members) * (4 * 4 + 4 + 4 * 3 + 3)
    own = [predictions.of_training(member.model, iris).validation.outputs for member in members]
    again = [predictions.of_training(each.members[0].model, iris).validation.outputs for each in kept.members]
    assert np.array_equal(own, again)


def prepare_rows(source: str) -> Any:
    from trainer.data.sources import Place, read

    found = read(Place("trial.data.source", source, None), Data(source=source), data_folders=(), as_images=False)
    return found.rows


def test_gradient_boosting_goes_on_where_the_first_model_stopped(diabetes: Prepared) -> None:
    members, combination = retrain.boost(shop(diabetes, "sklearn:diabetes"), rounds=4, seed=0)

    candidates = Candidates.of({k: predictions.of_training(member.model, diabetes) for k, member in enumerate(members)})
    first = candidates.judge(Weighted(weights=(1.0,)), [0])
    assert len(members) > 1
    assert candidates.judge(combination, range(len(members)))["val/loss"] < first["val/loss"]
    left = diabetes.train.y - evaluate(members[0].model, diabetes.train)
    assert combination.weights[:2] == pytest.approx((1, 0.3 * left.std().item()))  # a shrunken step


def test_boosting_goes_on_as_long_as_the_objective_becomes_better(diabetes: Prepared) -> None:
    """Of a high quantile the squared error rises with every step towards it."""
    workshop = replace(
        shop(diabetes, "sklearn:diabetes", loss=Loss(name="quantile", quantile=0.95)),
        monitor=Monitor("val/pinball", "minimize"),
    )

    members, combination = retrain.boost(workshop, rounds=6, seed=0)

    own = {k: predictions.of_training(member.model, diabetes, 0.95) for k, member in enumerate(members)}
    candidates = Candidates.of(own)
    first = candidates.judge(Weighted(weights=(1.0,)), [0])
    assert candidates.judge(combination, range(len(members)))["val/pinball"] < 0.9 * first["val/pinball"]


def test_boosting_of_classes_draws_the_missed_rows_again(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = prepare(Data(source="sklearn:digits"), device=CPU, data_folders=())
    drawn: list[list[int]] = []
    take = retrain._take
    monkeypatch.setattr(retrain, "_take", lambda part, rows: drawn.append(rows.tolist()) or take(part, rows))

    members, combination = retrain.boost(shop(digits, "sklearn:digits"), rounds=3, seed=0)

    first = evaluate(members[0].model, digits.train).argmax(1)
    missed = set((first != digits.train.y).nonzero()[:, 0].tolist())
    share = np.mean([row in missed for row in drawn[0]])
    assert share > 2 * len(missed) / digits.train.rows
    assert share > 0.4  # SAMME's weights, with ten classes: (K-1)(1-e)/e for each missed row, half and more of all
    assert all(weight > 0 for weight in combination.weights)
    error = len(missed) / digits.train.rows
    assert combination.weights[0] == pytest.approx(np.log((1 - error) / error) + np.log(9))  # SAMME's, of ten classes


def test_trainings_of_an_ensemble_begin_from_seeds_of_their_own(
    iris: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrain, "_take", lambda part, _rows: part)  # all on the same rows

    members, _ = retrain.bag(shop(iris, "sklearn:iris"), rounds=2, seed=0)

    one, other = (predictions.of_training(member.model, iris).validation.outputs for member in members)
    assert not np.array_equal(one, other)


def test_models_that_see_images_of_several_sizes_are_no_ensemble() -> None:
    folder = MemoryFolder()
    for place, size in enumerate((8, 16)):
        data = Data(source=f"synthetic:shapes?rows=60&size={size}")
        prepared = prepare(data, device=CPU, data_folders=(), as_images=True)
        member = Member(build(Model(name="linear"), prepared.schema), prepared.schema)
        ensemble_file.save_member(folder, place, member, TrainConfig(data=data, model=Model(name="linear")))
    ensemble_file.save(folder, Weighted(weights=(0.5, 0.5)), [])

    with pytest.raises(Unlike, match="see images of 8 × 8 and 16 × 16 pixels"):
        ensemble_file.load(folder)


def test_an_ensemble_whose_member_is_gone_cannot_be_loaded() -> None:
    folder = MemoryFolder()
    ensemble_file.save(folder, Weighted(weights=(1.0,)), [{"trial": 3, "attempt": 1}])

    with pytest.raises(FileNotFoundError):
        ensemble_file.load(folder, lambda _trial, _attempt: MemoryFolder())
    with pytest.raises(FileNotFoundError):
        ensemble_file.load(folder)
