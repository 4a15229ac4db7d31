"""A training that goes on from another's checkpoint with other knobs, as members of a population do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.trainer.conftest import MemoryFolder, Recorder
from tests.unit.trainer.test_fit import EPOCHS, EVERYTHING, aged, configure, run
from trainer.config import TrainConfig, but_schedule, knob_paths, schedule_knobs
from trainer.data.prepare import prepare_for
from trainer.data.prepared import Folds, Prepared
from trainer.errors import NothingToCopy
from trainer.fit import Membership

SGD = {"name": "sgd", "lr": 0.05}


def paused(config: TrainConfig, prepared: Prepared | Folds, epoch: int = 3) -> MemoryFolder:
    """What a training leaves that waits after an epoch."""
    folder = MemoryFolder()
    fitted = run(config, prepared, reporter=Recorder({epoch: "pause"}), folder=folder, membership=Membership())  # type: ignore[arg-type]
    assert fitted.ending == "paused"
    return folder


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_with_the_same_knobs_it_goes_on_bit_for_bit(iris: Prepared, name: str) -> None:
    config = configure(**EVERYTHING, optimizer={"name": name, "lr": 0.02, "momentum": 0.5})
    whole, recorder = Recorder(), Recorder()
    finished = run(config, iris, reporter=whole)
    source = paused(config, iris)
    before = MemoryFolder(source)

    inherited = run(config, iris, reporter=recorder, membership=Membership(source))

    assert inherited == finished
    assert recorder.reports == {epoch: whole.reports[epoch] for epoch in range(4, finished.epochs + 1)}
    assert source == before  # others may go on from it, too
    assert recorder.lines[0] == "goes on from another training's epoch 3"


def test_the_new_knobs_hold_from_the_next_step_on(iris: Prepared) -> None:
    """With a learning rate next to nothing and no decay the weights stay as they were copied: so does val/loss."""
    source = configure(optimizer=SGD | {"momentum": 0.9})
    still = configure(optimizer={"name": "sgd", "lr": 1e-12, "momentum": 0.0})
    first, second = Recorder({3: "pause"}), Recorder()
    folder = MemoryFolder()
    run(source, iris, reporter=first, folder=folder)

    run(still, iris, reporter=second, membership=Membership(folder))

    assert sorted(second.reports) == [4, 5, 6]
    assert all(each["val/loss"] == pytest.approx(first.reports[3]["val/loss"]) for each in second.reports.values())


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_a_momentum_that_was_off_begins_at_zero(iris: Prepared, name: str) -> None:
    source = paused(configure(optimizer={"name": name, "lr": 0.01}), iris)

    fitted = run(configure(optimizer={"name": name, "lr": 0.01, "momentum": 0.9}), iris, membership=Membership(source))

    assert (fitted.ending, fitted.epochs) == ("finished", EPOCHS)


def test_its_own_checkpoint_comes_before_the_one_it_inherits(iris: Prepared) -> None:
    source = paused(configure(optimizer=SGD), iris, epoch=2)
    faster = configure(optimizer=SGD | {"lr": 0.1})
    own, resumed = MemoryFolder(), Recorder()
    run(faster, iris, reporter=Recorder({4: "pause"}), folder=own, membership=Membership(source))

    run(faster, iris, reporter=resumed, resume_from=[own], membership=Membership(source))

    assert sorted(resumed.reports) == [5, 6]
    assert any(name.startswith("checkpoint-") for name in own)  # it stays for others


def test_it_goes_on_from_one_that_was_kept_before_a_knob_came(iris: Prepared) -> None:
    recorder, source = Recorder(), aged(paused(configure(optimizer=SGD), iris), "optimizer.beta2", "sampling")

    run(configure(optimizer=SGD | {"lr": 0.2}), iris, reporter=recorder, membership=Membership(source))

    assert sorted(recorder.reports) == [4, 5, 6]


@pytest.mark.parametrize("other", [{"model": {"hidden": [9]}}, {"batch_size": 8}, {"optimizer": {"name": "adam"}}])
def test_only_the_schedule_may_differ(iris: Prepared, other: dict[str, Any]) -> None:
    source = paused(configure(optimizer=SGD), iris)

    with pytest.raises(NothingToCopy, match="no checkpoint that can be used"):
        run(configure(**{"optimizer": SGD} | other), iris, membership=Membership(source))


def test_folds_go_on_from_before_a_knob_of_theirs(iris: Prepared) -> None:
    config, recorder = configure(cross_validation={"folds": 2}), Recorder()
    folds = prepare_for(config, device=iris.device, data_folders=())

    run(config, folds, reporter=recorder, resume_from=[aged(paused(config, folds), "cross_validation.repeats")])  # type: ignore[arg-type]

    assert sorted(recorder.reports) == [4, 5, 6]


def test_folds_go_on_together(iris: Prepared) -> None:
    config = configure(optimizer=SGD, cross_validation={"folds": 3})
    folds = prepare_for(config, device=iris.device, data_folders=())
    source = paused(config, folds)

    recorder = Recorder()
    run(
        configure(optimizer=SGD | {"lr": 0.2}, cross_validation={"folds": 3}),
        folds,
        reporter=recorder,
        membership=Membership(source),
    )  # type: ignore[arg-type]

    assert sorted(recorder.reports) == [4, 5, 6]


def test_every_knob_of_the_schedule_is_a_knob_and_is_left_out_of_what_must_be_the_same() -> None:
    assert set(schedule_knobs()) <= set(knob_paths())
    left = but_schedule(configure().model_dump(mode="json"))
    for path in schedule_knobs():
        section, knob = path.rsplit(".", 1)
        part = left
        for name in section.split("."):
            part = part.get(name, {})
        assert knob not in part
    assert left["optimizer"]["name"] == "adamw"
    assert left["regularization"]["ema"] == 0


def test_one_that_ends_is_finished_as_its_checkpoint_has_it(iris: Prepared) -> None:
    config, recorder, folder = configure(optimizer=SGD), Recorder(), MemoryFolder()
    own = paused(config, iris)

    fitted = run(config, iris, reporter=recorder, folder=folder, resume_from=[own], membership=Membership(ends=True))

    assert (fitted.ending, fitted.epochs, recorder.reports) == ("finished", 3, {})
    assert "model.safetensors" in folder
