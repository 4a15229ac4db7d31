"""The entry, end to end: decisions, resuming bit for bit, the best epoch, divergence, determinism."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.unit.trainer.conftest import CPU, Killed, MemoryFolder, Recorder
from trainer import checkpoint
from trainer.config import COST_METRICS, PINBALL, Data, TrainConfig, metric_names
from trainer.data.prepare import prepare_whole
from trainer.data.prepared import Prepared
from trainer.errors import DataError, Diverged
from trainer.fit import Fitted, Monitor, fit
from trainer.models.layers import Network
from trainer.progress import Newest
from trainer.training import Training

ACCURACY = Monitor("val/accuracy", "maximize")
LOSS = Monitor("val/loss", "minimize")
EPOCHS = 6


def configure(**sections: Any) -> TrainConfig:
    document = {
        "data": Data(source="sklearn:iris"), "epochs": EPOCHS, "batch_size": 16, "model": {"hidden": [8]},
        "checkpoint": {"every_seconds": 0},
    }  # fmt: skip
    return TrainConfig.model_validate(document | sections)


def run(
    config: TrainConfig, prepared: Prepared, *, monitor: Monitor = ACCURACY, reporter: Recorder | None = None,
    folder: MemoryFolder | None = None, clock: Callable[[], float] = lambda: 0.0, **more: Any,
) -> Fitted:  # fmt: skip
    return fit(
        config,
        prepared,
        monitor=monitor,
        reporter=Recorder() if reporter is None else reporter,
        folder=MemoryFolder() if folder is None else folder,
        clock=clock,
        **more,
    )


def aged(folder: MemoryFolder, *newer: str) -> MemoryFolder:
    """Its checkpoints as a version wrote them that did not have these knobs and sections yet."""
    old = MemoryFolder()
    for name, data in folder.items():
        found = checkpoint.unpack(data)
        of = found.scalars["config"]
        for path in newer:
            section, _, knob = path.rpartition(".")
            del (of[section] if section else of)[knob]
        old[name] = checkpoint.pack(found)
    return old


EVERYTHING = {
    "model": {"hidden": [8, 8], "norm": "batch"},
    "schedule": {"name": "cosine", "warmup_epochs": 1.5},
    "regularization": {"dropout": 0.3, "l1": 1e-4, "l2": 1e-4, "label_smoothing": 0.1, "max_grad_norm": 1.0},
    "early_stopping": {"metric": "val/loss", "patience": 3},
}


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "sgd", "lr": 0.1},
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"name": "adam", "lr": 0.02},
        {"name": "adamw", "lr": 0.02, "weight_decay": 0.1},
        {"name": "rmsprop", "lr": 0.02, "momentum": 0.5},
        {"name": "nadam", "lr": 0.02},
        {"name": "lion", "lr": 0.002},
        {"name": "adagrad", "lr": 0.1},
    ],
    ids=["sgd", "momentum", "adam", "adamw", "rmsprop", "nadam", "lion", "adagrad"],
)
def test_a_training_killed_at_any_epoch_goes_on_bit_for_bit(iris: Prepared, optimizer: dict[str, Any]) -> None:
    """Once to the end, for the model and the metrics; once paused after the last epoch, for the state itself."""
    config = configure(optimizer=optimizer, **EVERYTHING)
    whole, whole_folder = Recorder(), MemoryFolder()
    finished = run(config, iris, reporter=whole, folder=whole_folder)
    paused_folder = MemoryFolder()
    run(config, iris, reporter=Recorder({finished.epochs: "pause"}), folder=paused_folder)

    for epoch in range(1, finished.epochs + 1):
        killed = MemoryFolder()
        with pytest.raises(Killed):
            run(config, iris, reporter=Recorder(killed_at=epoch), folder=killed)
        resumed, folder = Recorder(), MemoryFolder()

        paused = MemoryFolder()
        run(
            config,
            iris,
            reporter=Recorder({finished.epochs: "pause"}),
            folder=paused,
            resume_from=[MemoryFolder(killed)],
        )
        assert run(config, iris, reporter=resumed, folder=folder, resume_from=[killed]) == finished

        assert resumed.reports == {step: whole.reports[step] for step in range(epoch + 1, finished.epochs + 1)}
        assert folder == whole_folder
        if epoch < finished.epochs:
            assert newest(paused) == newest(paused_folder)


def test_fewer_rows_than_a_batch_are_one_batch(iris: Prepared) -> None:
    told = {"data": Data(source="sklearn:iris"), "epochs": EPOCHS, **EVERYTHING}
    as_is, by_its_rows = Recorder(), Recorder()

    finished = run(TrainConfig.model_validate(told), iris, reporter=as_is)  # by 128, where there are 90

    assert run(TrainConfig.model_validate(told | {"batch_size": 90}), iris, reporter=by_its_rows) == finished
    assert as_is.reports == by_its_rows.reports
    losses = [metrics["train/loss"] for metrics in as_is.reports.values()]
    assert losses[-1] < losses[0]


def test_averages_and_plateaus_go_on_bit_for_bit_too(iris: Prepared) -> None:
    config = configure(
        regularization={"ema": 0.9},
        schedule={"name": "plateau", "plateau_epochs": 1, "factor": 0.5},
        optimizer={"name": "sgd", "lr": 1.5, "momentum": 0.9},
        accumulate=2,
        sampling="balanced",
    )
    whole, killed, resumed = MemoryFolder(), MemoryFolder(), MemoryFolder()
    finished = run(config, iris, folder=whole)
    with pytest.raises(Killed):
        run(config, iris, reporter=Recorder(killed_at=4), folder=killed)

    assert run(config, iris, folder=resumed, resume_from=[killed]) == finished
    assert resumed == whole


def newest(folder: MemoryFolder) -> bytes:
    return folder[max(folder.names())]


def test_a_training_killed_again_and_again_goes_on_bit_for_bit(iris: Prepared) -> None:
    config = configure(**EVERYTHING)
    whole = MemoryFolder()
    finished = run(config, iris, folder=whole)
    attempts: list[MemoryFolder] = []
    for epoch in range(1, finished.epochs + 1):
        attempts.insert(0, MemoryFolder())
        with pytest.raises(Killed):
            run(config, iris, reporter=Recorder(killed_at=epoch), folder=attempts[0], resume_from=attempts[1:])

    last = MemoryFolder()
    assert run(config, iris, folder=last, resume_from=attempts) == finished
    assert last == whole
    assert not any(attempts)  # their checkpoints are of no use any more


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(iris: Prepared, damage: str) -> None:
    config, killed, whole = configure(), MemoryFolder(), MemoryFolder()
    run(config, iris, folder=whole)
    with pytest.raises(Killed):
        run(config, iris, reporter=Recorder(killed_at=4), folder=killed)
    name = max(killed.names())
    data = bytearray(killed[name])
    data[-5] ^= 1
    killed[name] = bytes(data) if damage == "flip" else bytes(data[:-40])

    reporter, folder = Recorder(), MemoryFolder()
    run(config, iris, reporter=reporter, folder=folder, resume_from=[killed])

    assert list(reporter.reports) == [4, 5, 6]
    assert reporter.lines[0].startswith(f"{name} cannot be used: ")
    assert reporter.lines[1] == "resumed after epoch 3"
    assert folder == whole


def test_without_any_whole_checkpoint_it_starts_from_the_beginning(iris: Prepared) -> None:
    broken = MemoryFolder({"checkpoint-0000004.safetensors": b"", "checkpoint-0000003.safetensors": b"\0" * 64})
    reporter = Recorder()

    run(configure(), iris, reporter=reporter, resume_from=[broken, MemoryFolder()])

    assert list(reporter.reports) == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_of_another_configuration_is_not_used(iris: Prepared) -> None:
    killed, reporter = MemoryFolder(), Recorder()
    with pytest.raises(Killed):
        run(configure(), iris, reporter=Recorder(killed_at=3), folder=killed)

    run(configure(optimizer={"lr": 0.123}), iris, reporter=reporter, resume_from=[killed])

    assert list(reporter.reports) == [1, 2, 3, 4, 5, 6]
    assert "the checkpoint of epoch 3 is of another configuration, and not used" in reporter.lines


def test_a_checkpoint_from_before_a_knob_is_gone_on_from_where_the_knob_has_its_default(iris: Prepared) -> None:
    killed, folder, whole, reporter = MemoryFolder(), MemoryFolder(), MemoryFolder(), Recorder()
    run(configure(), iris, folder=whole)
    with pytest.raises(Killed):
        run(configure(), iris, reporter=Recorder(killed_at=3), folder=killed)

    resumed = [aged(killed, "regularization.ema", "sampling", "compression")]
    run(configure(), iris, reporter=reporter, folder=folder, resume_from=resumed)

    assert reporter.lines[0] == "resumed after epoch 3"
    assert list(reporter.reports) == [4, 5, 6]
    assert folder == whole


@pytest.mark.parametrize(
    ("told", "missing"), [({"sampling": "balanced"}, "sampling"), ({"regularization": {"ema": 0.9}}, "regularization")]
)
def test_a_checkpoint_from_before_a_knob_is_not_used_where_the_knob_is_told_otherwise(
    iris: Prepared, told: dict[str, Any], missing: str
) -> None:
    killed, reporter = MemoryFolder(), Recorder()
    with pytest.raises(Killed):
        run(configure(), iris, reporter=Recorder(killed_at=3), folder=killed)

    run(configure(**told), iris, reporter=reporter, resume_from=[aged(killed, missing)])

    assert list(reporter.reports) == [1, 2, 3, 4, 5, 6]
    assert "the checkpoint of epoch 3 is of another configuration, and not used" in reporter.lines


def test_a_checkpoint_with_a_knob_that_is_there_no_more_is_not_used(iris: Prepared) -> None:
    killed, reporter = MemoryFolder(), Recorder()
    with pytest.raises(Killed):
        run(configure(), iris, reporter=Recorder(killed_at=3), folder=killed)
    for name, data in killed.items():
        found = checkpoint.unpack(data)
        found.scalars["config"] |= {"gone": 1}
        killed[name] = checkpoint.pack(found)

    run(configure(), iris, reporter=reporter, resume_from=[killed])

    assert list(reporter.reports) == [1, 2, 3, 4, 5, 6]


def test_the_checkpoint_of_an_epoch_is_there_before_the_epoch_is_reported(iris: Prepared) -> None:
    folder = MemoryFolder()

    class Watching(Recorder):
        def report(self, epoch: int, metrics: Any) -> Any:
            assert f"checkpoint-{epoch:07}.safetensors" in folder
            return super().report(epoch, metrics)

    run(configure(), iris, reporter=Watching(), folder=folder)


def test_checkpoints_come_as_often_as_they_are_told(iris: Prepared) -> None:
    folder = MemoryFolder()
    with pytest.raises(Killed):
        run(
            configure(checkpoint={"every_epochs": 2, "every_seconds": 0}),
            iris,
            reporter=Recorder(killed_at=5),
            folder=folder,
        )

    assert sorted(folder) == ["checkpoint-0000002.safetensors", "checkpoint-0000004.safetensors"]


def test_a_checkpoint_waits_until_its_seconds_have_passed(iris: Prepared) -> None:
    folder, seconds = MemoryFolder(), itertools.count()  # every look at the clock is a second later
    with pytest.raises(Killed):
        run(configure(checkpoint={"every_seconds": 4}), iris, reporter=Recorder(killed_at=5), folder=folder,
            clock=lambda: float(next(seconds)))  # fmt: skip

    # Looks: 0 at the start, 1 to 4 before and after two epochs, 5 once that is written, 6 to 9 around two more
    assert sorted(folder) == ["checkpoint-0000002.safetensors", "checkpoint-0000004.safetensors"]


def test_short_epochs_are_hardly_ever_written_unless_told_so(iris: Prepared) -> None:
    folder = MemoryFolder()
    with pytest.raises(Killed):
        run(configure(checkpoint={}), iris, reporter=Recorder(killed_at=5), folder=folder)

    assert not folder


def test_a_finished_training_leaves_the_model_and_nothing_else(iris: Prepared) -> None:
    folder = MemoryFolder()

    fitted = run(configure(), iris, folder=folder)

    assert sorted(folder) == ["model.json", "model.safetensors", "predictions.npz"]
    assert (fitted.ending, fitted.epochs) == ("finished", EPOCHS)


def test_prune_ends_at_once_and_leaves_nothing(iris: Prepared) -> None:
    folder, reporter = MemoryFolder(), Recorder({2: "prune"})

    fitted = run(configure(), iris, reporter=reporter, folder=folder)

    assert (fitted.ending, fitted.epochs) == ("pruned", 2)
    assert fitted.metrics == reporter.reports[2]
    assert not folder


def test_pause_leaves_a_checkpoint_of_that_epoch_even_where_none_was_due(iris: Prepared) -> None:
    config, folder, whole = configure(checkpoint={"every_epochs": 100}), MemoryFolder(), MemoryFolder()

    assert run(config, iris, reporter=Recorder({2: "pause"}), folder=folder).ending == "paused"

    assert list(folder) == ["checkpoint-0000002.safetensors"]
    assert run(config, iris, folder=whole) == run(config, iris, resume_from=[folder])


def test_an_epoch_whose_checkpoint_is_there_is_not_written_again(iris: Prepared) -> None:
    class Counted(MemoryFolder):
        def write(self, name: str, data: bytes) -> None:
            written.append(name)
            super().write(name, data)

    written: list[str] = []
    run(configure(), iris, reporter=Recorder({2: "pause"}), folder=Counted())

    assert written == ["checkpoint-0000001.safetensors", "checkpoint-0000002.safetensors"]


def test_leaving_hands_the_training_back_with_a_checkpoint(iris: Prepared) -> None:
    folder, reporter = MemoryFolder(), Recorder()
    config = configure(checkpoint={"every_epochs": 100})

    fitted = run(config, iris, reporter=reporter, folder=folder, should_leave=lambda: len(reporter.reports) == 3)

    assert (fitted.ending, fitted.epochs) == ("returned", 3)
    assert list(folder) == ["checkpoint-0000003.safetensors"]


@pytest.mark.parametrize(("decision", "ending"), [("prune", "pruned"), ("stop", "finished"), ("pause", "paused")])
def test_a_decision_comes_before_leaving(iris: Prepared, decision: Any, ending: str) -> None:
    fitted = run(configure(), iris, reporter=Recorder({2: decision}), should_leave=lambda: False)
    left = run(configure(), iris, reporter=Recorder({1: decision}), should_leave=lambda: True)

    assert (fitted.ending, fitted.epochs) == (ending, 2)
    assert (left.ending, left.epochs) == (ending, 1)


def test_stop_finishes_early_with_the_best_so_far(iris: Prepared) -> None:
    folder, reporter = MemoryFolder(), Recorder({3: "stop"})

    fitted = run(configure(), iris, reporter=reporter, folder=folder)

    assert (fitted.ending, fitted.epochs) == ("finished", 3)
    assert "test/accuracy" in fitted.metrics
    assert sorted(folder) == ["model.json", "model.safetensors", "predictions.npz"]


@pytest.mark.parametrize("monitor", [ACCURACY, LOSS])
def test_the_final_metrics_are_those_of_the_best_epoch_with_the_test_part_on_top(
    iris: Prepared, monitor: Monitor
) -> None:
    reporter = Recorder()
    # A learning rate that makes the curve go up and down
    config = configure(epochs=15, optimizer={"name": "sgd", "lr": 1.5, "momentum": 0.9})

    fitted = run(config, iris, monitor=monitor, reporter=reporter)

    sign = 1 if monitor.direction == "minimize" else -1
    best = min(
        reporter.reports, key=lambda e: (sign * reporter.reports[e][monitor.metric], reporter.reports[e]["val/loss"])
    )
    assert fitted.best_epoch == best < 15
    assert {name: value for name, value in fitted.metrics.items() if not name.startswith("test/")} == reporter.reports[
        best
    ]
    assert {name for name in fitted.metrics if name.startswith("test/")} == {
        "test/loss", "test/accuracy", "test/balanced_accuracy", "test/f1", "test/auc", "test/log_loss", "test/ece",
    }  # fmt: skip


def test_the_model_that_is_left_is_that_of_the_best_epoch(iris: Prepared) -> None:
    config = configure(epochs=15, optimizer={"name": "sgd", "lr": 1.5, "momentum": 0.9})
    to_the_end, stopped_at_the_best = MemoryFolder(), MemoryFolder()

    fitted = run(config, iris, monitor=LOSS, folder=to_the_end)
    stopped = run(
        config, iris, monitor=LOSS, reporter=Recorder({fitted.best_epoch: "stop"}), folder=stopped_at_the_best
    )

    assert stopped.epochs == fitted.best_epoch < fitted.epochs
    assert stopped.metrics == fitted.metrics
    assert stopped_at_the_best["model.safetensors"] == to_the_end["model.safetensors"]


def test_the_schedule_decides_how_far_a_step_goes(iris: Prepared) -> None:
    reporter = Recorder()
    schedule = {"name": "step", "step_epochs": 3, "factor": 1e-9}

    run(configure(optimizer={"name": "sgd", "lr": 0.5}, schedule=schedule), iris, reporter=reporter)

    losses = [reporter.reports[epoch]["val/loss"] for epoch in range(1, EPOCHS + 1)]
    assert losses[2] < 0.9 * losses[0]
    assert losses[3:] == pytest.approx(losses[2:3] * 3, rel=1e-5)  # from the fourth epoch on it stands still


def test_an_equal_objective_goes_to_the_lower_validation_loss() -> None:
    first, second = {"val/accuracy": 0.9, "val/loss": 0.5}, {"val/accuracy": 0.9, "val/loss": 0.4}

    assert ACCURACY.prefers(second, to=first)
    assert not ACCURACY.prefers(first, to=second)
    assert not ACCURACY.prefers(first, to=first)


@pytest.mark.parametrize(
    ("task", "loss"), [("classification", "auto"), ("regression", "auto"), ("regression", "quantile")]
)
def test_an_epoch_reports_the_metrics_that_are_promised(
    task: Any, loss: str, iris: Prepared, diabetes: Prepared
) -> None:
    reporter = Recorder()

    prepared = iris if task == "classification" else diabetes
    run(configure(loss={"name": loss}), prepared, monitor=LOSS, reporter=reporter)

    assert list(reporter.reports) == [1, 2, 3, 4, 5, 6]
    promised = metric_names(task) - {*COST_METRICS, *([] if loss == "quantile" else [PINBALL])}
    assert all(set(metrics) == promised for metrics in reporter.reports.values())
    assert reporter.reports[6]["train/loss"] < reporter.reports[1]["train/loss"]


def test_early_stopping_waits_as_long_as_told_and_restores_the_best(iris: Prepared) -> None:
    reporter = Recorder()
    config = configure(
        epochs=200,
        optimizer={"name": "sgd", "lr": 1.5, "momentum": 0.9},
        early_stopping={"metric": "val/loss", "patience": 4},
    )

    fitted = run(config, iris, monitor=LOSS, reporter=reporter)

    losses = [reporter.reports[epoch]["val/loss"] for epoch in sorted(reporter.reports)]
    assert fitted.epochs == fitted.best_epoch + 4 < 200
    assert fitted.metrics["val/loss"] == min(losses)


def test_an_improvement_below_min_delta_is_none(iris: Prepared) -> None:
    config = configure(early_stopping={"metric": "val/loss", "patience": 2, "min_delta": 1e9})

    # the first epoch sets the mark, the next two do not pass it
    assert run(config, iris).epochs == 3


@pytest.mark.parametrize(
    "checkpoint", [{"keep": "best_and_last", "every_seconds": 0}, {"keep": "last", "every_seconds": 0}]
)
def test_a_resumed_training_goes_on_with_the_best_model_that_is_kept(iris: Prepared, checkpoint: Any) -> None:
    config = configure(
        epochs=12, optimizer={"name": "sgd", "lr": 1.5, "momentum": 0.9}, checkpoint=checkpoint,
    )  # fmt: skip
    whole = Recorder()
    finished = run(config, iris, monitor=LOSS, reporter=whole)
    assert finished.best_epoch < 11, "the case is about a best epoch that lies before the kill"
    killed = MemoryFolder()
    with pytest.raises(Killed):
        run(config, iris, monitor=LOSS, reporter=Recorder(killed_at=11), folder=killed)

    resumed = run(config, iris, monitor=LOSS, resume_from=[killed])

    if checkpoint["keep"] == "last":  # the best of the epochs whose weights there still are
        assert resumed.metrics["val/loss"] == min(whole.reports[epoch]["val/loss"] for epoch in (11, 12))
    else:
        assert resumed == finished


@pytest.mark.parametrize("name", ["iris", "diabetes"])
def test_a_training_that_diverges_says_at_which_epoch(name: str, request: pytest.FixtureRequest) -> None:
    reporter = Recorder()
    config = configure(optimizer={"name": "sgd", "lr": 100.0}, epochs=50, regularization={"l2": 10.0})

    with pytest.raises(Diverged) as caught:
        run(config, request.getfixturevalue(name), monitor=LOSS, reporter=reporter)

    epoch = caught.value.epoch
    assert str(caught.value).startswith(f"diverged at epoch {epoch}: ")
    assert "loss is " in str(caught.value)
    assert list(reporter.reports) == list(range(1, epoch))  # nothing that is not finite is ever reported


def test_the_seed_decides_the_curve_and_nothing_around_it_does(iris: Prepared) -> None:
    def curve(seed: int, surroundings: int) -> dict[int, dict[str, float]]:
        torch.manual_seed(surroundings)
        reporter = Recorder()
        run(configure(seed=seed, **EVERYTHING), iris, reporter=reporter)
        return reporter.reports

    assert curve(1, surroundings=1) == curve(1, surroundings=2)
    assert curve(1, surroundings=1) != curve(2, surroundings=1)


def test_neither_pytorchs_global_generator_nor_the_data_are_touched(iris: Prepared) -> None:
    def sums() -> list[float]:
        parts = (iris.train, iris.validation, iris.test)
        return [tensor.double().sum().item() for part in parts if part for tensor in (*part.inputs, part.y)]

    before, data = torch.get_rng_state(), sums()

    run(configure(**EVERYTHING), iris)

    assert torch.equal(torch.get_rng_state(), before)
    assert sums() == data


def test_batch_normalization_lives_with_a_last_batch_of_one_row(iris: Prepared) -> None:
    rows = iris.train.rows  # 90: batches of 89 and 1
    reporter = Recorder()

    run(configure(batch_size=rows - 1, model={"hidden": [8], "norm": "batch"}), iris, reporter=reporter)

    assert len(reporter.reports) == EPOCHS


@pytest.mark.parametrize(("norm", "steps"), [("none", 2), ("batch", 1)])
def test_a_last_batch_of_one_row_is_left_out_only_where_a_norm_needs_two(iris: Prepared, norm: str, steps: int) -> None:
    config = configure(batch_size=89, model={"hidden": [4], "norm": norm})  # of 90 rows
    training, seen = Training(config, iris, Monitor("val/loss", "minimize")), Steps()

    training._learner.train_epoch(iris.train, 0, training._generator, followers=[seen])

    assert seen.taken == list(range(steps))


class Steps:
    def __init__(self) -> None:
        self.taken: list[int] = []

    def after_step(self, _trained: Network, step: int) -> None:
        self.taken.append(step)


def test_class_weights_change_what_is_learned(iris: Prepared) -> None:
    weighted = dataclasses.replace(iris, class_weight=torch.tensor([1.0, 10.0, 0.1]))

    assert run(configure(), weighted).metrics["val/loss"] != run(configure(), iris).metrics["val/loss"]


@pytest.mark.parametrize(
    ("sections", "refusal"),
    [
        (
            {"schedule": {"name": "plateau"}},
            "trial.schedule.name: plateau lowers the rate by val/loss, and there are no validation rows; "
            "take another schedule",
        ),
        (
            {"early_stopping": {"metric": "val/loss"}},
            "trial.early_stopping: val/loss is not measured, as there are no validation rows; leave it out",
        ),
    ],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_what_looks_at_validation_rows_is_refused_where_there_are_none(
    sections: dict[str, Any], refusal: str, seeds: int
) -> None:
    config = configure(**sections, seeds=seeds)
    whole = prepare_whole(config, device=CPU, data_folders=())

    with pytest.raises(DataError) as refused:
        run(config, whole, monitor=Newest("train/loss", "minimize"))

    assert str(refused.value) == refusal
