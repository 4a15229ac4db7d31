"""Cross-validation and repeats over seeds: who validates where, what is reported, resuming, the model that is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import log_loss, root_mean_squared_error

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder, people
from trainer import heritage, predictions
from trainer.config import CrossValidation, Data, Split, TrainConfig
from trainer.crossval import JointTraining
from trainer.data.folds import fold_rows
from trainer.data.prepare import prepare_folds, prepare_for
from trainer.data.prepared import Folds, Prepared
from trainer.errors import DataError
from trainer.fit import Fitted, Monitor, fit
from trainer.model_file import load
from trainer.preflight import check

ACCURACY = Monitor("val/accuracy", "maximize")


def configure(source: str = "sklearn:iris", **sections: Any) -> TrainConfig:
    document = {
        "data": Data(source=source), "epochs": 5, "batch_size": 16, "model": {"hidden": [8], "norm": "batch"},
        "optimizer": {"lr": 0.02}, "cross_validation": {"folds": 3}, "checkpoint": {"every_seconds": 0},
    }  # fmt: skip
    return TrainConfig.model_validate(document | sections)


def run(config: TrainConfig, *, monitor: Monitor = ACCURACY, folders: Any = (), **more: Any) -> Fitted:
    prepared = prepare_for(config, device=CPU, data_folders=folders)
    return fit(config, prepared, monitor=monitor, **({"reporter": Recorder(), "folder": MemoryFolder()} | more))


@pytest.mark.parametrize("repeats", [1, 2])
def test_every_row_that_is_not_tested_validates_once_a_repeat(repeats: int) -> None:
    folds = fold_rows(
        20, CrossValidation(folds=4, repeats=repeats), Split(test=0.2), hold_out_test=True, labels=None, groups=None
    )

    held = Counter(row for parts in folds for row in parts.validation)
    assert set(held.values()) == {repeats}
    assert len(folds[0].test) == 4
    for parts in folds:
        together = np.concatenate([parts.train, parts.validation, parts.test])
        assert sorted(together) == list(range(20))
    assert len({tuple(parts.validation) for parts in folds}) == 4 * repeats  # a repeat divides anew


def test_folds_keep_the_shares_of_the_classes_and_groups_stay_together() -> None:
    labels = np.array(["a"] * 40 + ["b"] * 20, dtype=object)
    groups = np.array([f"{row // 2}" for row in range(60)], dtype=object)

    of_classes = fold_rows(60, CrossValidation(), Split(test=0), hold_out_test=True, labels=labels, groups=None)
    of_groups = fold_rows(
        60, CrossValidation(groups="id"), Split(test=0.2), hold_out_test=True, labels=None, groups=groups
    )

    assert [Counter(labels[parts.validation]) for parts in of_classes] == [{"a": 8, "b": 4}] * 5
    for parts in of_groups:
        sides = [set(groups[rows]) for rows in (parts.train, parts.validation, parts.test)]
        assert sum(map(len, sides)) == 30 == len(set.union(*sides))


def test_with_time_order_every_fold_validates_on_what_comes_after_its_training_rows() -> None:
    rule = CrossValidation(folds=3, time_ordered=True)
    folds = fold_rows(20, rule, Split(test=0.2), hold_out_test=True, labels=None, groups=None)

    # The last 4 of 20 rows test; of the other 16, each of 3 folds validates on 16 // (3 + 1) = 4, the last ones last.
    assert [(len(parts.train), list(parts.validation)) for parts in folds] == [
        (4, [4, 5, 6, 7]), (8, [8, 9, 10, 11]), (12, [12, 13, 14, 15]),
    ]  # fmt: skip
    assert list(folds[0].test) == [16, 17, 18, 19]


def test_folds_go_by_the_times_and_keep_those_of_one_time_together() -> None:
    rule = CrossValidation(folds=2, time_ordered=True)
    times = np.array([3, 1, 1, 2, 3, 6, 5, 5, 0, 4])  # in their order rows 8, 1 2, 3, 0 4, 9, 6 7, 5

    folds = fold_rows(10, rule, Split(test=0.2), hold_out_test=True, labels=None, groups=None, times=times)

    # The last 2 of 10 begin in the middle of time 5, so that all of it tests. Of the other 7, each of 2 folds validates
    # on 7 // 3 = 2, from places 3 and 5 on; the latter is in the middle of time 3, which begins at 4.
    assert [(list(parts.train), list(parts.validation)) for parts in folds] == [
        ([8, 1, 2], [3]), ([8, 1, 2, 3], [0, 4, 9]),
    ]  # fmt: skip
    assert [list(parts.test) for parts in folds] == [[6, 7, 5]] * 2


def test_folds_need_as_many_times_as_they_have_ends() -> None:
    rule, times = CrossValidation(folds=3, time_ordered=True), np.array([1] * 4 + [2] * 4)

    with pytest.raises(DataError) as caught:
        fold_rows(8, rule, Split(test=0), hold_out_test=True, labels=None, groups=None, times=times)

    assert caught.value.path == "trial.cross_validation.folds"
    assert "too many of 8 rows are of one time" in str(caught.value)


@pytest.mark.parametrize(("dates", "features"), [({}, 1), ({"at": "%d/%m/%Y"}, 2)])
def test_a_column_of_times_orders_the_folds_and_is_a_feature_only_if_it_is_named(
    write_csv: Callable[..., str], tmp_path: Path, dates: dict[str, str], features: int
) -> None:
    days = np.random.default_rng(0).permutation(np.arange(1, 29))
    written = [f"{day:02}/03/2023" if dates else f"2023-03-{day:02}" for day in days]
    source = write_csv(x=days, at=written, y=["a", "b"] * 14)
    data = Data(source=source, split={"time": "at", "test": 0.25}, dates=dates, find_dates=False, normalize="none")
    rule = CrossValidation(folds=2, time_ordered=True)

    folds = prepare_folds(data, rule, device=CPU, data_folders=[tmp_path])

    def days_of(rows: Any) -> list[int]:
        return sorted(int(day) for day in rows.inputs[0][:, 0])

    # 7 of 28 test, and each fold validates on 21 // 3 = 7.
    assert [days_of(fold.train) for fold in folds.parts] == [[*range(1, 8)], [*range(1, 15)]]
    assert [days_of(fold.validation) for fold in folds.parts] == [[*range(8, 15)], [*range(15, 22)]]
    assert days_of(folds.parts[0].test) == [*range(22, 29)]
    assert len(folds.parts[0].schema.columns) == features


def test_preprocessing_has_not_seen_the_rows_that_it_is_validated_on(
    write_csv: Callable[..., str], tmp_path: Path
) -> None:
    """A planted leak: one row is a thousand times the others. Only a fold that trains on it may scale by it."""
    source = write_csv(x=[*(float(row % 10) for row in range(49)), 9_000.0], y=["a", "b"] * 25)
    folds = prepare_folds(
        Data(source=source, split={"test": 0}), CrossValidation(), device=CPU, data_folders=[tmp_path]
    )

    validated = [fold.validation.inputs[0].max() > 1_000 for fold in folds.parts]  # in deviations of the other rows
    trained = [fold.train.inputs[0].max() > 5 for fold in folds.parts]  # one of 40: (40 - 1) / sqrt(39) deviations
    assert sum(validated) == 1
    assert trained == [not each for each in validated]


def test_the_mean_its_error_and_every_fold_are_reported() -> None:
    """Against the folds, each trained by itself."""
    config, recorder = configure(), Recorder()
    finished = run(config, reporter=recorder)

    alone = []
    folds = prepare_for(config, device=CPU, data_folders=())
    assert isinstance(folds, Folds)
    for fold in folds.parts:
        single = Recorder()
        fit(config, fold, monitor=ACCURACY, reporter=single, folder=MemoryFolder())
        alone.append([single.reports[epoch]["val/accuracy"] for epoch in range(1, 6)])
    means = [fmean(values) for values in zip(*alone, strict=True)]
    assert [recorder.reports[epoch]["val/accuracy"] for epoch in range(1, 6)] == means
    last = recorder.reports[5]
    assert last["val/accuracy_se"] == stdev(values[-1] for values in alone) / 3**0.5 > 0
    assert [last[f"fold/{fold}/accuracy"] for fold in (1, 2, 3)] == [values[-1] for values in alone]
    assert finished.metrics["val/accuracy"] == max(means)


@pytest.mark.parametrize("keep", ["last", "best_and_last"])
def test_folds_killed_at_any_epoch_go_on_bit_for_bit(keep: str) -> None:
    config = configure(
        regularization={"dropout": 0.3, "ema": 0.5}, early_stopping={"patience": 2},
        checkpoint={"every_seconds": 0, "keep": keep}, optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.9},
    )  # fmt: skip
    whole, folder = Recorder(), MemoryFolder()
    finished = run(config, reporter=whole, folder=folder)
    assert finished.best_epoch < finished.epochs  # so that the best weights are not the last ones

    for epoch in range(1, finished.epochs + 1):
        killed, resumed, again = MemoryFolder(), Recorder(), MemoryFolder()
        with pytest.raises(Killed):
            run(config, reporter=Recorder(killed_at=epoch), folder=killed)
        ended = run(config, reporter=resumed, folder=again, resume_from=[killed])

        assert resumed.reports == {step: whole.reports[step] for step in range(epoch + 1, finished.epochs + 1)}
        if keep == "best_and_last" or epoch <= finished.best_epoch:
            assert ended == finished
            assert again == folder


def test_the_folds_of_a_repeat_begin_alike_and_those_of_the_next_do_not() -> None:
    config = configure(cross_validation={"folds": 2, "repeats": 2})
    folds = prepare_for(config, device=CPU, data_folders=())
    assert isinstance(folds, Folds)

    members = JointTraining(config, folds, ACCURACY).members

    first = [next(member.model.parameters()) for member in members]
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[2], first[3])
    assert not torch.equal(first[0], first[2])


def test_a_fold_inherits_from_the_same_fold_alone() -> None:
    """Any other one has seen the rows that it validates on."""
    config, left = configure(), MemoryFolder()
    run(config, folder=left)
    folds = prepare_for(config, device=CPU, data_folders=())
    assert isinstance(folds, Folds)

    heirs = JointTraining(config, folds, ACCURACY, heritage=heritage.read("trial 0", left)).members

    for heir, member in zip(heirs, load(left).members, strict=True):
        own = member.model.state_dict()
        assert all(torch.equal(weight, own[name]) for name, weight in heir.model.named_parameters())
    assert heritage.Heritage("trial 0", [{}]).of_member(1) == {}


def test_all_folds_stop_at_the_best_epoch_of_their_mean() -> None:
    recorder, folder = Recorder(), MemoryFolder()
    config = configure(epochs=40, early_stopping={"metric": "val/loss", "patience": 2}, optimizer={"lr": 0.2})

    finished = run(config, monitor=Monitor("val/loss", "minimize"), reporter=recorder, folder=folder)

    means = {epoch: metrics["val/loss"] for epoch, metrics in recorder.reports.items()}
    assert finished.epochs == finished.best_epoch + 2 < 40
    assert finished.best_epoch == min(means, key=means.__getitem__)


@pytest.mark.parametrize("target", ["income", "hours"])
def test_out_of_fold_predictions_have_every_row_once_and_in_order(
    write_csv: Callable[..., str], tmp_path: Path, target: str
) -> None:
    """With one repeat and folds of equal size, the mean over the folds is the mean over the rows."""
    table = people(300, seed=0)
    data = Data(source=write_csv(**table), target=target, split={"test": 0}, missing_values=["?"])
    config, folder = configure(data=data, batch_size=32), MemoryFolder()
    fitted = run(config, monitor=Monitor("val/loss", "minimize"), folders=[tmp_path], folder=folder)

    kept = predictions.load(folder)

    held, unit = kept.validation, kept.target
    assert kept.out_of_fold
    if target == "income":
        assert [unit.classes[each] for each in held.y] == table[target]
        assert (held.outputs.argmax(1) == held.y).mean() == pytest.approx(fitted.metrics["val/accuracy"])
    else:
        np.testing.assert_allclose(held.y * unit.deviation + unit.mean, table[target], rtol=1e-5)
        squares = [fitted.metrics[f"fold/{fold}/loss"] for fold in (1, 2, 3)]  # each in its own fold's deviations
        deviations = [
            fold.schema.target.deviation for fold in prepare_for(config, device=CPU, data_folders=[tmp_path]).parts
        ]  # type: ignore[union-attr]
        expected = fmean(square * deviation**2 for square, deviation in zip(squares, deviations, strict=True))
        assert ((held.outputs - held.y) ** 2).mean() * unit.deviation**2 == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(("target", "metric"), [("income", "test/loss"), ("hours", "test/rmse")])
def test_the_model_of_a_trial_is_the_mean_of_its_folds(
    write_csv: Callable[..., str], tmp_path: Path, target: str, metric: str
) -> None:
    data = Data(
        source=write_csv("train.csv", **people(300, seed=0)), test_source=write_csv("test.csv", **people(80, seed=1)),
        target=target, missing_values=["?"],
    )  # fmt: skip
    config, folder = configure(data=data, batch_size=32, cross_validation={"folds": 2, "repeats": 2}), MemoryFolder()
    fitted = run(config, monitor=Monitor("val/loss", "minimize"), folders=[tmp_path], folder=folder)
    rows = pd.read_csv(tmp_path / "test.csv")

    predictor = load(folder)
    predicted = predictor.probabilities(rows) if target == "income" else predictor.predict(rows)

    measured = (
        log_loss(rows[target], predicted) if target == "income" else root_mean_squared_error(rows[target], predicted)
    )
    assert fitted.metrics[metric] == pytest.approx(measured, rel=1e-5)
    assert len(predictor.members) == 4
    weights = [member.model.state_dict()["head.weight"] for member in predictor.members]
    assert not any(torch.equal(weights[0], other) for other in weights[1:])


def test_seeds_train_several_models_on_the_same_rows(iris: Prepared) -> None:
    config = configure(cross_validation=None, seeds=3, seed=7)
    recorder = Recorder()
    fit(config, iris, monitor=ACCURACY, reporter=recorder, folder=MemoryFolder())

    single = Recorder()
    alone = configure(cross_validation=None, seed=8)
    fit(alone, iris, monitor=ACCURACY, reporter=single, folder=MemoryFolder())
    assert recorder.reports[2]["seed/2/loss"] == single.reports[2]["val/loss"]  # the second is that of seed 7 + 1
    assert recorder.reports[2]["val/loss"] == pytest.approx(
        fmean(recorder.reports[2][f"seed/{n}/loss"] for n in (1, 2, 3))
    )


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"cross_validation": {"folds": 1}}, "greater than or equal to 2"),
        ({"cross_validation": {"folds": 50, "repeats": 3}}, "150 models a trial are too many"),
        ({"cross_validation": {"time_ordered": True, "repeats": 2}}, "one way to divide rows by their order"),
        ({"cross_validation": {"time_ordered": True, "groups": "id"}}, "by their order or by groups"),
        ({"cross_validation": {"time_ordered": True, "stratified": True}}, "leave stratified out"),
        ({"seeds": 2}, "leave seeds out"),
    ],
)
def test_what_cannot_be_divided_is_refused(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        configure(**sections)


@pytest.mark.parametrize(
    ("rule", "path", "says"),
    [
        ({"folds": 5}, "stratified", "class 'rare' has 4 rows, too few to be in each of 5 folds"),
        ({"folds": 4, "groups": "nobody"}, "groups", "there is no column 'nobody'"),
        ({"folds": 4, "groups": "y"}, "groups", "y is the target"),
        ({"folds": 4, "groups": "side"}, "folds", "4 folds need as many groups, and there are 2"),
        ({"folds": 50, "stratified": False}, "folds", "50 folds need 50 rows, and there are 24"),
    ],
)
def test_a_preflight_says_why_data_cannot_be_divided(
    write_csv: Callable[..., str], tmp_path: Path, rule: dict[str, Any], path: str, says: str
) -> None:
    source = write_csv(x=list(range(24)), side=["left", "right"] * 12, y=["rare"] * 4 + ["often"] * 20)
    config = configure(data=Data(source=source, split={"test": 0}), batch_size=2, cross_validation=rule)

    problems, _ = check([config], wanted={"objective.metric": ACCURACY.metric}, data_folders=[tmp_path], device=CPU)

    assert [problem.path for problem in problems] == [f"trial.cross_validation.{path}"]
    assert says in problems[0].message


def test_a_column_of_groups_is_no_feature_and_a_batch_fits_the_smallest_fold(
    write_csv: Callable[..., str], tmp_path: Path
) -> None:
    source = write_csv(patient=[row // 2 for row in range(24)], x=list(range(24)), y=["a", "b"] * 12)
    config = configure(data=Data(source=source, split={"test": 0}), cross_validation={"folds": 3, "groups": "patient"})

    problems, facts = check([config], wanted={"objective.metric": ACCURACY.metric}, data_folders=[tmp_path], device=CPU)
    too_large = check(
        [config.model_copy(update={"batch_size": 17})],
        wanted={"objective.metric": ACCURACY.metric},
        data_folders=[tmp_path],
        device=CPU,
    )[0]

    assert problems == []
    assert facts["folds"] == 3
    assert [column["name"] for column in facts["columns"]] == ["x"]
    assert "larger than the training part of 16 rows" in too_large[0].message
    assert isinstance(prepare_for(config, device=CPU, data_folders=[tmp_path]), Folds)


def test_models_of_folds_in_time_are_read_again() -> None:
    folder = MemoryFolder()
    run(configure(cross_validation={"folds": 2, "time_ordered": True}, epochs=1), folder=folder)

    assert len(load(folder).members) == 2


def test_groups_want_a_table() -> None:
    data = Data(source="sklearn:digits")
    with pytest.raises(DataError, match="images have no columns"):
        prepare_folds(data, CrossValidation(groups="id"), device=CPU, data_folders=(), as_images=True)
